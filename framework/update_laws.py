"""The laws of updates."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from framework.action_distributions import CategoricalLogits
from framework.laws import (
    check_dtype,
    check_finite,
    check_shape,
    check_state,
    check_untouched,
    copy_of,
    fixed_randomness,
    is_close,
    reaches,
    require,
)
from framework.update import Decisions, Update

_ROWS = (4, 3)  # steps, environments
_ACTIONS = 3
_FAR = 1e3  # from what advantages otherwise are: in any mean it would be seen


def check_update(update: Update) -> None:
    """Check an update.

    The laws: it returns a loss for each decision and metrics [], detached, all finite, for a rollout [T, N] with a mask
    and for rows [M] without one; what the mask leaves out changes neither the loss of other decisions nor the metrics;
    no mask is one that is True everywhere; the loss is a function of the decisions alone, and its gradient reaches the
    policy; inputs are left as they were; float64 in is float64 out, float32 is float32; `state_dict` can be loaded back
    after a rollout.

    Args:
        update: the part, in float32.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.

    Example:
        >>> from framework_plugins.updates.a2c import A2C
        >>> check_update(A2C())
    """
    fresh = copy_of(update)
    with fixed_randomness():
        numbers = 0.3 * torch.randn(2, *_ROWS, _ACTIONS)
        logits, acting = numbers[0].requires_grad_(), numbers[1]
        masked = _decisions(update, logits, acting)
        _check_untouched(update, masked)
        loss, metrics = _check_value(update, masked)
        require(
            reaches(loss[masked.mask].sum(), [logits]),
            update,
            "the loss has a finite gradient that is not zero to the policy",
            "compute it from decisions.log_prob or decisions.policy, without detach",
        )
        again = _check_value(update, masked)
        _check_same(update, masked, (loss, metrics), again, "the loss is a function of the decisions",
                    "draw no random numbers, and keep state in finish, not in forward")  # fmt: skip
        _check_same(update, masked, (loss, metrics), _check_value(update, _changed_where_masked(masked)),
                    "what the mask leaves out changes neither other losses nor metrics",
                    "use decisions.mean for means, and compare no decisions")  # fmt: skip
        rows = _decisions(update, logits.flatten(0, 1), acting.flatten(0, 1))
        everywhere = _check_value(update, replace(rows, mask=torch.ones_like(rows.advantage, dtype=torch.bool)))
        none = replace(rows, mask=None)
        _check_same(update, none, everywhere, _check_value(update, none),
                    "no mask is a mask that is True everywhere", "use decisions.mean for means")  # fmt: skip
        for dtype in (torch.float64, torch.float32):
            typed, _ = copy_of(fresh).to(dtype)(_decisions(update, logits.to(dtype), acting.to(dtype)))
            check_dtype(update, dtype, typed.dtype)
        update.finish({name: float(value) for name, value in metrics.items()})
        check_state(update, fresh, lambda part: part(masked)[0].detach())


def _decisions(update: Update, logits: Tensor, acting: Tensor) -> Decisions:
    """Return decisions of a policy that is no longer the one that acted; some of them are masked."""
    batch, policy, acted = logits.shape[:-1], CategoricalLogits(logits), CategoricalLogits(acting)
    count = torch.arange(batch.numel()).view(batch)
    action = count % _ACTIONS
    return Decisions(
        policy=policy,
        acting=acted if update.compares else None,
        action=action,
        log_prob=policy.log_prob(action),
        acting_log_prob=acted.log_prob(action),
        advantage=torch.linspace(-1.5, 2.0, batch.numel(), dtype=logits.dtype).view(batch),
        weight=0.9 ** count.to(logits.dtype),
        mask=count % 5 != 1,
    )


def _check_value(update: Update, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
    found = update(decisions)
    action = "return loss, {}"
    require(isinstance(found, tuple) and len(found) == 2, update, "it returns a loss and its metrics", action)
    loss, metrics = found
    expected = tuple(decisions.log_prob.shape)
    check_shape(update, loss, expected, "one loss for each decision", "take no mean and no sum: the learner does")
    check_finite(update, loss if decisions.mask is None else loss[decisions.mask])
    for name, value in metrics.items():
        law, action = f"the metric {name!r} as a mean over the decisions", f"decisions.mean({name})"
        check_shape(update, value, (), law, action)
        check_finite(update, value)
        require(not value.requires_grad, update, f"the metric {name!r} is detached", action)
    return loss, metrics


def _check_same(
    update: Update,
    decisions: Decisions,
    one: tuple[Tensor, dict[str, Tensor]],
    other: tuple[Tensor, dict[str, Tensor]],
    law: str,
    action: str,
) -> None:
    kept = ... if decisions.mask is None else decisions.mask
    same = is_close(one[0][kept], other[0][kept]) and one[1].keys() == other[1].keys()
    require(same and all(is_close(one[1][name], other[1][name]) for name in one[1]), update, law, action)


def _changed_where_masked(decisions: Decisions) -> Decisions:
    """Return the decisions with something else wherever the mask is False."""
    assert decisions.mask is not None
    out = ~decisions.mask
    action = torch.where(out, (decisions.action + 1) % _ACTIONS, decisions.action)
    return replace(
        decisions,
        action=action,
        log_prob=decisions.policy.log_prob(action),
        acting_log_prob=decisions.acting_log_prob.masked_fill(out, -20.0),
        advantage=decisions.advantage.masked_fill(out, _FAR),
        weight=decisions.weight.masked_fill(out, _FAR),
    )


def _check_untouched(update: Update, decisions: Decisions) -> None:
    inputs = [tensor for tensor in vars(decisions).values() if isinstance(tensor, Tensor)]
    before = [tensor.clone() for tensor in inputs]
    with torch.no_grad():  # where torch itself does not refuse changes in place
        update(decisions)
    check_untouched(update, before, inputs)
