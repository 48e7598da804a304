"""The uniform distribution on a box, and why nothing with a density everywhere has a KL divergence to it."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints, register_kl

from framework.distributions import InfiniteDivergence, NoClosedForm, SampleShape
from framework.supports import support_of_a_value


class UniformBox(Distribution):
    """U(−a, a)^D.

    Args:
        dimension: D.
        bound: a > 0.
        like: a tensor whose type and device the samples take.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    has_rsample = True

    def __init__(self, dimension: int, bound: float, like: Tensor) -> None:
        self.bound, self.like = bound, like
        super().__init__(torch.Size(), torch.Size((dimension,)), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.interval(-self.bound, self.bound), 1)

    @property
    def mean(self) -> Tensor:
        return self.like.new_zeros(self.event_shape)

    @property
    def variance(self) -> Tensor:
        return self.like.new_full(self.event_shape, self.bound**2 / 3)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        shape = self._extended_shape(torch.Size(sample_shape))
        unit = torch.rand(shape, dtype=self.like.dtype, device=self.like.device)
        return self.bound * (2 * unit - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        # 0 · z, so that there is a gradient to z, of zero
        density = 0 * value - math.log(2 * self.bound)
        return density.masked_fill(value.abs() > self.bound, -torch.inf).sum(-1)

    def entropy(self) -> Tensor:
        return self.like.new_tensor(self.event_shape[0] * math.log(2 * self.bound))


@register_kl(Distribution, UniformBox)
def _anything_uniform(q: Distribution, p: UniformBox) -> Tensor:
    if support_of_a_value(q) is constraints.real:
        # By Monte Carlo it would be finite as long as no sample falls outside, and then infinite.
        box = f"[−{p.bound:g}, {p.bound:g}]"
        raise InfiniteDivergence(
            f"KL is infinite: q has mass outside the prior's {box}; take mmd, or prior standard_normal"
        )
    raise NoClosedForm
