"""The laws of policies and trunks: parts that break one law each are told which, and what to do."""

from __future__ import annotations

import math
import re
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary
from torch import Tensor, nn
from torch.distributions import Distribution, Normal

from framework import ActionValues, BernoulliLogits, CategoricalLogits, DiagonalGaussian, Policy, Trunk
from framework.testing import check_policy, check_trunk

SEEN, ACTIONS, BOX = Box(-1.0, 1.0, (4,)), Discrete(3), Box(-math.inf, math.inf, (2,))


class Good(Policy):
    """A linear layer: obeys every law."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(4, outputs)

    def forward(self, observation: Tensor) -> Distribution:
        return CategoricalLogits(self.linear(observation))


class GoodRule(Policy):
    """All actions alike: obeys every law."""

    explores_values = True

    def forward(self, observation: ActionValues) -> Distribution:  # type: ignore[override]
        return CategoricalLogits(torch.zeros_like(observation.values))


class GoodNumbers(Good):
    def __init__(self) -> None:
        super().__init__(2)

    def forward(self, observation: Tensor) -> Distribution:
        mean = self.linear(observation)
        return DiagonalGaussian(mean, mean.new_zeros(2))


class ByTorch(Good):
    """torch's own distribution, which has an entropy too."""

    def forward(self, observation: Tensor) -> Distribution:
        return torch.distributions.Categorical(logits=self.linear(observation), validate_args=False)


class Summed(Good):
    def forward(self, observation: Tensor) -> Distribution:
        return CategoricalLogits(self.linear(observation).sum(0))


class Unsummed(GoodNumbers):
    def forward(self, observation: Tensor) -> Distribution:
        mean = self.linear(observation)
        return Normal(mean, torch.ones_like(mean), validate_args=False)


class TooManyActions(Good):
    def __init__(self) -> None:
        super().__init__(50)


class ActionsAreFloats(Good):
    def forward(self, observation: Tensor) -> Distribution:
        return BernoulliLogits(self.linear(observation)[..., 0], 0)


class NumbersForSwitches(GoodNumbers):
    """Real numbers, cut off at whole ones, are switches: the law looks at them before."""


class OutOfTheBox(GoodNumbers):
    pass


class NotFinite(Good):
    def forward(self, observation: Tensor) -> Distribution:
        return InfiniteDensity(self.linear(observation))


class InfiniteDensity(CategoricalLogits):
    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value) / 0


class EntropyOfAll(Good):
    def forward(self, observation: Tensor) -> Distribution:
        return OneEntropy(self.linear(observation))


class OneEntropy(CategoricalLogits):
    def entropy(self) -> Tensor:
        return super().entropy().mean()


class DrawsByNumpy(Good):
    def __init__(self) -> None:
        super().__init__()
        self.generator = np.random.default_rng(0)

    def forward(self, observation: Tensor) -> Distribution:
        return Elsewhere(self.linear(observation), self.generator)


class Elsewhere(CategoricalLogits):
    def __init__(self, logits: Tensor, generator: np.random.Generator) -> None:
        super().__init__(logits)
        self.generator = generator

    def sample(self, sample_shape: Any = ()) -> Tensor:
        return torch.from_numpy(self.generator.integers(3, size=(*sample_shape, *self.batch_shape)))


class Detached(Good):
    def forward(self, observation: Tensor) -> Distribution:
        return CategoricalLogits(self.linear(observation).detach())


class Compares(Good):
    def forward(self, observation: Tensor) -> Distribution:
        logits = self.linear(observation)
        return CategoricalLogits(logits - 3 * logits.flatten(0, -2).mean(0))


class CountsFromTheFirst(Good):
    def forward(self, observation: Tensor) -> Distribution:
        return CategoricalLogits(3 * self.linear(observation).softmax(1))


class Single(Good):
    def forward(self, observation: Tensor) -> Distribution:
        return CategoricalLogits(self.linear(observation).float())


class Clamps(Good):
    def forward(self, observation: Tensor) -> Distribution:
        return CategoricalLogits(self.linear(observation.clamp_(-0.1, 0.1)))


class Remembers(Good):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, observation: Tensor) -> Distribution:
        self.calls += 1
        slope = torch.arange(3.0, dtype=observation.dtype) * (self.calls > 1)
        return CategoricalLogits(self.linear(observation) + slope)


@pytest.mark.parametrize(
    ("policy", "space"), [(Good(), ACTIONS), (GoodRule(), ACTIONS), (GoodNumbers(), BOX), (ByTorch(), ACTIONS)]
)
def test_good_policies_pass(policy: Policy, space: gymnasium.Space[Any]) -> None:
    check_policy(policy, SEEN, space)


