"""Distributions of binary vectors that take one element after the other: each depends on all before it.

Legend: P elements (pixels, in their order in memory), D latents, H units of a layer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from framework.distributions import SampleShape
from framework.errors import OptionError
from framework.networks import Activation, activation_layer, units_before
from framework.precision import at_least_single

_KEY = 2015  # of the numbers behind `mean`


class MaskedLayer(nn.Module):
    """(M ⊙ W) h + V z + b: a linear layer with connections left out, and another one from the condition z.

    Args:
        mask: M, [outputs, inputs], ones and zeros.
        condition: D, the width of z.
    """

    def __init__(self, mask: Tensor, condition: int) -> None:
        super().__init__()
        self.mask: Tensor
        self.register_buffer("mask", mask, persistent=False)
        outputs, inputs = mask.shape
        self.inner = nn.Linear(inputs, outputs, bias=False)
        self.condition = nn.Linear(condition, outputs)

    @property
    def weight(self) -> Tensor:
        return self.mask * self.inner.weight

    def added(self, z: Tensor) -> Tensor:
        """Return V z + b, [*batch, outputs], for z [*batch, D]."""
        return at_least_single(self.condition(z))


class MaskedNetwork(nn.Module):
    """A multilayer perceptron of x and z whose i-th output depends on x_1 … x_{i−1} and z alone.

    Each unit has a degree, the number of leading elements that it may see: i for the i-th input, evenly from 0 to P − 1
    over a hidden layer's units. A hidden unit is connected to what has its degree or a lower one, the i-th output to
    what has a lower one than i: units of the last hidden layer, and inputs, by direct connections. z comes in at every
    layer.

    Args:
        elements: P.
        condition: D.
        hidden: units of each hidden layer; without any there are direct connections alone, and each output is linear
            in the elements before.
        activation: the non-linearity after each hidden layer.

    Raises:
        OptionError: a hidden layer has no unit.

    Reference: Germain, Gregor, Murray & Larochelle, "MADE: Masked Autoencoder for Distribution Estimation", 2015,
        section 4, with the direct connections, https://arxiv.org/abs/1502.03509; degrees are spread evenly, not drawn.
    """

    def __init__(
        self, *, elements: int, condition: int, hidden: Sequence[int], activation: Activation = "relu"
    ) -> None:
        super().__init__()
        if any(units < 1 for units in hidden):
            raise OptionError("hidden", found=list(hidden), expected="1 or more for each layer")
        inputs = torch.arange(1, elements + 1)
        degrees = [inputs, *(torch.linspace(0, elements - 1, units).round() for units in hidden)]
        widening = units_before(activation, 1)
        masks = [after.repeat(widening)[:, None] >= before for before, after in itertools.pairwise(degrees)]
        masks.append(inputs[:, None] > (torch.cat([degrees[-1], inputs]) if hidden else inputs))
        layers = [MaskedLayer(mask.to(torch.get_default_dtype()), condition) for mask in masks]
        self.layers: Sequence[MaskedLayer] = nn.ModuleList(layers)  # type: ignore[assignment]
        self.activation = activation_layer(activation, -1)

    def conditions(self, z: Tensor) -> list[Tensor]:
        """Return what z adds to each layer, [*batch, H] each, for z [*batch, D]."""
        return [layer.added(z) for layer in self.layers]

    def logits(self, x: Tensor, conditions: Sequence[Tensor]) -> Tensor:
        """Return log p_i/(1 − p_i) of p_i = p(x_i = 1 | x_1 … x_{i−1}, z) for all i at once.

        Args:
            x: [*batch, P], zeros and ones.
            conditions: of z, batch shapes that broadcast with x's.

        Returns:
            [*batch, P].
        """
        h = x
        *hidden, output = zip(self.layers, conditions, strict=True)
        for layer, condition in hidden:
            h = self.activation(F.linear(h, layer.weight) + condition)
        layer, condition = output
        from_hidden, direct = layer.weight.split([layer.weight.shape[1] - x.shape[-1], x.shape[-1]], 1)
        found = F.linear(x, direct) + condition
        return found + F.linear(h, from_hidden) if hidden else found

    @torch.no_grad()
    def ancestral(self, uniform: Tensor, conditions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return a sample, element after element, and each element's probability given those before.

        The first layer's sums are kept and grow by an element at a time, and only one output is computed: with one
        hidden layer the whole vector costs what one pass of `logits` does.

        Args:
            uniform: [*batch, P], in [0, 1): x_i = 1 where it is below p_i.
            conditions: of z, batch shapes that broadcast with this one.

        Returns:
            x and p, [*batch, P] each.
        """
        weights = [layer.weight for layer in self.layers]
        shape = torch.broadcast_shapes(uniform.shape[:-1], conditions[0].shape[:-1])
        sums = conditions[0].expand(*shape, -1).clone()  # [*batch, H]
        columns = weights[0].T.contiguous()  # [P, H]
        x = torch.empty(*shape, len(columns), dtype=sums.dtype, device=sums.device)
        probability = torch.empty_like(x)
        for element in range(len(columns)):
            logit = self._logit(x[..., :element], sums, weights, conditions)
            probability[..., element] = torch.sigmoid(logit)
            x[..., element] = (uniform[..., element] < probability[..., element]).to(x.dtype)
            sums += x[..., element, None] * columns[element]
        return x, probability

    def _logit(self, before: Tensor, sums: Tensor, weights: Sequence[Tensor], conditions: Sequence[Tensor]) -> Tensor:
        """Return the logit of element i, [*batch], from x_1 … x_{i−1}, [*batch, i − 1], and the first layer's sums."""
        element = before.shape[-1]
        if len(weights) == 1:
            return sums[..., element]
        h = sums
        for weight, condition in zip(weights[1:-1], conditions[1:-1], strict=True):
            h = F.linear(self.activation(h), weight) + condition
        seen = torch.cat([self.activation(h), before], -1)
        return seen @ weights[-1][element, : seen.shape[-1]] + conditions[-1][..., element]


