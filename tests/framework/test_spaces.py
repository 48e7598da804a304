"""Features of observations, against numbers written out and against gymnasium's own flattening."""

from __future__ import annotations

import copy
import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple

from framework.errors import OptionError
from framework.spaces import Features

SPACES: list[gymnasium.Space[Any]] = [
    Discrete(3),
    Discrete(4, start=-2),
    MultiDiscrete([2, 3, 1]),
    MultiDiscrete([[2, 3], [4, 1]], start=[[0, 1], [-1, 5]]),
    MultiBinary(3),
    MultiBinary([2, 3]),
    Box(-1.0, 1.0, (4,)),
    Box(-1.0, 1.0, ()),
    Box(-1.0, 1.0, (2, 3)),
    Box(-5, 5, (3,), dtype=np.int64),
]


def drawn(space: gymnasium.Space[Any], count: int = 6) -> np.ndarray[Any, Any]:
    space = copy.deepcopy(space)
    space.seed(0)
    return np.stack([np.asarray(space.sample()) for _ in range(count)])


@pytest.mark.parametrize("space", SPACES, ids=str)
@pytest.mark.parametrize("batch", [(), (6,), (2, 3), (1, 2, 3)], ids=str)
def test_features_are_gymnasiums_flattening(space: gymnasium.Space[Any], batch: tuple[int, ...]) -> None:
    observations = drawn(space)[: math.prod(batch)]
    # flatten() gives a MultiDiscrete's and a Discrete's one-hots, and all else as it is
    expected = np.stack([gymnasium.spaces.flatten(space, one) for one in observations]).astype(np.float32)
    features = Features(space)
    found = features(torch.from_numpy(observations).reshape((*batch, *space.shape)))
    assert found.dtype == torch.float32
    assert features.features == expected.shape[1]
    assert torch.equal(found, torch.from_numpy(expected).reshape(*batch, features.features))


def test_one_hots_written_out() -> None:
    assert Features(Discrete(3, start=5))(torch.tensor([7, 5])).tolist() == [[0, 0, 1], [1, 0, 0]]
    several = Features(MultiDiscrete([2, 3], start=[1, 0]))
    assert several(torch.tensor([[1, 2], [2, 0]])).tolist() == [[1, 0, 0, 0, 1], [0, 1, 1, 0, 0]]


@pytest.mark.parametrize("shape", [(3,), (2, 2, 1)], ids=str)
def test_bytes_are_scaled_to_one(shape: tuple[int, ...]) -> None:
    features = Features(Box(0, 255, shape, dtype=np.uint8))
    count = math.prod(shape)
    observation = torch.arange(2 * count, dtype=torch.uint8).mul(12).view(2, *shape)
    expected = observation.double().flatten(1) / 255
    torch.testing.assert_close(features(observation).double(), expected, rtol=1e-6, atol=0)  # float32's rounding
    assert features(torch.full((1, *shape), 255, dtype=torch.uint8)).max() == 1


def test_numbers_in_one_dimension_are_taken_as_they_are() -> None:
    observation = torch.rand(2, 4)
    assert Features(Box(-1.0, 1.0, (4,)))(observation) is observation
    double = torch.rand(2, 4, dtype=torch.float64)
    assert Features(Box(-1.0, 1.0, (4,), dtype=np.float64))(double) is double


@pytest.mark.parametrize("observation", [-1, 0, 4], ids=str)
def test_what_is_not_in_the_space_is_not_encoded(observation: int) -> None:
    with pytest.raises(RuntimeError, match="Class values must be"):
        Features(Discrete(3, start=1))(torch.tensor([observation]))


def test_there_is_nothing_to_learn_or_to_keep() -> None:
    assert not any(Features(space).state_dict() or list(Features(space).parameters()) for space in SPACES)


@pytest.mark.parametrize(
    "space", [Dict({"a": Discrete(2)}), Tuple([Discrete(2)]), Text(3)], ids=lambda space: type(space).__name__
)
def test_a_space_without_a_fixed_number_of_numbers(space: gymnasium.Space[Any]) -> None:
    with pytest.raises(OptionError) as raised:
        Features(space)
    assert str(raised.value) == (
        "observation_space: expected a Discrete, MultiDiscrete, MultiBinary or Box space, "
        f"found {space}; write wrappers: [{{name: flatten}}]"
    )
