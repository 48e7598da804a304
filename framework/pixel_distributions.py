"""Distributions of pixels of 256 levels: probabilities of integers, by which bits per dimension are counted.

A pixel is x = k/255 in [0, 1], k = 0 … 255, as images of bytes are when they are scaled; what lies between two levels
is taken for the nearer one. Log-probabilities are in nats, summed over the event: of P values, −log p/(P log 2) is in
bits per dimension. A density of the same data, such as a Gaussian's, is no probability and not to be compared with it.

Legend: L = 256 levels.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Distribution, constraints

from framework.distributions import SampleShape

LEVELS = 256


def level_of(x: Tensor) -> Tensor:
    """Return k, int64, for x = k/255."""
    return (x * (LEVELS - 1)).round().clamp(0, LEVELS - 1).long()


class CategoricalPixels(Distribution):
    """Any distribution over the levels of each value, by 256 logits each; independent over values.

    Args:
        logits: [*batch, L, *event].
        event_dimensions: how many of the last dimensions make up one event.

    Reference: van den Oord, Kalchbrenner & Kavukcuoglu, "Pixel Recurrent Neural Networks", 2016, section 3.4,
        https://arxiv.org/abs/1601.06759.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, logits: Tensor, event_dimensions: int) -> None:
        split = logits.dim() - event_dimensions - 1
        self.logits, self._dimension = logits, -event_dimensions - 1
        super().__init__(logits.shape[:split], logits.shape[split + 1 :], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.unit_interval, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        levels = torch.linspace(0, 1, LEVELS, dtype=self.logits.dtype, device=self.logits.device)
        probabilities = self.logits.softmax(self._dimension).movedim(self._dimension, -1)
        return probabilities @ levels

    @property
    def mode(self) -> Tensor:
        return self.logits.argmax(self._dimension).to(self.logits.dtype) / (LEVELS - 1)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            cumulative = self.logits.softmax(self._dimension).cumsum(self._dimension)
            uniform = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
            # The level is how many sums lie below the number drawn; rounding may leave the last sum below it, too.
            level = (cumulative < uniform.unsqueeze(self._dimension)).sum(self._dimension).clamp(max=LEVELS - 1)
            return level.to(self.logits.dtype) / (LEVELS - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(value.shape, (*self.batch_shape, *self.event_shape))
        level = level_of(value).expand(shape).unsqueeze(self._dimension)
        split = len(shape) - len(self.event_shape)
        logits = self.logits.expand(*shape[:split], LEVELS, *shape[split:])
        chosen = logits.gather(self._dimension, level).squeeze(self._dimension)
        density = chosen - self.logits.logsumexp(self._dimension)
        return density.flatten(-len(self.event_shape)).sum(-1)


class DiscretizedLogistic(Distribution):
    """A logistic distribution of mean μ and scale s, rounded to the nearest level; independent over values.

        P(k) = σ((x + h − μ)/s) − σ((x − h − μ)/s),   x = k/255, h = 1/510

    with all mass below 0 given to level 0 and all above 1 to level 255: the second term is 0 at k = 0, the first 1 at
    k = 255, and the levels sum to 1. With a = (x + h − μ)/s and b = (x − h − μ)/s the difference is
    σ(a) σ(−b) (1 − exp(−2h/s)), whose logarithm is exact however far the tail is out.

    Args:
        mean: μ, [*batch, *event], in the unit of x.
        log_scale: log s, of the mean's shape.
        event_dimensions: how many of the last dimensions make up one event.

    Reference: Kingma et al., "Improving Variational Inference with Inverse Autoregressive Flow", 2016, appendix,
        https://arxiv.org/abs/1606.04934; Salimans et al., "PixelCNN++", 2017, equation 2, for the ends,
        https://arxiv.org/abs/1701.05517.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, mean: Tensor, log_scale: Tensor, event_dimensions: int) -> None:
        self.location, self.log_scale = mean, log_scale
        split = mean.dim() - event_dimensions
        super().__init__(mean.shape[:split], mean.shape[split:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.unit_interval, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        """E x, of the rounded distribution: [*batch, *event]. It is not μ, because the ends take what is outside."""
        # E k = Σ_k P(K > k), k = 0 … 254; one level at a time, because all at once would be as large as 255 images
        inverse, centre = (-self.log_scale).exp() / (LEVELS - 1), self.location * (LEVELS - 1)
        total = torch.zeros_like(centre)
        for k in range(LEVELS - 1):
            total = total + torch.sigmoid((centre - (k + 0.5)) * inverse)
        return total / (LEVELS - 1)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            like = self.location
            uniform = torch.rand(shape, dtype=like.dtype, device=like.device)
            tiny = torch.finfo(like.dtype).tiny
            logistic = uniform.clamp_min(tiny).log() - (-uniform).log1p().clamp_min(math.log(tiny))
            return level_of(like + self.log_scale.exp() * logistic).to(like.dtype) / (LEVELS - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        level = level_of(value)
        # In levels, so that the upper end of one is to the bit the lower end of the next, and nothing is lost between.
        k, centre = level.to(self.location.dtype), self.location * (LEVELS - 1)
        inverse = (-self.log_scale).exp() / (LEVELS - 1)
        lowest, highest = level == 0, level == LEVELS - 1
        below = F.logsigmoid((k + 0.5 - centre) * inverse).masked_fill(highest, 0)
        above = F.logsigmoid((centre - (k - 0.5)) * inverse).masked_fill(lowest, 0)
        width = (-torch.expm1(-inverse)).log().expand_as(below).masked_fill(lowest | highest, 0)
        return (below + above + width).flatten(-len(self.event_shape)).sum(-1)