class AutoregressiveBernoulli(Distribution):
    """p(x|z) = Π_i p(x_i | x_1 … x_{i−1}, z) of bits x_i, in the order in which they lie in memory.

    The density of given bits takes one pass of the network, which sees them all; a sample takes one after the other.

    Args:
        network: of as many elements as the event has.
        z: the condition, [*batch, D].
        event_shape: the shape of x.

    Example:
        >>> network = MaskedNetwork(elements=6, condition=2, hidden=[8])
        >>> p = AutoregressiveBernoulli(network, torch.zeros(5, 2), (2, 3))
        >>> p.log_prob(p.sample()).shape
        torch.Size([5])
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, network: MaskedNetwork, z: Tensor, event_shape: tuple[int, ...]) -> None:
        self.network, self.conditions = network, network.conditions(z)
        super().__init__(z.shape[:-1], torch.Size(event_shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.boolean, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        """An estimate of E[x|z] from one ancestral sample x': p(x_i = 1 | x'_1 … x'_{i−1}, z), [*batch, *event].

        It is without bias over draws of x', which has one set of random numbers for all z and always the same one: it
        changes with z alone, and leaves the generators as they are. It looks as x does, not as the average of all x.
        There is no gradient.
        """
        generator = torch.Generator().manual_seed(_KEY)
        like = self.conditions[0]
        uniform = torch.rand(self.event_shape.numel(), generator=generator).to(like.device, like.dtype)
        _, probability = self.network.ancestral(uniform, self.conditions)
        return probability.view(*self.batch_shape, *self.event_shape)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        like = self.conditions[0]
        uniform = torch.rand(shape, dtype=like.dtype, device=like.device).flatten(-len(self.event_shape))
        return self.network.ancestral(uniform, self.conditions)[0].view(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        x = value.flatten(-len(self.event_shape))  # [*batch, P]
        logits, x = torch.broadcast_tensors(self.network.logits(x, self.conditions), x)
        return F.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1).neg()
