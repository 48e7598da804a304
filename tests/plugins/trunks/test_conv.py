"""The convolutional trunk."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import nn

from framework import OptionError
from framework_plugins.trunks.conv import ConvTrunk

BYTES = Box(0, 255, (5, 7, 2), dtype=np.uint8)


def test_rows_columns_and_channels_are_told_apart() -> None:
    # A filter of its middle's weight alone, 1 for channel 0 and 0 for channel 1, picks every other row and column.
    trunk = ConvTrunk(observation_space=BYTES, channels=[1])
    (layer,) = (module for module in trunk.modules() if isinstance(module, nn.Conv2d))
    layer.weight.data.zero_()
    layer.weight.data[0, 0, 1, 1] = 1
    observation = torch.randint(0, 256, (3, 5, 7, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = observation[:, ::2, ::2, 0].flatten(1) / 255
    torch.testing.assert_close(trunk(observation), expected, rtol=1e-6, atol=1e-6)  # float32
    assert trunk.features == 3 * 4


@pytest.mark.parametrize("hidden", [None, 6])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)], ids=str)
def test_any_number_of_batch_dimensions(batch: tuple[int, ...], hidden: int | None) -> None:
    trunk = ConvTrunk(observation_space=BYTES, channels=[4, 3], hidden=hidden)
    assert trunk.features == (hidden or 3 * 2 * 2)
    assert trunk(torch.zeros(*batch, 5, 7, 2, dtype=torch.uint8)).shape == (*batch, trunk.features)


def test_bytes_are_divided_and_numbers_are_not() -> None:
    torch.manual_seed(0)
    bytes_ = ConvTrunk(observation_space=BYTES, channels=[4], hidden=6)
    numbers = ConvTrunk(observation_space=Box(0.0, 1.0, (5, 7, 2)), channels=[4], hidden=6)
    numbers.load_state_dict(bytes_.state_dict())
    observation = torch.randint(0, 256, (3, 5, 7, 2), dtype=torch.uint8)
    torch.testing.assert_close(bytes_(observation), numbers(observation / 255), rtol=1e-5, atol=1e-6)  # float32


def test_its_layers_are_orthogonal_of_gain_root_two_and_activated() -> None:
    trunk = ConvTrunk(observation_space=BYTES, channels=[4], hidden=6, activation="elu")
    layers = [layer for layer in trunk.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert len(layers) == 2
    for layer in layers:
        weight = layer.weight.flatten(1)
        torch.testing.assert_close(weight @ weight.t(), 2 * torch.eye(len(weight)), atol=1e-5, rtol=0)  # float32
        assert not layer.bias.any()
    assert sum(isinstance(layer, nn.ELU) for layer in trunk.modules()) == 2


@pytest.mark.parametrize("space", [Discrete(3), Box(-1.0, 1.0, (4,))], ids=str)
def test_what_is_no_image_is_refused(space: gymnasium.Space[Any]) -> None:
    with pytest.raises(OptionError) as raised:
        ConvTrunk(observation_space=space, channels=[4])
    assert str(raised.value) == (
        "observation_space: expected images, a Box space of shape (rows, columns, channels), "
        f"found {space}; write trunk: {{name: mlp}}"
    )


@pytest.mark.parametrize(
    ("options", "option"), [({"channels": []}, "channels"), ({"channels": [4], "hidden": 0}, "hidden")]
)
def test_no_units(options: dict[str, Any], option: str) -> None:
    with pytest.raises(OptionError, match=rf"^{option}: expected 1 or more for each layer"):
        ConvTrunk(observation_space=BYTES, **options)
