"""The policy over continuous actions."""

from __future__ import annotations

import doctest
import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from framework import DiagonalGaussian, OptionError, SquashedGaussian
from framework.testing import check_policy
from framework_plugins.policies import gaussian
from framework_plugins.policies.gaussian import GaussianPolicy

SEEN = Box(-1.0, 1.0, (4,))
FREE = Box(-math.inf, math.inf, (2, 3))
BOUNDED = Box(np.array([-2.0, 0.0], np.float32), np.array([1.0, 100.0], np.float32))


def policy_of(action_space: gymnasium.Space[Any] = FREE, **options: Any) -> GaussianPolicy:
    torch.manual_seed(0)
    return GaussianPolicy(observation_space=SEEN, action_space=action_space, **options)


@pytest.mark.parametrize("sigma", ["constant", "dependent"])
@pytest.mark.parametrize("box", [BOUNDED, Box(-1.0, 1.0, (2, 3)), Box(-1.0, 1.0, (2,), dtype=np.float64)], ids=str)
def test_in_a_box_it_obeys_the_laws(sigma: Any, box: Box) -> None:
    check_policy(policy_of(box, sigma=sigma, squash=True), SEEN, box)


@pytest.mark.parametrize("sigma", ["constant", "dependent"])
def test_its_scale_is_at_first_what_was_asked_for(sigma: Any) -> None:
    policy = policy_of(sigma=sigma, log_sigma=-0.7, head_scale=1e-6)
    pi = policy(torch.ones(5, 4))
    assert isinstance(pi, DiagonalGaussian)
    torch.testing.assert_close(pi.stddev, torch.full((5, 2, 3), math.exp(-0.7)), rtol=1e-4, atol=0)  # the layer's 1e-6
    torch.testing.assert_close(pi.mean, torch.zeros(5, 2, 3), rtol=0, atol=1e-5)


def test_a_constant_scale_is_a_parameter_and_a_dependent_one_is_of_the_observation() -> None:
    observation = torch.eye(4)
    constant = policy_of(sigma="constant", head_scale=1.0)
    assert constant.log_sigma.shape == (2, 3)
    assert torch.equal(constant(observation).stddev, torch.ones(4, 2, 3))
    outputs = policy_of(sigma="dependent", head_scale=1.0).head(observation)
    pi = policy_of(sigma="dependent", head_scale=1.0)(observation)
    assert torch.equal(pi.mean.flatten(1), outputs[:, :6])
    assert torch.equal(pi.log_scale.flatten(1), outputs[:, 6:])


@pytest.mark.parametrize(("given", "kept"), [(-100.0, -20.0), (5.0, 2.0), (0.3, 0.3)])
def test_the_scale_is_kept_within_bounds(given: float, kept: float) -> None:
    policy = policy_of()
    torch.nn.init.constant_(policy.log_sigma, given)
    assert policy(torch.zeros(1, 4)).log_scale.unique().item() == pytest.approx(kept)


def test_in_a_box_it_is_the_squashed_gaussian_of_the_same() -> None:
    box = BOUNDED
    observation = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    pi = policy_of(box, squash=True, head_scale=1.0)(observation)
    assert isinstance(pi, SquashedGaussian)
    middle, half = torch.tensor([-0.5, 50.0]), torch.tensor([1.5, 50.0])
    torch.testing.assert_close(pi.mode, middle + half * pi.base.mean.tanh(), rtol=1e-5, atol=1e-5)  # float32
    assert "low" not in policy_of(box, squash=True).state_dict()  # it is the environment's


@pytest.mark.parametrize(
    ("space", "rest"),
    [
        (Discrete(2), "a Box space, found Discrete(2); write policy: {name: categorical}"),
        (Box(-3, 3, (2,), dtype=np.int64), "a floating-point Box space of one dimension or more, found {space}"),
        (Box(-3.0, 3.0, ()), "a floating-point Box space of one dimension or more, found {space}"),
    ],
    ids=str,
)
def test_another_action_space(space: gymnasium.Space[Any], rest: str) -> None:
    with pytest.raises(OptionError) as raised:
        policy_of(space)
    assert str(raised.value) == f"action_space: expected {rest}".replace("{space}", str(space))


@pytest.mark.parametrize(
    "box",
    [FREE, Box(0.0, math.inf, (2,)), Box(np.array([0.0, 1.0]), np.array([1.0, 1.0]), dtype=np.float64)],
    ids=["no bounds", "half a bound", "no room"],
)
def test_what_has_no_bounds_is_not_squashed(box: Box) -> None:
    with pytest.raises(OptionError) as raised:
        policy_of(box, squash=True)
    assert str(raised.value) == (
        f"squash: expected the action space to have bounds, the upper above the lower; it is {box}, found true; "
        "write false"
    )


def test_without_squashing_the_box_does_not_matter() -> None:
    observation = torch.randn(5, 4)
    drawn = policy_of(BOUNDED)(observation)
    assert isinstance(drawn, DiagonalGaussian)
    assert drawn.sample((1000,)).abs().max() > 3  # outside: whoever steps the environment clips


@pytest.mark.parametrize("log_sigma", [-21.0, 2.5])
def test_a_scale_out_of_bounds(log_sigma: float) -> None:
    with pytest.raises(OptionError, match=rf"^log_sigma: expected a number in \[-20, 2\], found {log_sigma}$"):
        policy_of(log_sigma=log_sigma)


def test_the_examples_run() -> None:
    results = doctest.testmod(gaussian, extraglobs={"torch": torch})
    assert results.attempted > 0
    assert results.failed == 0
