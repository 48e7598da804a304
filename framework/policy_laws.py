"""The laws of policies and of trunks. Legend: A actions, F features."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from torch import Tensor, nn
from torch.distributions import Distribution

from framework.action_values import ActionValues
from framework.laws import (
    BATCH,
    KEY,
    check_dtype,
    check_finite,
    check_shape,
    check_shapes,
    check_state,
    check_untouched,
    copy_of,
    fixed_randomness,
    is_close,
    reaches,
    require,
)
from framework.policy import Policy
from framework.trunk import Trunk

ROWS = (2, BATCH // 2)  # the batch in two dimensions
Observation = Tensor | ActionValues
Change = Callable[[Tensor], Tensor]


def check_policy(policy: Policy, observation_space: gymnasium.Space[Any], action_space: gymnasium.Space[Any]) -> None:
    """Check a policy; one that `explores_values` by values of the actions, ties and actions never taken among them.

    The laws: π(a|s) has the batch's shape, of one dimension or more, and the action's as its event; its samples and its
    mode are actions of the space, and samples have a finite log-density; they are drawn by torch's default generator
    alone; where there is an entropy, it is one finite number for each observation; the log-density has a gradient to
    the parameters; π(·|s) does not depend on the other observations in the batch (in evaluation mode); inputs are left
    as they were; float64 in is float64 out, float32 is float32; `state_dict` can be loaded back.

    Args:
        policy: the part, in float32, of one replica.
        observation_space: what it was built for; a policy that `explores_values` has no use for it.
        action_space: what it acts in: Discrete, MultiDiscrete, MultiBinary or Box.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.
    """
    fresh = copy_of(policy)
    with fixed_randomness():
        observation = _action_values(action_space) if policy.explores_values else _observations(observation_space)
        event = tuple(action_space.shape or ())
        before = _changed(observation, torch.clone)
        pi: Distribution = policy(observation)
        check_shapes(policy, pi, (BATCH,), event)
        action = _check_actions(policy, pi, action_space)
        check_untouched(policy, _tensors(before), _tensors(observation))
        _check_entropy(policy, pi)
        _check_gradient(policy, lambda: policy(observation).log_prob(action))
        _check_rows(copy_of(fresh).eval(), observation, action)
        for dtype in (torch.float64, torch.float32):
            typed = copy_of(fresh).to(dtype)(_cast(observation, dtype))
            drawn = typed.sample()
            check_dtype(policy, dtype, typed.log_prob(drawn).dtype)
            if action.is_floating_point():
                check_dtype(policy, dtype, drawn.dtype, typed.mode.dtype)
        check_state(policy, fresh, lambda part: part(observation).log_prob(action))


def check_trunk(trunk: Trunk, observation_space: gymnasium.Space[Any]) -> None:
    """Check a trunk.

    The laws: observations of one batch dimension or more become `features` numbers each, which are finite; they have a
    gradient to the parameters; those of an observation do not depend on the others in the batch (in evaluation mode);
    inputs are left as they were; float64 in is float64 out, float32 is float32; `state_dict` can be loaded back.

    Args:
        trunk: the part, in float32.
        observation_space: what it was built for.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.
    """
    fresh = copy_of(trunk)
    with fixed_randomness():
        observation = _observations(observation_space)
        before = observation.clone()
        features = trunk(observation)
        check_untouched(trunk, [before], [observation])
        action = "flatten what follows the batch, and count it in `features`"
        check_shape(trunk, features, (BATCH, trunk.features), "features of each observation", action)
        check_finite(trunk, features)
        _check_gradient(trunk, lambda: trunk(observation))
        still = copy_of(fresh).eval()
        _check_same(still, [still(observation), *_in_rows(lambda rows: still(rows), observation)])
        for dtype in (torch.float64, torch.float32):
            check_dtype(trunk, dtype, copy_of(fresh).to(dtype)(_cast(observation, dtype)).dtype)
        check_state(trunk, fresh, lambda part: part(observation))


def _observations(space: gymnasium.Space[Any]) -> Tensor:
    """Observations [B, *shape] of a space, which is left as it was."""
    drawn = copy.deepcopy(space)
    drawn.seed(KEY)
    return torch.from_numpy(np.stack([np.asarray(drawn.sample()) for _ in range(BATCH)]))


def _action_values(space: gymnasium.Space[Any]) -> ActionValues:
    action = "say explores_values = False, or try it with a Discrete space"
    require(isinstance(space, Discrete), space, "values are explored of discrete actions", action)
    count = int(space.n)  # type: ignore[attr-defined]
    return ActionValues(torch.randn(BATCH, count).round(), torch.randint(3, (BATCH, count)))


def _check_actions(policy: Policy, pi: Distribution, space: gymnasium.Space[Any]) -> Tensor:
    """Check samples and the mode, and return a sample."""
    torch.default_generator.manual_seed(KEY)
    action = pi.sample()
    torch.default_generator.manual_seed(KEY)
    again = pi.sample()
    require(torch.equal(action, again), policy, "samples are a function of torch's generator", "draw by no other")
    for name, given in (("samples", action), ("the mode", pi.mode)):
        expected = torch.int64 if isinstance(space, Discrete | MultiDiscrete) else torch.float32
        require(
            given.dtype == expected and all(_contains(space, one) for one in given),
            policy,
            f"{name}, of {expected}, are actions of {space}, found {given.dtype} {given.tolist()}",
            "build the distribution from the action space",
        )
    check_shape(policy, pi.log_prob(action), (BATCH,), "one log-density an observation", "sum over the action")
    check_finite(policy, pi.log_prob(action))
    return action


def _contains(space: gymnasium.Space[Any], action: Tensor) -> bool:
    given = action.detach().numpy()
    if isinstance(space, Box | MultiBinary):  # a space refuses numbers of a type that is not its own
        typed = given.astype(space.dtype)
        return space.contains(typed) and bool(np.allclose(typed, given))
    return space.contains(given[()])


def _check_entropy(policy: Policy, pi: Distribution) -> None:
    try:
        entropy = pi.entropy()
    except NotImplementedError:  # torch's word for "no closed form"
        return
    check_shape(policy, entropy, (BATCH,), "one entropy an observation", "sum over the action")
    check_finite(policy, entropy)


def _check_gradient(part: nn.Module, output: Callable[[], Tensor]) -> None:
    learned = [parameter for parameter in part.parameters() if parameter.requires_grad]
    value = output()
    # Weights, because a plain sum over balanced actions may have no gradient.
    require(
        not learned or reaches((value * torch.randn_like(value)).sum(), learned),
        part,
        "the output has a finite gradient that is not zero to the parameters",
        "compute it with differentiable operations, without detach or item",
    )


def _check_rows(policy: Policy, observation: Observation, action: Tensor) -> None:
    """Check each observation's π by itself, and with the batch in two dimensions."""
    half = BATCH // 2
    parts = [
        policy(_changed(observation, lambda tensor, rows=rows: tensor[rows])).log_prob(action[rows])  # type: ignore[misc]
        for rows in (slice(half), slice(half, None))
    ]
    several: Distribution = policy(_changed(observation, lambda tensor: tensor.unflatten(0, ROWS)))
    check_shapes(policy, several, ROWS, tuple(action.shape[1:]))
    check_shape(policy, several.sample(), (*ROWS, *action.shape[1:]), "an action for each observation", "as above")
    whole = policy(observation).log_prob(action)
    _check_same(policy, [whole, torch.cat(parts), several.log_prob(action.unflatten(0, ROWS)).flatten(0, 1)])


def _in_rows(output: Callable[[Tensor], Tensor], observation: Tensor) -> list[Tensor]:
    half = BATCH // 2
    parts = [output(observation[:half]), output(observation[half:])]
    return [torch.cat(parts), output(observation.unflatten(0, ROWS)).flatten(0, 1)]


def _check_same(part: nn.Module, values: list[Tensor]) -> None:
    require(
        all(is_close(values[0], other) for other in values[1:]),
        part,
        "what an observation is mapped to does not depend on the others in the batch, nor on the batch's dimensions",
        "normalise by layer or group and not by batch, and count dimensions from the last",
    )


def _cast(observation: Observation, dtype: torch.dtype) -> Any:
    return _changed(observation, lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)


def _tensors(observation: Observation) -> list[Tensor]:
    return [observation] if isinstance(observation, Tensor) else [observation.values, observation.counts]


def _changed(observation: Observation, change: Change) -> Any:
    if isinstance(observation, Tensor):
        return change(observation)
    return ActionValues(change(observation.values), change(observation.counts))
