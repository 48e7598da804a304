"""The prior of pseudo-inputs against its formula."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from framework import Encoder, Facts, OptionError
from framework.equal_mixture import EqualMixture
from framework.testing import check_prior
from framework_plugins.encoders.mlp import MLPEncoder
from framework_plugins.priors.vampprior import VampPrior

SHAPE = (1, 2, 3)


def encoder(posterior: str = "gaussian", dropout: float = 0.0) -> MLPEncoder:
    torch.manual_seed(0)
    return MLPEncoder(input_shape=SHAPE, latent_dim=2, hidden=[8], posterior=posterior, dropout=dropout)


class InTorchsWords(Encoder):
    """An encoder of a plugin, which returns another type."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = encoder()

    def forward(self, x: Tensor) -> Distribution:
        q = self.encoder(x)
        return Independent(Normal(q.mean, q.stddev), 1)


def prior(of: Encoder, components: int = 5, **options: float | str) -> VampPrior:
    torch.manual_seed(1)
    return VampPrior(input_shape=SHAPE, encoder=of, components=components, **options)


@pytest.mark.parametrize("make", [encoder, InTorchsWords])
def test_its_density_is_the_mean_of_the_posteriors_densities(make: Callable[[], Encoder]) -> None:
    of = make()
    part = prior(of, spread=0.3).double()
    of.double()
    z = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    q = of(part.pseudo_inputs.clamp(0, 1))
    expected = sum(Normal(q.mean[k], q.stddev[k]).log_prob(z).sum(-1).exp() / 5 for k in range(5)).log()
    torch.testing.assert_close(part().log_prob(z), expected, rtol=1e-12, atol=1e-12)  # float64


def test_known_mistake_the_density_integrates_to_one() -> None:
    """A known mistake: a missing parenthesis, by which it did not."""
    of = encoder()
    part = prior(of, spread=1.0).double()
    of.double()
    steps = torch.arange(-12, 12, 0.05, dtype=torch.float64)
    z = torch.cartesian_prod(steps, steps)  # [N, 2]
    assert part().log_prob(z).exp().sum().item() * 0.05**2 == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("held", ["unit_interval", "real"])
def test_pseudo_inputs_are_held_in_their_range(held: str) -> None:
    seen: list[Tensor] = []
    of = encoder()
    of.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    part = prior(of, range_=held, spread=2.0)
    part()
    bounded = bool(((seen[-1] >= 0) & (seen[-1] <= 1)).all())
    assert seen[-1].shape == (5, *SHAPE)
    assert bounded == (held == "unit_interval")


def test_only_the_data_of_pseudo_inputs_are_held() -> None:
    """A conditional model's encoder sees one more channel, of the label: a learned plane, of any values."""
    seen: list[Tensor] = []
    of = encoder()
    of.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    torch.manual_seed(1)
    labelled = (2, 1, 3)  # a channel of data, one of the label
    part = VampPrior(
        input_shape=labelled,
        encoder=of,
        components=5,
        spread=2.0,
        facts=Facts((1, 1, 3), 9, "unit_interval", classes=3),
    )
    part()
    assert torch.equal(seen[-1][:, 0], part.pseudo_inputs[:, 0].clamp(0, 1))
    assert torch.equal(seen[-1][:, 1], part.pseudo_inputs[:, 1])


def test_pseudo_inputs_of_data_outside_the_interval_are_not_held_in_it() -> None:
    facts = Facts(SHAPE, 9, "real")
    message = (
        r"^range: expected real, or data scaled to \[0, 1\], found unit_interval, with data outside \[0, 1\]; "
        r"write range: real$"
    )
    with pytest.raises(OptionError, match=message):
        VampPrior(input_shape=SHAPE, encoder=encoder(), facts=facts)
    VampPrior(input_shape=SHAPE, encoder=encoder(), facts=facts, range_="real")


def test_pseudo_inputs_start_where_they_are_told() -> None:
    start = prior(encoder(), components=1000).pseudo_inputs
    # 6,000 draws: the standard errors are 0.01/√6000 = 1.3e-4 and 0.01/√12000 = 9e-5
    assert start.mean().item() == pytest.approx(0.05, abs=6e-4)
    assert start.std().item() == pytest.approx(0.01, abs=4e-4)


def test_the_encoder_stays_the_learners() -> None:
    part = prior(encoder())
    assert [name for name, _ in part.named_parameters()] == ["pseudo_inputs"]
    assert list(part.state_dict()) == ["pseudo_inputs"]
    assert list(part.modules()) == [part]


def test_a_copy_of_a_learner_has_a_prior_of_the_copied_encoder() -> None:
    of = encoder()
    learner = nn.ModuleDict({"prior": prior(of), "encoder": of})
    copied = copy.deepcopy(learner)
    with torch.no_grad():
        for parameter in copied["encoder"].parameters():
            parameter.zero_()
    assert torch.equal(copied["prior"]().means, torch.zeros(5, 2))
    assert learner["prior"]().means.all()


def test_the_density_has_a_gradient_to_the_encoder_and_the_pseudo_inputs() -> None:
    of = encoder()
    part = prior(of)
    part().log_prob(torch.ones(4, 2)).sum().backward()
    for parameter in [part.pseudo_inputs, *of.parameters()]:
        assert parameter.grad is not None
        assert parameter.grad.any()


def test_it_is_the_posterior_as_it_is_then() -> None:
    of = encoder(dropout=0.5)
    part = prior(of)
    assert not torch.equal(part().means, part().means)
    of.eval()
    assert torch.equal(part().means, part().means)


@pytest.mark.parametrize("make", [encoder, InTorchsWords])
def test_it_obeys_the_laws_with_any_encoder(make: Callable[[], Encoder]) -> None:
    of = make()
    check_prior(prior(of), latent_dim=2, encoder=of)


def test_gaussian_posteriors_become_the_fast_mixture() -> None:
    assert isinstance(prior(encoder())(), EqualMixture)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "^components: expected 1 or more, found 0$"),
        ({"spread": 0.0}, r"^spread: expected a number above 0: equal pseudo-inputs would stay equal, found 0\.0$"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, float], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        VampPrior(input_shape=SHAPE, encoder=encoder(), **options)


def test_a_deterministic_encoder_is_refused() -> None:
    message = (
        r"^encoder: expected a posterior with a density beside prior vampprior, found a deterministic posterior, of "
        r"which a mixture has no density; write posterior: gaussian$"
    )
    with pytest.raises(OptionError, match=message):
        prior(encoder("deterministic"))
