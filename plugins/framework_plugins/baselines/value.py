"""The baseline that is learned from the observation: a value function."""

from __future__ import annotations

from typing import Any

import gymnasium
import torch
from gymnasium.spaces import Discrete
from torch import Tensor, nn

from framework import Features, FittedBaseline, OptionError, Samples, Trunk, register_baseline
from framework_plugins.baselines.replicas import check_replicas, check_runs


@register_baseline("value")
class Value(FittedBaseline):
    """b = V(s), fitted to the returns by least squares: ½·(V(s) − G)².

    V is linear in the features of the trunk, or in the observation's own numbers without one; of discrete observations
    without a trunk it is a table. It estimates the expected return from s on, so it may stand for the time after
    a rollout is cut. Its gradient is that of least squares, but the returns are often estimates with V in them.

    With a clip the loss is PPO's, which keeps V near V_old, its value when the samples were drawn:

        ½·max( (V − G)²,  (V_old + clip(V − V_old, −c, c) − G)² )

    Args:
        observation_space: of the observations, or of a shared trunk's features.
        replicas: N, runs side by side; with more than one, a table for each, and the samples' K dimension is the run.
        trunk: the layers below V; None (null) for none, or where the learner has a shared one.
        clip: c, positive, in the reward's unit; None (null) clips nothing.
        initial: V where nothing was learned: of a table its entries, otherwise the bias; in the reward's unit.
        scale: what a network's output is multiplied by, positive: about the size of the returns, which a last layer
            that begins near 0 would take long to grow to. A table has none.

    Raises:
        OptionError: the clip is not positive; more than one run, and no table; with a clip, samples without `values`.

    Example:
        >>> baseline = Value(observation_space=Discrete(3), initial=-1.0)
        >>> baseline(Samples(torch.tensor([[0, 2]]), returns=torch.zeros(1, 2)))
        tensor([[-1., -1.]], grad_fn=<IndexBackward0>)

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, section 13.4,
        http://incompleteideas.net/book/the-book-2nd.html; Engstrom et al., "Implementation Matters in Deep Policy
        Gradients", 2020, section 3 (value clipping, orthogonal initialisation), https://arxiv.org/abs/2005.12729.
    """

    bootstraps = True

    def __init__(
        self,
        *,
        observation_space: gymnasium.Space[Any],
        replicas: int = 1,
        trunk: Trunk | None = None,
        clip: float | None = None,
        initial: float = 0.0,
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_replicas(replicas)
        if not scale > 0:
            raise OptionError("scale", found=scale, expected="a positive number")
        if clip is not None and not clip > 0:
            raise OptionError("clip", found=clip, expected="a positive number, or null")
        self.clip, self.replicas = clip, replicas
        if trunk is None and isinstance(observation_space, Discrete):
            self.network: nn.Module = _Table(observation_space, replicas, initial)
        elif replicas > 1:
            raise OptionError(
                "replicas",
                found=f"{replicas} with {'a trunk' if trunk is not None else observation_space}",
                expected="1, or a table: discrete observations and no trunk",
            )
        else:
            self.network = _Network(trunk if trunk is not None else Features(observation_space), initial, scale)

    def forward(self, samples: Samples) -> Tensor:
        check_runs(samples, self.replicas)
        values: Tensor = self.network(samples.observation)
        return values

    def loss(self, samples: Samples) -> Tensor:
        value: Tensor = self(samples)  # [K, B]
        error = (value - samples.returns).square()
        if self.clip is not None:
            if samples.values is None:
                raise OptionError(
                    "clip",
                    found="samples without the values from when they were drawn",
                    expected="values to keep near",
                    write="clip: null",
                )
            near = samples.values + (value - samples.values).clamp(-self.clip, self.clip)
            error = torch.maximum(error, (near - samples.returns).square())
        return 0.5 * error


class _Table(nn.Module):
    """A number for each observation of each run, [K, B] int64 → [K, B]; with one run, K is any number."""

    def __init__(self, space: Discrete[Any], replicas: int, initial: float) -> None:
        super().__init__()
        self.first = int(space.start)
        self.values = nn.Parameter(torch.full((replicas, int(space.n)), float(initial)))  # [N, S]

    def forward(self, observation: Tensor) -> Tensor:
        run = torch.arange(len(self.values), device=observation.device)[:, None]  # [N, 1]
        values: Tensor = self.values[run, observation - self.first]
        return values


class _Network(nn.Module):
    """A linear layer on features, [*batch, *shape] → [*batch]."""

    def __init__(self, body: Trunk | Features, initial: float, scale: float) -> None:
        super().__init__()
        self.body, self.scale = body, scale
        self.head = nn.Linear(body.features, 1)
        nn.init.orthogonal_(self.head.weight, gain=1.0)
        nn.init.constant_(self.head.bias, initial / scale)

    def forward(self, observation: Tensor) -> Tensor:
        features = self.body(observation).to(self.head.weight.dtype)  # [*batch, F]; of integers they are float32
        values: Tensor = self.head(features).squeeze(-1)
        return self.scale * values
