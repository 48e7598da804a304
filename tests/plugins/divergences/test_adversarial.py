"""The adversarial divergence against enumeration on six symbols, derivatives by hand, and who gets which gradient."""

from __future__ import annotations

import math
import re
from functools import partial
from typing import ClassVar

import numpy
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, multivariate_normal
from torch import Tensor, nn
from torch.distributions import Distribution, constraints
from torch.nn.functional import one_hot

from framework import Keys, Objective, OptionError, Term
from framework.distributions import Delta, DiagonalGaussian, SampleShape, StandardNormal
from framework.divergence_checks import divergence_misfits
from framework.testing import check_divergence
from framework_plugins.divergences.adversarial import Adversarial
from framework_plugins.divergences.infovae import InfoVAE
from framework_plugins.optimizers.adam import adam
from framework_plugins.priors.gaussian_mixture import GaussianMixture
from framework_plugins.priors.uniform import Uniform

OPTIMIZER = partial(adam, lr=1e-3)
# How often each of six symbols is among 24 latents, and among 24 draws of the prior.
OF_Q = [1, 4, 2, 8, 3, 6]
OF_P = [4, 4, 7, 2, 6, 1]


class Symbols(Distribution):
    """One-hot rows in exact proportions, so that a mean over a batch is an expectation."""

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, counts: list[int]) -> None:
        self.counts = torch.tensor(counts)
        super().__init__(torch.Size(), torch.Size((len(counts),)), validate_args=False)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        assert sample_shape == (self.counts.sum(),)
        return one_hot(torch.arange(len(self.counts)).repeat_interleave(self.counts), len(self.counts)).double()

    def log_prob(self, value: Tensor) -> Tensor:
        return value @ (self.counts / self.counts.sum()).double().log()


def make(**options: object) -> Adversarial:
    torch.manual_seed(0)
    given = {"latent_dim": 3, "hidden": [8, 8], "optimizer": OPTIMIZER, **options}
    return Adversarial(**given).double()  # type: ignore[arg-type]


def gaussians(count: int = 6) -> tuple[DiagonalGaussian, DiagonalGaussian, Tensor, list[Tensor]]:
    """q, a prior that is learned, z with a graph, and the parameters of q, then of p."""
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn(3, count, 3, generator=generator, dtype=torch.float64)
    leaves = [numbers[0].requires_grad_(), (0.2 * numbers[1]).requires_grad_()]
    leaves += [torch.full((3,), value, dtype=torch.float64).requires_grad_() for value in (0.3, -0.2)]
    q, p = DiagonalGaussian(*leaves[:2]), DiagonalGaussian(*leaves[2:])
    return q, p, leaves[0] + leaves[1].exp() * numbers[2], leaves


