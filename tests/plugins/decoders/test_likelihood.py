"""The likelihoods against torch's own, quadrature and a closed form."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.integrate import quad
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal, constraints

from framework import Counters, OptionError
from framework_plugins.decoders.likelihood import Likelihood, output_shape
from framework_plugins.optimizers.adam import adam


def likelihood(
    name: str, shape: tuple[int, ...] = (2, 3), *, sigma: float | str | None = None, learn_sigma: bool = False
) -> Likelihood:
    return Likelihood(input_shape=shape, likelihood=name, sigma=sigma, learn_sigma=learn_sigma)


def outputs() -> Tensor:
    return torch.randn(4, 2, 3, generator=torch.Generator().manual_seed(0))


def test_bernoulli_takes_its_outputs_for_logits() -> None:
    x = (outputs() > 0).float()
    expected = Bernoulli(logits=outputs()).log_prob(x).sum((1, 2))
    torch.testing.assert_close(likelihood("bernoulli")(outputs()).log_prob(x), expected)


@pytest.mark.parametrize(("sigma", "scale"), [(None, 1.0), (0.3, 0.3)])
def test_gaussian_takes_its_outputs_for_means(sigma: float | None, scale: float) -> None:
    x = outputs().flip(0)
    expected = Normal(outputs(), scale).log_prob(x).sum((1, 2))
    torch.testing.assert_close(likelihood("gaussian", sigma=sigma)(outputs()).log_prob(x), expected)


def test_known_mistake_the_reconstruction_is_summed_over_pixels() -> None:
    """A known mistake: −log p = r²/(2σ²) + D/2 · log(2πσ²), with the D pixels summed and never averaged."""
    x, sigma = outputs().flip(0), 0.7
    squared = (x - outputs()).square().sum((1, 2))
    expected = -squared / (2 * sigma**2) - 6 / 2 * math.log(2 * math.pi * sigma**2)
    torch.testing.assert_close(likelihood("gaussian", sigma=sigma)(outputs()).log_prob(x), expected)
    for name in ("bernoulli", "gaussian", "continuous_bernoulli"):
        once = likelihood(name, (2, 3))(outputs()).log_prob(torch.ones(4, 2, 3))
        twice = likelihood(name, (2, 6))(outputs().repeat(1, 1, 2)).log_prob(torch.ones(4, 2, 6))
        torch.testing.assert_close(twice, 2 * once)


@pytest.mark.parametrize("logit", [-8.0, -1.0, -0.01, 0.0, 0.005, 2.0, 8.0])
def test_continuous_bernoulli_integrates_to_one(logit: float) -> None:
    """Near logit 0 torch takes a Taylor series of the normaliser: 1e-6 holds in float64 over the whole range."""
    p = likelihood("continuous_bernoulli", (1,))(torch.tensor([[logit]], dtype=torch.float64))

    def density(x: float) -> float:
        return math.exp(float(p.log_prob(torch.tensor([[x]], dtype=torch.float64))))

    total, _ = quad(density, 0, 1)
    assert total == pytest.approx(1.0, abs=1e-6)
    mean, _ = quad(lambda x: x * density(x), 0, 1)
    assert p.mean.item() == pytest.approx(mean, abs=1e-6)


def test_a_learned_sigma_converges_to_the_residuals_standard_deviation() -> None:
    """The maximum of the likelihood in σ is at σ² = the mean of the squared residuals."""
    residuals = 0.3 * torch.randn(200, 2, 3, generator=torch.Generator().manual_seed(1))
    part = likelihood("gaussian", learn_sigma=True)
    optimizer = adam(part.parameters(), lr=0.05)
    for step in range(300):
        optimizer.algorithm.zero_grad()
        (-part(torch.zeros(200, 2, 3)).log_prob(residuals).mean()).backward()
        optimizer.step(Counters(optimizer_steps=step))
    expected = residuals.square().mean().sqrt().item()
    assert part.log_sigma.exp().item() == pytest.approx(expected, rel=1e-3)  # Adam's last steps are of that size


def test_a_fixed_sigma_is_no_parameter_and_is_saved() -> None:
    assert list(likelihood("gaussian", sigma=0.5).parameters()) == []
    assert likelihood("gaussian", sigma=0.5).state_dict()["log_sigma"].item() == pytest.approx(math.log(0.5))
    learned = likelihood("gaussian", sigma=0.5, learn_sigma=True)
    assert [parameter.item() for parameter in learned.parameters()] == [pytest.approx(math.log(0.5))]


@pytest.mark.parametrize(
    ("name", "support"),
    [
        ("bernoulli", constraints.boolean),
        ("gaussian", constraints.real),
        ("continuous_bernoulli", constraints.unit_interval),
        ("categorical", constraints.unit_interval),
        ("discretized_logistic", constraints.unit_interval),
    ],
)
def test_the_support_says_what_data_it_is_for(name: str, support: constraints.Constraint) -> None:
    found = likelihood(name)(torch.zeros(4, *output_shape((2, 3), name))).support
    assert found.base_constraint is support
    assert found.event_dim == 2


@pytest.mark.parametrize("sigma", [0.0, -1.0])
def test_sigma_is_positive(sigma: float) -> None:
    with pytest.raises(OptionError, match=rf"^sigma: expected a number above 0, or optimal, found {sigma}$"):
        likelihood("gaussian", sigma=sigma)


def test_the_optimal_sigma_is_that_of_the_errors() -> None:
    part = likelihood("gaussian", sigma="optimal")
    x = outputs().flip(0)
    variance = (x - outputs()).square().mean()
    expected = Normal(outputs(), variance.sqrt()).log_prob(x).sum((1, 2))
    torch.testing.assert_close(part(outputs()).log_prob(x), expected)
    torch.testing.assert_close(part.eval()(outputs()).log_prob(x), expected)  # the running one, of one batch


def test_the_optimal_sigma_is_not_learned_as_well() -> None:
    message = r"^learn_sigma: expected one of the two, found true beside sigma: optimal$"
    with pytest.raises(OptionError, match=message):
        likelihood("gaussian", sigma="optimal", learn_sigma=True)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 4, 5)], ids=str)
def test_categorical_outputs_are_the_logits_of_the_levels(shape: tuple[int, ...]) -> None:
    assert output_shape(shape, "categorical") == (256 * shape[0], *shape[1:])
    logits = torch.randn(4, 256, *shape, generator=torch.Generator().manual_seed(0))
    level = torch.randint(256, (4, *shape), generator=torch.Generator().manual_seed(1))
    expected = Categorical(logits=logits.movedim(1, -1)).log_prob(level).flatten(1).sum(1)
    found = likelihood("categorical", shape)(logits.flatten(1, 2)).log_prob(level / 255)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (3, 4, 5)], ids=str)
def test_outputs_of_zero_are_a_mid_grey_of_half_the_range(shape: tuple[int, ...]) -> None:
    assert output_shape(shape, "discretized_logistic") == (2 * shape[0], *shape[1:])
    raw = torch.zeros(4, 2 * shape[0], *shape[1:])
    raw[:, shape[0] :] = torch.tensor([0.0, -1.0, -7.0, -20.0]).view(4, *(1 for _ in shape))
    p = likelihood("discretized_logistic", shape)(raw)
    torch.testing.assert_close(p.location, torch.full((4, *shape), 0.5))
    expected = torch.tensor([0.5, 0.5 / math.e, 0.5 * math.exp(-7), 0.5 * math.exp(-7)])
    torch.testing.assert_close(p.log_scale.exp().flatten(1)[:, 0], expected)


def test_the_first_half_of_the_channels_is_the_mean() -> None:
    raw = torch.randn(4, 6, 2, generator=torch.Generator().manual_seed(0))
    p = likelihood("discretized_logistic", (3, 2))(raw)
    torch.testing.assert_close(p.location, (raw[:, :3] + 1) / 2)


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "continuous_bernoulli"])
def test_the_others_have_one_output_a_value(name: str) -> None:
    assert output_shape((3, 4, 5), name) == (3, 4, 5)


@pytest.mark.parametrize(("options", "named"), [({"sigma": 0.5}, "sigma"), ({"learn_sigma": True}, "learn_sigma")])
def test_sigma_is_the_gaussians_alone(options: dict[str, float | bool], named: str) -> None:
    message = rf"^{named}: expected likelihood: gaussian beside it, found set for likelihood bernoulli$"
    with pytest.raises(OptionError, match=message):
        likelihood("bernoulli", **options)
