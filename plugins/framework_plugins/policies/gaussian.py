"""The policy over continuous actions."""

from __future__ import annotations

import math
from typing import Literal

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box
from torch import Tensor, nn
from torch.distributions import Distribution

from framework import DiagonalGaussian, OptionError, Policy, SquashedGaussian, Trunk, register_policy
from framework_plugins.policies.head import Head
from framework_plugins.policies.refusals import wrong_action_space

# Of log σ: small enough to be sure of an action, without a density beyond all bounds, and not so large that tanh is ±1
# nearly always. The bounds of soft actor-critic's published code, https://github.com/haarnoja/sac.
LEAST, LARGEST = -20.0, 2.0

SigmaName = Literal["constant", "dependent"]


@register_policy("gaussian")
class GaussianPolicy(Policy):
    """N(μ(s), diag σ²), or with `squash` that brought into the action space's box by tanh.

    Without `squash` actions are any numbers. Those outside the action space's box are clipped to it on their way to the
    environment; the density is of what was drawn, and the environment's part in it is the clipping.

    Args:
        observation_space: what is observed.
        action_space: a floating-point Box, with `squash` bounded on every side.
        trunk: the layers below; without, the mean is linear in the observation.
        sigma: `constant`, log σ is one parameter for each number of the action; `dependent`, a second half of the last
            layer's outputs.
        log_sigma: log σ at first, in [−20, 2], where it is kept.
        squash: whether actions are brought into the box.
        head_scale: the gain of the last layer's orthogonal initialisation; with a small one μ is nearly 0 at first.

    Raises:
        OptionError: another action space, an observation without features, a number out of range.

    Example:
        >>> box = Box(-2.0, 2.0, (1,))
        >>> policy = GaussianPolicy(observation_space=Box(-1.0, 1.0, (3,)), action_space=box, squash=True)
        >>> policy(torch.zeros(5, 3)).sample().shape
        torch.Size([5, 1])
    """

    low: Tensor
    high: Tensor

    def __init__(
        self,
        *,
        observation_space: gymnasium.Space[object],
        action_space: gymnasium.Space[object],
        trunk: Trunk | None = None,
        sigma: SigmaName = "constant",
        log_sigma: float = 0.0,
        squash: bool = False,
        head_scale: float = 0.01,
    ) -> None:
        super().__init__()
        box = _checked(action_space, squash)
        if not LEAST <= log_sigma <= LARGEST:
            raise OptionError("log_sigma", found=log_sigma, expected=f"a number in [{LEAST:g}, {LARGEST:g}]")
        self.shape: tuple[int, ...] = tuple(box.shape)
        self.sigma, self.squash = sigma, squash
        count = math.prod(self.shape)
        outputs = 2 * count if sigma == "dependent" else count
        self.head = Head(observation_space=observation_space, trunk=trunk, outputs=outputs, scale=head_scale)
        if sigma == "constant":
            self.log_sigma = nn.Parameter(torch.full(self.shape, log_sigma))
        else:
            nn.init.constant_(self.head.linear.bias[count:], log_sigma)
        if squash:
            for name, corner in (("low", box.low), ("high", box.high)):
                self.register_buffer(name, torch.as_tensor(corner, dtype=torch.get_default_dtype()), persistent=False)

    def forward(self, observation: Tensor) -> Distribution:
        outputs = self.head(observation)
        if self.sigma == "dependent":
            mean, raw = (half.unflatten(-1, self.shape) for half in outputs.chunk(2, dim=-1))
        else:
            mean, raw = outputs.unflatten(-1, self.shape), self.log_sigma
        base = DiagonalGaussian(mean, raw.clamp(LEAST, LARGEST), len(self.shape))
        return SquashedGaussian(base, self.low, self.high) if self.squash else base


def _checked(space: gymnasium.Space[object], squash: bool) -> Box:
    if not isinstance(space, Box):
        raise wrong_action_space(space, "a Box space")
    if not np.issubdtype(space.dtype, np.floating) or not space.shape:
        raise OptionError("action_space", found=space, expected="a floating-point Box space of one dimension or more")
    below, above = np.isfinite(space.low), np.isfinite(space.high)
    if squash and not (below & above & (space.low < space.high)).all():
        expected = f"the action space to have bounds, the upper above the lower; it is {space}"
        raise OptionError("squash", found="true", expected=expected, write="false")
    return space
