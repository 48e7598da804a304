"""The trunks: shapes for images of any size, layers that are where they should be."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import framework.networks
import framework_plugins
from framework import OptionError
from framework.networks import (
    Activation,
    Reshape,
    array_function,
    conv,
    conv_features,
    halved,
    image_shape,
    initialize_orthogonally,
    mlp,
    transposed_conv,
)

SIDES = range(1, 34)


@pytest.mark.parametrize("channels", [[2], [2, 3, 2]], ids=str)
def test_convolutions_there_and_back_give_the_size_again(channels: list[int]) -> None:
    for side in SIDES:
        for shape in {(1, side, side), (3, side, 5), (2, 34 - side, side)}:
            x = torch.zeros(2, *shape)
            features = conv(shape, channels)(x)
            assert features.shape == (2, conv_features(shape, channels))
            assert transposed_conv(4, shape, channels[::-1])(torch.zeros(2, 4)).shape == x.shape


def test_halving_is_what_a_convolution_of_stride_two_does() -> None:
    for side, times in itertools.product(SIDES, range(4)):
        x = torch.zeros(1, 1, side, side)
        for _ in range(times):
            x = nn.functional.conv2d(x, torch.zeros(1, 1, 3, 3), stride=2, padding=1)
        assert halved(side, times) == x.shape[-1]


def test_no_image_size_is_written_into_the_networks() -> None:
    plugins = Path(framework_plugins.__file__).parent
    files = [Path(framework.networks.__file__), *plugins.glob("encoders/*.py"), *plugins.glob("decoders/*.py")]
    assert len(files) >= 5
    for file in files:
        assert not re.search(r"\b(28|784)\b", file.read_text(encoding="utf-8")), file


def test_mlp_layers() -> None:
    network = mlp(5, [4, 3], 2, activation="tanh")
    assert [type(layer) for layer in network] == [nn.Linear, nn.Tanh, nn.Linear, nn.Tanh, nn.Linear]
    assert [layer.out_features for layer in network if isinstance(layer, nn.Linear)] == [4, 3, 2]
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    first, _, second, _, last = network
    torch.testing.assert_close(network(x), last(torch.tanh(second(torch.tanh(first(x))))), rtol=0, atol=0)


def test_mlp_without_hidden_layers_is_linear_or_nothing() -> None:
    assert [type(layer) for layer in mlp(5, [], 2)] == [nn.Linear]
    x = torch.ones(3, 5)
    assert mlp(5, [])(x) is x


def test_mlp_without_outputs_ends_activated() -> None:
    assert (mlp(5, [4])(torch.randn(9, 5, generator=torch.Generator().manual_seed(0))) >= 0).all()


@pytest.mark.parametrize("activation", ["relu", "elu", "gelu", "silu", "tanh"])
def test_activations(activation: str) -> None:
    x = torch.linspace(-3, 3, 13)
    expected = getattr(torch.nn.functional, activation)(x)
    assert torch.equal(mlp(1, [1], activation=activation)[1](x), expected)
    assert torch.equal(conv((1, 4, 4), [1], activation=activation)[1](x), expected)
    assert torch.equal(transposed_conv(1, (1, 4, 4), [1], activation=activation)[2](x), expected)


def test_gated_layers_are_a_product_of_two() -> None:
    """(Wx + b) ⊙ σ(Vx + c), units by units and channels by channels."""
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    layer, gate, *rest = mlp(5, [4, 3], 2, activation="gated")
    (w, v), (b, c) = layer.weight.chunk(2), layer.bias.chunk(2)
    torch.testing.assert_close(gate(layer(x)), (x @ w.T + b) * torch.sigmoid(x @ v.T + c))
    assert nn.Sequential(layer, gate, *rest)(x).shape == (6, 2)
    images = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(1))
    trunk = conv((3, 8, 9), [4, 5], activation="gated")
    value, gates = trunk[0](images).chunk(2, dim=1)
    torch.testing.assert_close(trunk[1](trunk[0](images)), value * torch.sigmoid(gates))
    assert trunk(images).shape == (2, conv_features((3, 8, 9), [4, 5]))
    assert transposed_conv(7, (3, 8, 9), [4, 5], activation="gated")(torch.zeros(2, 7)).shape == images.shape


def test_maxout_layers_are_the_largest_of_four() -> None:
    x = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    layer, largest, *rest = mlp(5, [4, 3], 2, activation="maxout")
    pieces = [x @ w.T + b for w, b in zip(layer.weight.chunk(4), layer.bias.chunk(4), strict=True)]
    torch.testing.assert_close(largest(layer(x)), torch.stack(pieces).max(0).values)
    assert nn.Sequential(layer, largest, *rest)(x).shape == (6, 2)
    images = torch.randn(2, 3, 8, 9, generator=torch.Generator().manual_seed(1))
    trunk = conv((3, 8, 9), [4, 5], activation="maxout")
    maps = torch.stack(trunk[0](images).chunk(4, dim=1))
    torch.testing.assert_close(trunk[1](trunk[0](images)), maps.max(0).values)
    assert trunk(images).shape == (2, conv_features((3, 8, 9), [4, 5]))
    assert transposed_conv(7, (3, 8, 9), [4, 5], activation="maxout")(torch.zeros(2, 7)).shape == images.shape


def test_a_decoders_trunk_ends_without_activation() -> None:
    trunk = transposed_conv(2, (1, 4, 4), [3, 2])
    assert isinstance(trunk[-1], nn.ConvTranspose2d)
    assert (trunk(torch.randn(50, 2, generator=torch.Generator().manual_seed(0))) < 0).any()


def test_reshape() -> None:
    assert torch.equal(Reshape((2, 3))(torch.arange(12).view(2, 6)), torch.arange(12).view(2, 2, 3))


def test_what_is_no_image_is_refused() -> None:
    assert image_shape((3, 17, 9)) == (3, 17, 9)
    message = r"a convolution needs images of shape \(channels, height, width\), found \(12,\); use mlp"
    with pytest.raises(ValueError, match=message):
        image_shape((12,))


def test_layers_without_units_are_refused() -> None:
    with pytest.raises(OptionError, match=r"^hidden: expected 1 or more for each layer, found \[4, 0\]$"):
        mlp(5, [4, 0])
    message = r"^channels: expected 1 or more for each layer, and a layer at least, found "
    with pytest.raises(OptionError, match=message + r"\[\]$"):
        conv((1, 8, 8), [])
    with pytest.raises(OptionError, match=message + r"\[-1\]$"):
        transposed_conv(2, (1, 8, 8), [-1])


@pytest.mark.parametrize("gain", [0.01, 1.0, 2**0.5])
def test_orthogonal_weights_have_the_gain_as_their_singular_values(gain: float) -> None:
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(7, 5), nn.Linear(2, 6, bias=False), nn.LayerNorm(3))
    initialize_orthogonally(layers, gain=gain)
    for layer in list(layers)[:3]:
        values = torch.linalg.svdvals(layer.weight.flatten(1))
        torch.testing.assert_close(values, torch.full_like(values, gain), rtol=1e-5, atol=0)  # float32
        assert layer.bias is None or not layer.bias.any()
    assert torch.equal(layers[3].weight, torch.ones(3))  # which is no matrix


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("hidden", [[], [5], [64, 64]], ids=str)
def test_a_function_of_arrays_computes_what_the_layers_do(activation: Activation, hidden: list[int]) -> None:
    torch.manual_seed(0)
    network, x = mlp(4, hidden, 3, activation=activation), torch.randn(8, 4)
    function, given = array_function(network), x.clone()
    assert function is not None
    found = function(x.numpy())
    with torch.no_grad():
        expected = network.double()(x.double())
    # Some 64 products a unit, each rounded to 2⁻²⁴ of values of about 1.
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5, atol=1e-6)
    assert torch.equal(x, given)


def test_a_function_of_arrays_follows_the_optimiser() -> None:
    layer = nn.Linear(2, 1)
    function = array_function([layer])
    assert function is not None
    with torch.no_grad():
        layer.weight.fill_(3.0)
        layer.bias.fill_(0.5)
    assert function(np.ones((1, 2), dtype=np.float32)).tolist() == [[6.5]]


def test_only_what_is_known_becomes_a_function_of_arrays() -> None:
    hooked = nn.Linear(2, 2)
    hooked.register_forward_pre_hook(lambda *_: None)
    parametrised = nn.utils.parametrizations.orthogonal(nn.Linear(2, 2))
    others: list[list[nn.Module]] = [
        [],
        [nn.Tanh()],
        [nn.Linear(2, 2), nn.GELU()],
        [nn.Linear(2, 2).double()],
        [nn.Linear(2, 2, device="meta")],
        [hooked],
        [parametrised],
    ]
    for layers in others:
        assert array_function(layers) is None, layers