def test_the_callers_random_numbers_are_left_as_they_were() -> None:
    policy, trunk, space = Good(), GoodTrunk(), Box(-1.0, 1.0, (4,))
    torch.manual_seed(0)
    space.seed(0)
    expected, of_the_space = torch.rand(3), space.sample()
    torch.manual_seed(0)
    space.seed(0)
    check_policy(policy, space, ACTIONS)
    check_trunk(trunk, space)
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(space.sample(), of_the_space)


@pytest.mark.parametrize(
    ("policy", "space", "law"),
    [
        (Summed(), ACTIONS, "expected a distribution of batch shape [6] and event shape [], found batch shape []"),
        (Unsummed(), BOX, "expected a distribution of batch shape [6] and event shape [2], found batch shape [6, 2]"),
        (TooManyActions(), ACTIONS, "samples, of torch.int64, are actions of Discrete(3), found torch.int64"),
        (ActionsAreFloats(), ACTIONS, "samples, of torch.int64, are actions of Discrete(3), found torch.float32"),
        (NumbersForSwitches(), MultiBinary(2), "samples, of torch.float32, are actions of MultiBinary(2), found"),
        (
            OutOfTheBox(),
            Box(-0.1, 0.1, (2,)),
            "samples, of torch.float32, are actions of Box(-0.1, 0.1, (2,), float32)",
        ),
        (NotFinite(), ACTIONS, "values are finite, found [-inf"),
        (EntropyOfAll(), ACTIONS, "expected one entropy an observation, of shape [6], found []"),
        (DrawsByNumpy(), ACTIONS, "samples are a function of torch's generator; draw by no other"),
        (Detached(), ACTIONS, "the output has a finite gradient that is not zero to the parameters"),
        (Compares(), ACTIONS, "what an observation is mapped to does not depend on the others in the batch"),
        (CountsFromTheFirst(), ACTIONS, "nor on the batch's dimensions; normalise by layer or group and not by batch"),
        (Single(), ACTIONS, "torch.float64 in is torch.float64 out, found torch.float32"),
        (Clamps(), ACTIONS, "inputs are left as they were; change no input in place"),
        (Remembers(), ACTIONS, "what an observation is mapped to does not depend on the others in the batch"),
        (GoodRule(), BOX, "values are explored of discrete actions; say explores_values = False"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Policy) else "",
)
def test_a_policy_that_breaks_a_law_is_told_which(policy: Policy, space: gymnasium.Space[Any], law: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(law)):
        check_policy(policy, SEEN, space)


class GoodTrunk(Trunk):
    def __init__(self) -> None:
        super().__init__()
        self.features = 5
        self.linear = nn.Linear(4, 5)

    def forward(self, observation: Tensor) -> Tensor:
        features: Tensor = self.linear(observation)
        return features


class Miscounts(GoodTrunk):
    def __init__(self) -> None:
        super().__init__()
        self.features = 4


class InfiniteFeatures(GoodTrunk):
    def forward(self, observation: Tensor) -> Tensor:
        return super().forward(observation) / 0


class ComparesFeatures(GoodTrunk):
    def forward(self, observation: Tensor) -> Tensor:
        features = super().forward(observation)
        return features - features.mean(0)


class DetachedFeatures(GoodTrunk):
    def forward(self, observation: Tensor) -> Tensor:
        return super().forward(observation).detach()


class SingleFeatures(GoodTrunk):
    def forward(self, observation: Tensor) -> Tensor:
        return super().forward(observation).float()


class ClampsObservations(GoodTrunk):
    def forward(self, observation: Tensor) -> Tensor:
        return super().forward(observation.clamp_(-0.1, 0.1))


class PlainTensor(GoodTrunk):
    def __init__(self) -> None:
        super().__init__()
        self.shift = torch.zeros(5)


def test_a_good_trunk_passes() -> None:
    check_trunk(GoodTrunk(), SEEN)


@pytest.mark.parametrize(
    ("trunk", "law"),
    [
        (Miscounts(), "expected features of each observation, of shape [6, 4], found [6, 5]; flatten what follows"),
        (InfiniteFeatures(), "values are finite, found"),
        (ComparesFeatures(), "what an observation is mapped to does not depend on the others in the batch"),
        (DetachedFeatures(), "the output has a finite gradient that is not zero to the parameters"),
        (SingleFeatures(), "torch.float64 in is torch.float64 out, found torch.float32"),
        (ClampsObservations(), "inputs are left as they were; change no input in place"),
        (PlainTensor(), "tensors are parameters or buffers, found attributes ['shift']; use register_buffer"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Trunk) else "",
)
def test_a_trunk_that_breaks_a_law_is_told_which(trunk: Trunk, law: str) -> None:
    with pytest.raises(AssertionError, match=re.escape(law)):
        check_trunk(trunk, SEEN)