def trained_on_symbols(**options: object) -> tuple[Adversarial, Symbols, Tensor]:
    """The best critic there is: a table of logits, one a symbol."""
    part = make(latent_dim=6, hidden=[], **options)
    p, z = Symbols(OF_P), Symbols(OF_Q).sample(torch.Size([24]))
    algorithm = torch.optim.LBFGS(
        part.critic.parameters(), max_iter=500, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        algorithm.zero_grad()
        loss, _ = part.critic_loss(Delta(z), p, z)
        loss.backward()
        return loss

    algorithm.step(closure)
    return part, p, z


@pytest.mark.parametrize("known_prior", [False, True])
def test_the_best_critic_has_the_jensen_shannon_divergence(known_prior: bool) -> None:
    part, p, z = trained_on_symbols(known_prior=known_prior)
    loss, metrics = part.critic_loss(Delta(z), p, z)
    distance = jensenshannon(OF_Q, OF_P) ** 2  # scipy's is the root, in nats
    assert distance > 0.1
    assert -loss.item() == pytest.approx(-math.log(4) + 2 * distance, abs=1e-9)  # float64, at a stationary point
    # the best classifier takes the likelier of the two for each symbol
    assert metrics["accuracy"].item() == pytest.approx(sum(map(max, OF_Q, OF_P)) / 48, abs=1e-12)

    logits = part.logit(p, torch.eye(6, dtype=torch.float64)).detach()
    expected = numpy.log(OF_P) - numpy.log(OF_Q)
    numpy.testing.assert_allclose(logits, expected, atol=1e-5)  # flat at the optimum: the root of the loss's accuracy
    # D* = p/(p + q), so that logit* = log p − log q, and what is left for f is −log q: no constant is free
    f = part.critic(torch.eye(6, dtype=torch.float64)).squeeze(1).detach()
    numpy.testing.assert_allclose(f, -numpy.log(numpy.array(OF_Q) / 24) if known_prior else expected, atol=1e-5)


@pytest.mark.parametrize("known_prior", [False, True])
def test_the_value_at_the_best_critic(known_prior: bool) -> None:
    """log 2 + KL(q‖p) − KL(q‖m), m = ½(q + p): −log D* = log (p + q)/p."""
    part, p, z = trained_on_symbols(known_prior=known_prior)
    q_, p_ = (numpy.array(counts) / 24 for counts in (OF_Q, OF_P))
    expected = math.log(2) + entropy(q_, p_) - entropy(q_, (q_ + p_) / 2)
    assert part(Delta(z), p, z).item() == pytest.approx(expected, abs=1e-5)
    assert expected > math.log(2) + 0.05


def test_a_critic_that_cannot_tell_says_log_two() -> None:
    part = make()
    for parameter in part.critic.parameters():
        nn.init.zeros_(parameter)
    q, p, z, _ = gaussians()
    assert part(q, p, z).item() == pytest.approx(math.log(2), abs=1e-12)
    loss, metrics = part.critic_loss(q, p, z.detach())
    assert loss.item() == pytest.approx(math.log(4), abs=1e-12)
    assert metrics.keys() == {"accuracy"}
    assert metrics["accuracy"] == 0.5


def test_values_by_hand() -> None:
    """D = 1 and 2: f = 2 z₁ − 1; −log D = log(1 + e^−f)."""
    part = make(latent_dim=1, hidden=[])
    with torch.no_grad():
        part.critic[0].weight.fill_(2.0)
        part.critic[0].bias.fill_(-1.0)
    z = torch.tensor([[0.0], [1.0], [3.0], [-2.0]], dtype=torch.float64)
    q, p = Delta(z), StandardNormal(1, z)
    f = [-1.0, 1.0, 5.0, -5.0]
    assert part(q, p, z).item() == pytest.approx(sum(math.log1p(math.exp(-value)) for value in f) / 4, abs=1e-12)
    torch.manual_seed(4)
    loss, metrics = part.critic_loss(q, p, z)
    torch.manual_seed(4)
    g = [2 * w - 1 for w in torch.randn(4, 1, dtype=torch.float64).flatten().tolist()]
    expected = (
        sum(math.log1p(math.exp(-value)) for value in g) / 4 + sum(math.log1p(math.exp(value)) for value in f) / 4
    )
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    assert metrics["accuracy"].item() == (sum(value > 0 for value in g) + 2) / 8
    assert 0 < sum(value > 0 for value in g) < 4


def test_logits_far_out_have_a_finite_loss_and_gradient() -> None:
    """log sigmoid(−1e4) is −inf, with a gradient that is not a number, when D is rounded first."""
    part = make(latent_dim=1, hidden=[])
    with torch.no_grad():
        part.critic[0].weight.fill_(1e4)
        part.critic[0].bias.zero_()
    z = torch.tensor([[-1.0], [1.0]], dtype=torch.float64, requires_grad=True)
    p = StandardNormal(1, z)
    value = part(Delta(z), p, z)
    value.backward()
    assert value.item() == pytest.approx(5e3, abs=1e-9)
    assert z.grad is not None
    assert z.grad.tolist() == [[-5e3], [0.0]]
    torch.manual_seed(0)
    loss, _ = part.critic_loss(Delta(z), p, z.detach())
    torch.manual_seed(0)
    w = torch.randn(2, 1, dtype=torch.float64)
    assert w.min() < -0.2
    assert loss.item() == pytest.approx(5e3 + (-1e4 * w).clamp(min=0).mean().item(), abs=1e-9)
    assert all(gradient.isfinite() for gradient in torch.autograd.grad(loss, part.critic.parameters()))


def test_the_known_priors_logit_is_f_plus_its_log_density() -> None:
    part = make(known_prior=True)
    _, p, z, leaves = gaussians()
    scale = leaves[3].exp().detach().numpy()
    density = multivariate_normal(leaves[2].detach().numpy(), numpy.diag(scale**2)).logpdf(z.detach().numpy())
    difference = (part.logit(p, z) - part.critic(z).squeeze(1)).detach().numpy()
    numpy.testing.assert_allclose(difference, density, atol=1e-12)
    plain = make()
    assert torch.equal(plain.logit(p, z), plain.critic(z).squeeze(1))


@pytest.mark.parametrize("known_prior", [False, True])
def test_penalty_by_hand(known_prior: bool) -> None:
    """A linear f = a·w + b has the slope a; the prior N(0, I) adds −w, because the penalty is of the whole logit."""
    plain, part = (make(hidden=[], known_prior=known_prior, gradient_penalty=gamma) for gamma in (0.0, 3.0))
    q, _, z, _ = gaussians(50)
    p, losses = StandardNormal(3, z.detach()), []
    for one in (plain, part):
        torch.manual_seed(2)
        losses.append(one.critic_loss(q, p, z.detach()))
    torch.manual_seed(2)
    w = torch.randn(50, 3, dtype=torch.float64)
    a = part.critic[0].weight[0].detach()
    slopes = a - w if known_prior else a.expand(50, 3)
    penalty = 1.5 * slopes.square().sum(1).mean()
    assert (losses[1][0] - losses[0][0]).item() == pytest.approx(penalty.item(), abs=1e-12)
    assert losses[1][1]["gradient_penalty"].item() == pytest.approx(penalty.item(), abs=1e-12)
    assert losses[1][1].keys() == {"accuracy", "gradient_penalty"}
    assert "gradient_penalty" not in losses[0][1]
    gradients = [
        torch.autograd.grad(loss, one.critic[0].weight)[0] for one, (loss, _) in zip((plain, part), losses, strict=True)
    ]
    # d/da of 3/2 · mean ‖slope‖², by hand
    torch.testing.assert_close(gradients[1] - gradients[0], 3.0 * slopes.mean(0)[None], rtol=1e-10, atol=1e-12)


def test_penalty_is_the_mean_over_rows_of_a_deep_critics_slope() -> None:
    part = make(activation="tanh", gradient_penalty=0.7, known_prior=True)
    q, p, z, _ = gaussians()
    torch.manual_seed(3)
    _, metrics = part.critic_loss(q, p, z.detach())
    torch.manual_seed(3)
    norms = []
    for row in p.sample(torch.Size([6])):  # one row at a time, which the part does at once
        row.requires_grad_()
        (slope,) = torch.autograd.grad(part.logit(p, row[None]).sum(), row)
        norms.append(slope.square().sum().item())
    assert metrics["gradient_penalty"].item() == pytest.approx(0.35 * sum(norms) / 6, abs=1e-12)


def test_the_penalty_leaves_the_optimum_where_the_prior_is_met() -> None:
    """With q = p = N(0, I) the best f is −log p: its logit is flat, and a penalty of f alone would not be 0 there."""

    class LogDensity(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return -StandardNormal(3, z).log_prob(z)[:, None]

    part = make(known_prior=True, gradient_penalty=10.0)
    part.critic = LogDensity()
    z = torch.randn(100, 3, dtype=torch.float64)
    loss, metrics = part.critic_loss(Delta(z), StandardNormal(3, z), z)
    assert metrics["gradient_penalty"].item() == pytest.approx(0.0, abs=1e-12)
    assert loss.item() == pytest.approx(math.log(4), abs=1e-12)


def test_spectral_norm_makes_each_layer_one() -> None:
    part = make(hidden=[16, 16], spectral_norm=True)
    with torch.no_grad():
        for layer in part.critic:
            if isinstance(layer, nn.Linear):
                layer.parametrizations.weight.original.mul_(5.0)
    q, p, z, _ = gaussians()
    for _ in range(30):
        part.critic_loss(q, p, z.detach())
    layers = [layer for layer in part.eval().critic if isinstance(layer, nn.Linear)]
    values = [torch.linalg.svdvals(layer.weight)[0].item() for layer in layers]
    assert values == pytest.approx([1.0] * 3, abs=1e-2)  # power iteration, not run to its end
    with torch.no_grad():
        slope = (part.critic(z) - part.critic(z + 1e-3 * torch.randn_like(z))).abs().max() / 1e-3
    assert slope < 5  # the longest of six draws of N(0, I) in 3 dimensions, for f is 1-Lipschitz


VARIANTS = pytest.mark.parametrize(
    "options",
    [{}, {"known_prior": True}, {"gradient_penalty": 2.0}, {"known_prior": True, "gradient_penalty": 2.0}],
    ids=["plain", "known", "penalty", "known-penalty"],
)


@VARIANTS
def test_the_critics_loss_moves_the_critic_alone(options: dict[str, object]) -> None:
    """The mistake of several public implementations: z not detached, so that the critic trains the encoder too."""
    part = make(**options)
    q, p, z, leaves = gaussians()
    objective = Objective({"adversarial": Term(part)})
    ((label, loss, metrics),) = objective.critic_losses(q, p, z, Keys(0, "test", 0))
    loss.backward()
    assert label == "adversarial"
    assert {"adversarial/critic_loss", "adversarial/critic_accuracy"} <= metrics.keys()
    assert all(leaf.grad is None for leaf in leaves)
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in part.critic.parameters())
    # the graph of q, z and p is still whole: the joint step comes after the critic's
    total, _ = objective(q, p, z, counters=None, keys=Keys(0, "test", 0))
    total.backward()


@VARIANTS
def test_the_joint_pass_leaves_the_critic_alone(options: dict[str, object]) -> None:
    part = make(**options)
    q, p, z, leaves = gaussians()
    total, parts = Objective({"adversarial": Term(part, 2.0)})(q, p, z, counters=None, keys=Keys(0, "test", 0))
    total.backward()
    assert total.item() == pytest.approx(2 * parts["adversarial"].item(), abs=1e-12)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in part.critic.parameters())
    assert all(leaf.grad is not None and leaf.grad.any() for leaf in leaves[:2])
    # a learned prior is moved through its density, where the logit has it
    assert [leaf.grad is not None for leaf in leaves[2:]] == [bool(options.get("known_prior"))] * 2


