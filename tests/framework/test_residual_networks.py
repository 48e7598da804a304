"""The residual trunks: shapes for images of any size, and what a block computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from framework import OptionError
from framework.networks import conv_features
from framework.residual_networks import resnet, transposed_resnet


@pytest.mark.parametrize("channels", [[2], [5, 8, 4]], ids=str)
@pytest.mark.parametrize("blocks", [0, 2])
def test_there_and_back_gives_the_size_again(channels: list[int], blocks: int) -> None:
    for side in (1, 2, 3, 7, 28, 33):
        for shape in {(1, side, side), (3, side, 5)}:
            features = resnet(shape, channels, blocks=blocks)(torch.zeros(2, *shape))
            assert features.shape == (2, conv_features(shape, channels))
            back = transposed_resnet(4, shape, channels[::-1], blocks=blocks)(torch.zeros(2, 4))
            assert back.shape == (2, *shape)


def test_a_block_adds_two_normalised_convolutions() -> None:
    torch.manual_seed(0)
    trunk = resnet((3, 8, 8), [16], activation="elu")
    halving, block, normalisation, *_ = trunk
    assert isinstance(halving, nn.Conv2d)
    assert halving.stride == (2, 2)
    x = torch.randn(4, 16, 5, 6)
    first, _, one, second, _, two = block.residual
    assert first.num_groups == second.num_groups == normalisation.num_groups == 4  # of four channels each
    h = one(F.elu(F.group_norm(x, 4)))  # weights of 1 and shifts of 0, as it starts
    torch.testing.assert_close(block(x), x + two(F.elu(F.group_norm(h, 4))))


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (6, 1), (8, 2), (24, 6), (34, 2), (64, 8)])
def test_groups_divide_the_channels(channels: int, groups: int) -> None:
    assert resnet((1, 8, 8), [channels], blocks=0)[1].num_groups == groups


def test_an_image_of_one_pixel_is_not_normalised_away() -> None:
    torch.manual_seed(0)
    trunk = resnet((2, 1, 1), [8])
    x = torch.randn(5, 2, 1, 1)
    assert trunk(x).std(0).max() > 0.1


def test_the_enlarged_image_is_of_copies() -> None:
    layers = [layer for layer in transposed_resnet(2, (1, 7, 7), [4, 4]) if isinstance(layer, nn.Upsample)]
    assert [(layer.size, layer.mode) for layer in layers] == [((4, 4), "nearest"), ((7, 7), "nearest")]


def test_a_decoders_trunk_ends_without_activation() -> None:
    torch.manual_seed(0)
    trunk = transposed_resnet(2, (1, 4, 4), [8, 8])
    assert isinstance(trunk[-1], nn.Conv2d)
    assert (trunk(torch.randn(50, 2)) < 0).any()


@pytest.mark.parametrize("make", [lambda **o: resnet((1, 8, 8), **o), lambda **o: transposed_resnet(2, (1, 8, 8), **o)])
def test_what_cannot_be_is_refused(make) -> None:  # type: ignore[no-untyped-def]
    message = r"^channels: expected 1 or more for each stage, and a stage at least, found "
    with pytest.raises(OptionError, match=message + r"\[\]$"):
        make(channels=[])
    with pytest.raises(OptionError, match=message + r"\[4, 0\]$"):
        make(channels=[4, 0])
    with pytest.raises(OptionError, match=r"^blocks: expected 0 or more, found -1$"):
        make(channels=[4], blocks=-1)
