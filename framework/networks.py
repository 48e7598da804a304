"""The trunks that encoders, decoders, policies and critics share: functions that return plain modules.

Normalisation, where there is any, is by layer or group: statistics of a batch would tie examples to each other.
Legend: B batch, F features, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from framework.errors import OptionError

PointwiseActivation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"]
Activation = Literal["relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "gated", "maxout"]
_PIECES = 4  # of a maxout unit, as in the experiments of Rezende & Mohamed, 2015
_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": partial(nn.LeakyReLU, 0.2),  # the slope that critics of the literature have
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
"""What follows a layer, by name.

`gated` is (Wx + b) ⊙ σ(Vx + c): one layer of twice the units, the second half of which gates the first, and so of twice
the parameters. Reference: Dauphin, Fan, Auli & Grangier, "Language Modeling with Gated Convolutional Networks", 2017,
equation 1, https://arxiv.org/abs/1612.08083; in autoencoders, Tomczak & Welling, "VAE with a VampPrior", 2018.

`maxout` is the largest of several: a layer of so many times the units, cut into parts that are compared unit by unit.
Reference: Goodfellow, Warde-Farley, Mirza, Courville & Bengio, "Maxout Networks", 2013, equation 1,
https://arxiv.org/abs/1302.4389; in deep latent Gaussian models, Rezende & Mohamed, "Variational Inference with
Normalizing Flows", 2015, section 6.2, https://arxiv.org/abs/1505.05770.
"""


class Maxout(nn.Module):
    """max_k h_k over the equal parts h_k into which a dimension is cut, [..., K · units, ...] → [..., units, ...].

    Args:
        dimension: the one that is cut, counted from the end: −1 for units, −3 for channels.
    """

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension

    def forward(self, h: Tensor) -> Tensor:
        pieces: Tensor = h.unflatten(self.dimension, (_PIECES, -1))
        return pieces.amax(self.dimension - 1)


ArrayFunction = Callable[[NDArray[np.float32]], NDArray[np.float32]]
_OF_ARRAYS: dict[type[nn.Module], Callable[[NDArray[Any]], NDArray[Any]]] = {
    nn.ReLU: lambda x: np.maximum(x, 0, out=x),
    nn.Tanh: lambda x: np.tanh(x, out=x),
}  # both in place: what they are given is a linear layer's


def mlp(
    inputs: int,
    hidden: Sequence[int],
    outputs: int | None = None,
    *,
    activation: Activation = "relu",
    dropout: float = 0.0,
) -> nn.Sequential:
    """Return a multilayer perceptron, [B, inputs] → [B, outputs], or without outputs → [B, hidden[-1]], activated.

    Args:
        inputs: features in.
        hidden: units of each hidden layer; with none, and no outputs either, the inputs are returned as they are.
        outputs: units of a last layer without activation, or None.
        activation: the non-linearity after each hidden layer.
        dropout: the share of each hidden layer's units that a training step sets to zero, in [0, 1).

    Raises:
        OptionError: a hidden layer has no unit, or the dropout is out of range.
    """
    _check_widths("hidden", hidden, fewest=0)
    if not 0 <= dropout < 1:
        raise OptionError("dropout", found=dropout, expected="a share in [0, 1)")
    layers: list[nn.Module] = []
    for units in hidden:
        layers += [nn.Linear(inputs, units_before(activation, units)), activation_layer(activation, -1)]
        if dropout:
            layers.append(nn.Dropout(dropout))
        inputs = units
    if outputs is not None:
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


def halved(size: int, times: int) -> int:
    """Return a side's length after `times` convolutions of stride 2 with padding 1: each rounds up."""
    for _ in range(times):
        size = math.ceil(size / 2)
    return size


def conv(
    input_shape: tuple[int, int, int], channels: Sequence[int], *, activation: Activation = "relu"
) -> nn.Sequential:
    """Return a convolutional trunk, [B, C, height, width] → [B, F]: each layer halves the sides, rounding up.

    Args:
        input_shape: (C, height, width), of any size.
        channels: of each layer, one or more layers.
        activation: the non-linearity after each layer.

    Raises:
        OptionError: there is no layer, or one has no channel.
    """
    _check_widths("channels", channels, fewest=1)
    inputs = input_shape[0]
    layers: list[nn.Module] = []
    for outputs in channels:
        layers += [
            nn.Conv2d(inputs, units_before(activation, outputs), kernel_size=3, stride=2, padding=1),
            activation_layer(activation, -3),
        ]
        inputs = outputs
    return nn.Sequential(*layers, nn.Flatten())


def conv_features(input_shape: tuple[int, int, int], channels: Sequence[int]) -> int:
    """Return F, the number of features of `conv`'s trunk."""
    height, width = (halved(side, len(channels)) for side in input_shape[1:])
    return channels[-1] * height * width