@VARIANTS
def test_second_derivatives(options: dict[str, object]) -> None:
    part = make(activation="tanh", **options)
    q, p, z, _ = gaussians(3)

    def critic_loss(_: Tensor) -> Tensor:
        torch.manual_seed(5)
        return part.critic_loss(q, p, z.detach())[0]

    for function, leaf in (
        (lambda latents: part(q, p, latents), z.detach().requires_grad_()),
        (critic_loss, part.critic[0].weight),
    ):
        assert torch.autograd.gradcheck(function, leaf)
        assert torch.autograd.gradgradcheck(function, leaf)


@VARIANTS
def test_laws(options: dict[str, object]) -> None:
    check_divergence(make(**options).float())


def test_laws_with_spectral_norm() -> None:
    """Frozen, because its estimate of a singular value is refined at each call in training."""
    check_divergence(make(spectral_norm=True, gradient_penalty=1.0).float().eval())


def test_a_mixture_as_known_prior() -> None:
    """A sample of it is not reparametrised; its density is."""
    prior = GaussianMixture(latent_dim=3, components=4).double()
    part = make(known_prior=True, gradient_penalty=1.0)
    q, _, z, _ = gaussians()
    p = prior()
    part.critic_loss(q, p, z.detach())[0].backward()
    assert all(parameter.grad is None for parameter in prior.parameters())
    part(q, p, z).backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in prior.parameters())


