"""What an agent's parts return while it is tried out: a part that breaks its contract is named, before a traceback."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

import torch
from gymnasium.spaces import Discrete, MultiBinary, MultiDiscrete, Space
from torch import Tensor, nn
from torch.distributions import Distribution

from framework.agent import Agent
from framework.baseline import Baseline, FittedBaseline, Samples
from framework.errors import PluginError
from framework.laws import fixed_randomness
from framework.policy import Policy
from framework.tape import Act
from framework.update import Decisions, Update

_DRAWS = 64  # actions, some of which would be the third of three, however unlikely a new policy makes it


@contextmanager
def watched_parts(agent: Agent) -> Iterator[None]:
    """Check what an agent's policy, baseline and update return, as long as the context lasts.

    Raises:
        PluginError: a part's value is of the wrong type, of the wrong shape or not in the space of actions; the message
            says where the part is written, what was expected and found, and what to write.
    """
    space = agent.environment.action_space

    def policy_made(part: nn.Module, _: Any, found: Any) -> None:
        _check_policy(part, space, found)

    made: list[tuple[type[nn.Module], Callable[[nn.Module, Any, Any], None]]] = [
        (Policy, policy_made),
        (Baseline, lambda part, given, found: _check_baseline(part, part.forward, given[0], found)),
        (Update, lambda part, given, found: _check_update(part, given[0], found)),
    ]
    handles = [
        part.register_forward_hook(check) for part in agent.modules() for kind, check in made if isinstance(part, kind)
    ]
    fitted = [part for part in agent.modules() if isinstance(part, FittedBaseline)]
    for part in fitted:
        vars(part)["loss"] = _watched(part, part.loss)  # no module is called: hooks do not see it
    try:
        yield
    finally:
        for part in fitted:
            del vars(part)["loss"]
        for handle in handles:
            handle.remove()


def watched_act(agent: Agent, act: Act) -> Act:
    """Return the function with its actions checked: [N, *action shape], in the space.

    Raises:
        PluginError: when called; as of `watched_parts`.
    """
    space = agent.environment.action_space
    policies = [part for part in agent.modules() if isinstance(part, Policy)]
    part, method = (policies[0], policies[0].forward) if policies else (agent, agent.act)

    def watched(observation: Tensor, action_mask: Tensor | None) -> Tensor:
        action = act(observation, action_mask)
        expected = [len(observation), *(space.shape or ())]
        if list(action.shape) != expected:
            found = f"actions of shape {list(action.shape)}"
            wanted = f"actions of shape {expected} for {len(observation)} observations, in {space}"
            _broken(part, method, wanted, found, "a distribution that has one action for each observation")
        _check_inside(part, method, space, action)
        return action

    return watched


def _check_policy(part: nn.Module, space: Space[Any], found: Any) -> None:
    if not isinstance(found, Distribution):
        expected = "a torch.distributions.Distribution of actions"
        _broken(part, part.forward, expected, _kind(found), "return CategoricalLogits(logits), say")
    if isinstance(part, Policy) and part.explores_values:
        return  # what its rows are is the learner's own
    with fixed_randomness(), torch.no_grad():
        for _ in range(max(1, _DRAWS // max(1, found.batch_shape.numel()))):
            _check_inside(part, part.forward, space, found.sample())


def _check_inside(part: nn.Module, method: Callable[..., Any], space: Space[Any], action: Tensor) -> None:
    """Check actions of a space that has finitely many; those of a box are cut off at its bounds."""
    if isinstance(space, MultiBinary):
        outside = (action != 0) & (action != 1)
    elif isinstance(space, Discrete | MultiDiscrete):
        if action.is_floating_point():
            write = "return a distribution over choices, such as CategoricalLogits(logits)"
            _broken(part, method, f"integers from 0, of {space}", f"actions of {action.dtype}", write)
        sizes = torch.as_tensor(space.nvec if isinstance(space, MultiDiscrete) else int(space.n))
        if action.shape[action.dim() - sizes.dim() :] != sizes.shape:
            return  # `watched_act` says so
        outside = (action < 0) | (action >= sizes)
    else:
        return
    if outside.any():
        found = f"{action[outside][0].item():g} among them"
        _broken(part, method, f"actions in {space}", found, "as many preferences as there are actions")


def _watched(part: nn.Module, loss: Callable[[Samples], Tensor]) -> Callable[[Samples], Tensor]:
    def watched(samples: Samples) -> Tensor:
        found = loss(samples)
        _check_baseline(part, loss, samples, found)
        return found

    return watched


def _check_baseline(part: nn.Module, method: Callable[..., Any], samples: Samples, found: Any) -> None:
    expected = list(samples.returns.shape)
    if not isinstance(found, Tensor) or list(found.shape) != expected:
        write = "one number for each of the samples' returns: samples.returns.shape"
        _broken(part, method, f"a tensor [K, B], here {expected}", _kind(found), write)


def _check_update(part: nn.Module, decisions: Decisions, found: Any) -> None:
    write = "return loss, {}"
    if not isinstance(found, tuple) or len(found) != 2:
        _broken(part, part.forward, "a pair, the loss and its metrics", _kind(found), write)
    loss, metrics = found
    expected = list(decisions.log_prob.shape)
    if not isinstance(loss, Tensor) or list(loss.shape) != expected:
        write = "no mean and no sum: the learner averages over the decisions"
        _broken(part, part.forward, f"a loss for each decision, here {expected}", _kind(loss), write)
    if decisions.log_prob.requires_grad and not loss.requires_grad:
        write = "compute it from decisions.log_prob or decisions.policy, without detach"
        _broken(part, part.forward, "a loss with a gradient", "one that depends on no parameter", write)
    if not isinstance(metrics, Mapping):
        _broken(part, part.forward, "metrics by name, a dict", _kind(metrics), write)
    for name, value in metrics.items():
        if not isinstance(value, Tensor) or value.dim():
            write = f"decisions.mean({name}) for the mean over the decisions"
            _broken(part, part.forward, f"the metric {name!r} as a tensor []", _kind(value), write)


def _kind(found: object) -> str:
    return f"a tensor of shape {list(found.shape)}" if isinstance(found, Tensor) else f"a {type(found).__name__}"


def _broken(part: nn.Module, method: Callable[..., Any], expected: str, found: str, write: str) -> NoReturn:
    code = inspect.unwrap(getattr(method, "__func__", method)).__code__
    where = f"{code.co_filename}:{code.co_firstlineno}: {type(part).__name__}.{code.co_name}"
    raise PluginError(f"{where}: expected {expected}; found {found}; write {write}")
