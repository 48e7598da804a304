"""InfoVAE's divergence in its paper's own symbols."""

from __future__ import annotations

from framework import CompositeDivergence, Divergence, OptionError, Term, register_divergence
from framework.divergence import divergences
from framework_plugins.divergences.kl import KL

ROUNDING = 1e-12  # of α + λ − 1, for α and λ of size 1


@register_divergence("infovae")
class InfoVAE(CompositeDivergence):
    """(1 − α) · E_x KL(q(z|x)‖p) + (α + λ − 1) · D(q(z)‖p).

    D is any strict divergence of the aggregate posterior from the prior. α = 0, λ = 1 is the VAE; α = 1 leaves D alone
    (MMD-VAE with D = `mmd`), without a KL, which a deterministic posterior would not have; α + λ = 1 is the β-VAE with
    β = λ.

    Args:
        alpha: α ≤ 1, without unit: 1 − α is the weight of the mutual information I(x;z) in the objective.
        lambda_: λ ≥ 1 − α, without unit; written `lambda` in a recipe.
        of: D.

    Raises:
        OptionError: α > 1 or α + λ < 1: a weight would be negative, which rewards a mismatch; or D is a divergence of
            single posteriors, or not strict: it does not tell every q(z) from p.

    Example:
        >>> from framework_plugins.divergences.mmd import MMD
        >>> part = InfoVAE(alpha=0.25, lambda_=10.0, of=MMD(latent_dim=2))
        >>> {label: term.weight for label, term in part.terms().items()}
        {'kl': 0.75, 'mmd': 9.25}

    Oracle: equation 6 by hand, at the paper's α and λ and at the special cases above.

    Reference: Zhao, Song & Ermon, "InfoVAE", AAAI 2019, equation 6, https://arxiv.org/abs/1706.02262.
    """

    def __init__(self, *, alpha: float, lambda_: float, of: Divergence) -> None:
        super().__init__()
        if alpha > 1:
            raise OptionError("alpha", found=f"{alpha:g}", expected="1 or less: 1 − alpha is the weight of the KL")
        weight = alpha + lambda_ - 1
        if abs(weight) < ROUNDING:  # −0.4 + 1.4 is not quite 1
            weight = 0.0
        if weight < 0:
            raise OptionError(
                "lambda",
                found=f"{lambda_:g}, so that alpha + lambda − 1 = {weight:g}",
                expected=f"{1 - alpha:g} or more: a negative weight rewards a mismatch with the prior",
            )
        if not of.aggregate:
            raise OptionError(
                "of",
                found=f"{divergences.name_of(of)}, a divergence of each q(z|x)",
                expected="a divergence of the aggregate posterior q(z), such as mmd",
            )
        if not of.strict:
            raise OptionError(
                "of",
                found=f"{divergences.name_of(of)}, which may be least where q(z) is not the prior",
                expected="a strict divergence of q(z) from the prior",
                write="of: mmd",
            )
        self.alpha, self.weight, self.of = alpha, weight, of
        self.kl = KL()

    def terms(self) -> dict[str, Term]:
        kl = {"kl": Term(self.kl, 1 - self.alpha)} if self.alpha < 1 else {}
        return kl | {divergences.name_of(self.of): Term(self.of, self.weight)}