def test_the_encoder_follows_the_prior() -> None:
    """A few alternating steps bring the mean of q(z) from 2 towards the prior's 0."""
    part = Adversarial(latent_dim=1, hidden=[16], optimizer=partial(adam, lr=1e-2), activation="tanh")
    torch.manual_seed(6)
    mean = torch.full((1,), 2.0, requires_grad=True)
    objective, keys = Objective({"adversarial": Term(part)}), Keys(0, "test", 0)
    theirs, ours = part.optimizer(part.critic.parameters()).algorithm, torch.optim.Adam([mean], lr=1e-2)
    for step in range(300):
        q = DiagonalGaussian(mean.expand(128, 1), torch.zeros(128, 1))
        z, p = q.rsample(), StandardNormal(1, mean)
        keys = Keys(0, "test", step)
        for _, loss, _ in objective.critic_losses(q, p, z, keys):
            theirs.zero_grad()
            loss.backward()
            theirs.step()
        ours.zero_grad()
        objective(q, p, z, counters=None, keys=keys)[0].backward()
        ours.step()
    assert abs(mean.item()) < 0.5  # it circles the prior's mean, as adversarial training does


def test_as_infovaes_divergence() -> None:
    objective = Objective({"aae": Term(InfoVAE(alpha=0.25, lambda_=10.0, of=make()))})
    assert [(leaf.label, leaf.weight) for leaf in objective.leaves] == [("aae/kl", 0.75), ("aae/adversarial", 9.25)]
    assert list(objective.critics) == ["aae/adversarial"]


