"""InfoVAE's weights and what it refuses."""

from __future__ import annotations

import re

import pytest

from framework import Divergence, Objective, OptionError, Term
from framework.registry import registries
from framework_plugins.divergences.covariance import Covariance
from framework_plugins.divergences.infovae import InfoVAE
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import MMD
from framework_plugins.divergences.mutual_information import MutualInformation
from framework_plugins.divergences.total_correlation import TotalCorrelation


def weights(alpha: float, lambda_: float) -> dict[str, float]:
    objective = Objective({"infovae": Term(InfoVAE(alpha=alpha, lambda_=lambda_, of=MMD(latent_dim=2)))})
    return {leaf.label: leaf.weight for leaf in objective.leaves}


@pytest.mark.parametrize(
    ("alpha", "lambda_", "kl", "mmd"),
    [
        pytest.param(0.0, 1.0, 1.0, 0.0, id="VAE"),
        pytest.param(-3.0, 4.0, 4.0, 0.0, id="beta-VAE of 4"),
        pytest.param(0.0, 1000.0, 1.0, 999.0, id="the paper's MNIST experiment"),
        pytest.param(0.5, 10.0, 0.5, 9.5, id="between"),
    ],
)
def test_weights_are_the_papers(alpha: float, lambda_: float, kl: float, mmd: float) -> None:
    """Equation 6: 1 − α on the KL, α + λ − 1 on D."""
    assert weights(alpha, lambda_) == {"infovae/kl": kl, "infovae/mmd": mmd}


def test_mmd_vae_has_no_kl() -> None:
    """Not one of weight 0 either: a deterministic posterior, which α = 1 allows, has none."""
    assert weights(1.0, 1000.0) == {"infovae/mmd": 1000.0}


def test_beta_vae_has_no_rounding_in_its_weight() -> None:
    """α = 1 − β, λ = β: in floating point their sum is not always 1, by which 0 would be refused as negative."""
    pairs = [((100 - step) / 100, step / 100) for step in range(1, 1200)]  # as a recipe has them: −0.4 and 1.4
    assert any(alpha + lambda_ - 1 < 0 for alpha, lambda_ in pairs)
    assert {weights(*pair)["infovae/mmd"] for pair in pairs} == {0.0}


def test_known_mistake_a_negative_weight_of_the_mmd_is_refused() -> None:
    """A known mistake: α + λ < 1 makes the MMD's weight negative, which rewards a mismatch with the prior."""
    message = (
        "lambda: expected 0.5 or more: a negative weight rewards a mismatch with the prior, "
        "found 0.25, so that alpha + lambda − 1 = -0.25"
    )
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        weights(alpha=0.5, lambda_=0.25)
    assert weights(alpha=0.5, lambda_=0.5)["infovae/mmd"] == 0.0


def test_a_negative_weight_of_the_kl_is_refused() -> None:
    with pytest.raises(
        OptionError, match=r"^alpha: expected 1 or less: 1 − alpha is the weight of the KL, found 1\.5$"
    ):
        weights(alpha=1.5, lambda_=1.0)


def test_a_divergence_of_single_posteriors_is_refused() -> None:
    """Two terms called kl would be one in the sum: a term that was asked for would be lost."""
    message = (
        "of: expected a divergence of the aggregate posterior q(z), such as mmd, found kl, a divergence of each q(z|x)"
    )
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        InfoVAE(alpha=0.0, lambda_=3.0, of=KL())


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (Covariance(kind="ii"), "covariance"),
        (TotalCorrelation(latent_dim=2, dataset_size=100), "total_correlation"),
        (MutualInformation(), "mutual_information"),
    ],
)
def test_what_does_not_tell_every_aggregate_posterior_from_the_prior_is_refused(of: Divergence, name: str) -> None:
    """The total correlation, say, is zero for every q(z) whose dimensions are independent."""
    message = (
        f"of: expected a strict divergence of q(z) from the prior, found {name}, which may be least where q(z) is not "
        "the prior; write of: mmd"
    )
    with pytest.raises(OptionError, match=f"^{re.escape(message)}$"):
        InfoVAE(alpha=0.0, lambda_=3.0, of=of)


def test_the_strict_divergences_are_these() -> None:
    strict = {entry.name for entry in registries()["divergence"] if getattr(entry.factory, "strict", False)}
    assert strict == {"adversarial", "jensen_shannon", "kl", "mmd", "sinkhorn", "sliced_wasserstein"}