def transposed_conv(
    inputs: int, output_shape: tuple[int, int, int], channels: Sequence[int], *, activation: Activation = "relu"
) -> nn.Sequential:
    """Return the mirror image of `conv`, [B, inputs] → [B, C, height, width], ending without activation.

    Args:
        inputs: features in.
        output_shape: (C, height, width), of any size: each layer doubles the sides, or doubles and takes one off, so
            that the last has exactly this size.
        channels: of each layer's input, from the smallest image to the largest; one or more layers.
        activation: the non-linearity between layers.

    Raises:
        OptionError: there is no layer, or one has no channel.
    """
    _check_widths("channels", channels, fewest=1)
    count = len(channels)
    _, height, width = output_shape
    sides = [(halved(height, count - layer), halved(width, count - layer)) for layer in range(count + 1)]
    first = units_before(activation, channels[0])
    layers: list[nn.Module] = [
        nn.Linear(inputs, first * sides[0][0] * sides[0][1]),
        nn.Unflatten(1, (first, *sides[0])),
    ]
    for layer, incoming in enumerate(channels):
        following = units_before(activation, channels[layer + 1]) if layer + 1 < count else output_shape[0]
        # A transposed convolution turns a side s into 2s − 1, plus what padding adds: 0 or 1, as halving rounded.
        (low, narrow), (high, wide) = sides[layer], sides[layer + 1]
        padding = (high - (2 * low - 1), wide - (2 * narrow - 1))
        layers += [
            activation_layer(activation, -3),
            nn.ConvTranspose2d(incoming, following, kernel_size=3, stride=2, padding=1, output_padding=padding),
        ]
    return nn.Sequential(*layers)


def image_shape(input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return (C, height, width).

    Raises:
        ValueError: the examples are no images.
    """
    if len(input_shape) != 3:
        raise ValueError(f"a convolution needs images of shape (channels, height, width), found {input_shape}; use mlp")
    channels, height, width = input_shape
    return channels, height, width


def initialize_orthogonally(module: nn.Module, *, gain: float) -> None:
    """Make the weights of each linear layer and convolution in a module an orthogonal matrix, the biases 0.

    Args:
        module: what is changed in place; draws from torch's default generator.
        gain: the singular values of each matrix; √2 keeps the size of what a layer of rectifiers passes on.

    Reference: Saxe, McClelland & Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural
    networks", 2014, https://arxiv.org/abs/1312.6120; in policy gradients, Huang et al., "The 37 implementation details
    of proximal policy optimization", 2022, detail 2, https://iclr-blog-track.github.io/2022/03/25/ppo-implementation-details/.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight, gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def units_before(activation: Activation, units: int) -> int:
    """Return how many outputs a layer has for an activation that leaves so many units."""
    return {"gated": 2, "maxout": _PIECES}.get(activation, 1) * units


def activation_layer(activation: Activation, dimension: int) -> nn.Module:
    """Return the non-linearity after a layer whose units, or channels, are in this dimension."""
    if activation == "gated":
        return nn.GLU(dimension)
    return Maxout(dimension) if activation == "maxout" else _ACTIVATIONS[activation]()


def _check_widths(option: str, widths: Sequence[int], *, fewest: int) -> None:
    if len(widths) < fewest or any(width < 1 for width in widths):
        expected = "1 or more for each layer" + (", and a layer at least" if fewest else "")
        raise OptionError(option, found=list(widths), expected=expected)


def array_function(layers: Iterable[nn.Module]) -> ArrayFunction | None:
    """Return what layers, one after the other, make of rows, as a function of arrays.

    For acting: at eight rows of 64 units torch takes four times as long, nearly all of it between its operations, and
    on one thread two and a half times as long at a thousand. The values are torch's within the rounding of float32;
    there is no gradient. The function sees the parameters' own memory: it follows an optimiser's steps, but not a move
    to another device or type.

    Args:
        layers: from the first to the last.

    Returns:
        [B, F] float32 → [B, outputs] float32; None where there is none: of layers that are neither linear nor a `tanh`
        or `relu` after a linear one, that have hooks, or that are not float32 on the CPU.

    Example:
        >>> function = array_function(mlp(3, [4], 2, activation="tanh"))
        >>> function(np.zeros((5, 3), dtype=np.float32)).shape
        (5, 2)
    """
    steps: list[ArrayFunction] = []
    for layer in layers:
        if layer._forward_hooks or layer._forward_pre_hooks:
            return None
        if type(layer) is nn.Linear and layer.weight.device.type == "cpu" and layer.weight.dtype == torch.float32:
            bias = None if layer.bias is None else layer.bias.detach().numpy()
            steps.append(partial(_linear, layer.weight.detach().numpy().T, bias))
        elif type(layer) in _OF_ARRAYS and steps:
            steps.append(_OF_ARRAYS[type(layer)])
        else:
            return None

    def function(x: NDArray[np.float32]) -> NDArray[np.float32]:
        for step in steps:
            x = step(x)
        return x

    return function if steps else None


def _linear(weight: NDArray[Any], bias: NDArray[Any] | None, x: NDArray[Any]) -> NDArray[Any]:
    product: NDArray[Any] = x @ weight
    if bias is not None:
        product += bias
    return product


class Reshape(nn.Module):
    """[B, F] → [B, *shape]."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], *self.shape)