def test_the_part_says_what_it_logs() -> None:
    part = make()
    assert part.aggregate
    assert not part.rewardable
    assert not part.needs_density
    assert part.estimator == (
        "−log D of the critic as it is; log 2 where it cannot tell, not a Jensen–Shannon divergence"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_penalty": -0.5}, "gradient_penalty: expected 0 or more, found -0.5"),
        ({"gradient_penalty": math.nan}, "gradient_penalty: expected 0 or more, found nan"),
        ({"hidden": [8, 0]}, "hidden: expected 1 or more for each layer, found [8, 0]"),
        (
            {"spectral_norm": True, "known_prior": True},
            "spectral_norm: expected one of the two, or neither, found true beside known_prior: true, under which the "
            "critic has to be as steep as −log q(z); write gradient_penalty: 1.0",
        ),
    ],
)
def test_messages(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        make(**options)


def test_a_prior_without_a_density_everywhere_is_refused_with_known_prior() -> None:
    """log p(z) would be −∞, and the value infinite, at the first latent outside the box."""
    q, _, z, _ = gaussians()
    p = Uniform(latent_dim=3).double()()
    message = (
        "known_prior: expected a prior with a density on the whole line, such as standard_normal, found UniformBox, of "
        "which log p(z) is −∞ outside its support; write known_prior: false"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make(known_prior=True)(q, p, z)
    assert make()(q, p, z).isfinite()


def test_the_build_reports_it() -> None:
    q, _, _, _ = gaussians(2)
    objective = Objective({"adversarial": Term(make(known_prior=True))})
    (misfit,) = divergence_misfits(objective, "pathwise", q, Uniform(latent_dim=3).double()())
    assert misfit.option == "divergences.adversarial"
    assert "of which log p(z) is −∞ outside its support" in str(misfit.found)
