"""Residual trunks for images: deeper than `framework.networks.conv` and its mirror image, of the same shapes.

A block is x + conv(a(g(conv(a(g(x)))))), with g a normalisation by groups of channels and a the activation: of one
example alone, so examples stay apart, and nothing has to be counted for evaluation. Legend: B batch, C channels, F
features.

Reference: He, Zhang, Ren & Sun, "Identity Mappings in Deep Residual Networks", 2016, figure 1b,
https://arxiv.org/abs/1603.05027; Wu & He, "Group Normalization", 2018, https://arxiv.org/abs/1803.08494; for enlarging
by copies and a convolution, Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts", 2016,
https://distill.pub/2016/deconv-checkerboard/.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from framework.errors import OptionError
from framework.networks import PointwiseActivation, activation_layer, halved

_MOST_GROUPS = 8
_FEWEST_CHANNELS = 4  # of a group: where an image has shrunk to one pixel, a channel by itself would be normalised to 0


def resnet(
    input_shape: tuple[int, int, int],
    channels: Sequence[int],
    *,
    blocks: int = 1,
    activation: PointwiseActivation = "relu",
) -> nn.Sequential:
    """Return a residual trunk, [B, C, height, width] → [B, F]; F is `framework.networks.conv_features`.

    Args:
        input_shape: (C, height, width), of any size.
        channels: of each stage, one or more; a stage begins with a convolution that halves the sides, rounding up.
        blocks: residual blocks of each stage.
        activation: the non-linearity.

    Raises:
        OptionError: there is no stage, one has no channel, or there are fewer than no blocks.
    """
    _check(channels, blocks)
    inputs = input_shape[0]
    layers: list[nn.Module] = []
    for outputs in channels:
        layers.append(nn.Conv2d(inputs, outputs, kernel_size=3, stride=2, padding=1))
        layers += [_Block(outputs, activation) for _ in range(blocks)]
        inputs = outputs
    return nn.Sequential(*layers, _normalisation(inputs), activation_layer(activation, -3), nn.Flatten())


def transposed_resnet(
    inputs: int,
    output_shape: tuple[int, int, int],
    channels: Sequence[int],
    *,
    blocks: int = 1,
    activation: PointwiseActivation = "relu",
) -> nn.Sequential:
    """Return the mirror image of `resnet`, [B, inputs] → [B, C, height, width], ending without activation.

    Args:
        inputs: features in.
        output_shape: (C, height, width), of any size: each stage ends by doubling the sides, or doubling and taking one
            off, by copies of the nearest pixel and a convolution, so that the last has exactly this size.
        channels: of each stage, from the smallest image to the largest; one or more.
        blocks: residual blocks of each stage.
        activation: the non-linearity.

    Raises:
        OptionError: there is no stage, one has no channel, or there are fewer than no blocks.
    """
    _check(channels, blocks)
    count = len(channels)
    outputs, height, width = output_shape
    sides = [(halved(height, count - stage), halved(width, count - stage)) for stage in range(count + 1)]
    layers: list[nn.Module] = [
        nn.Linear(inputs, channels[0] * sides[0][0] * sides[0][1]),
        nn.Unflatten(1, (channels[0], *sides[0])),
    ]
    for stage, incoming in enumerate(channels):
        following = channels[min(stage + 1, count - 1)]
        layers += [_Block(incoming, activation) for _ in range(blocks)]
        layers += [nn.Upsample(sides[stage + 1]), nn.Conv2d(incoming, following, kernel_size=3, padding=1)]
    last = nn.Conv2d(channels[-1], outputs, kernel_size=3, padding=1)
    return nn.Sequential(*layers, _normalisation(channels[-1]), activation_layer(activation, -3), last)


class _Block(nn.Module):
    """[B, C, height, width] → the same shape."""

    def __init__(self, channels: int, activation: PointwiseActivation) -> None:
        super().__init__()
        halves = (
            (
                _normalisation(channels),
                activation_layer(activation, -3),
                nn.Conv2d(channels, channels, kernel_size=3, padding=1),
            )
            for _ in range(2)
        )
        self.residual = nn.Sequential(*(layer for half in halves for layer in half))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.residual(x)
        return y


def _normalisation(channels: int) -> nn.GroupNorm:
    groups = [g for g in range(1, _MOST_GROUPS + 1) if channels % g == 0 and channels // g >= _FEWEST_CHANNELS]
    return nn.GroupNorm(max(groups, default=1), channels)


def _check(channels: Sequence[int], blocks: int) -> None:
    if not channels or any(width < 1 for width in channels):
        expected = "1 or more for each stage, and a stage at least"
        raise OptionError("channels", found=list(channels), expected=expected)
    if blocks < 0:
        raise OptionError("blocks", found=blocks, expected="0 or more")
