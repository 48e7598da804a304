"""The laws of baselines. Legend: K samples, B contexts."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from framework.baseline import Baseline, FittedBaseline, Samples
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

_STEPS = 3  # of the episodes that the samples are of
_FAR = 1e3  # from what returns otherwise are: in any mean it would be seen


def check_baseline(baseline: Baseline, observation: Tensor) -> None:
    """Check a baseline.

    The laws: b has shape [K, B] and is finite, before the first update and after some; it does not change when a
    sample's own return does; it depends on the samples and on what was updated alone; what the mask leaves out changes
    neither b nor the statistics; inputs are left as they were; float64 in is float64 out, float32 is float32;
    `state_dict` can be loaded back. One that `bootstraps` depends on the observation alone.

    And one that is fitted: its loss has shape [K, B] and is finite, what the mask leaves out does not change that of
    other samples, and its gradient reaches the parameters.

    Args:
        baseline: the part, in float32.
        observation: [K, B, *shape], what samples are given; K and B are 2 or more, and K the replicas where there are
            some. Integers stay integers.

    Raises:
        AssertionError: a law is broken; the message names it and says what to do.

    Example:
        >>> from framework_plugins.baselines.moving_average import MovingAverage
        >>> check_baseline(MovingAverage(), torch.rand(4, 6, 3))
    """
    fresh = copy_of(baseline)
    with fixed_randomness():
        first, samples = _samples(observation), _samples(observation)
        _check_untouched(copy_of(baseline), _samples(observation))  # samples that nothing has touched yet
        _check_value(baseline, samples)
        if isinstance(baseline, FittedBaseline):
            _check_loss(baseline, samples)
        _update(baseline, first)
        _check_value(baseline, samples)
        _check_independent(baseline, samples)
        _check_mask(baseline, samples)
        if baseline.bootstraps:
            _check_bootstrap(baseline, samples)
        for dtype in (torch.float64, torch.float32):
            typed, of_type = copy_of(fresh).to(dtype), _to(samples, dtype)
            typed.update(of_type)
            found = [typed(of_type).dtype]
            if isinstance(typed, FittedBaseline):
                found.append(typed.loss(of_type).dtype)
            check_dtype(baseline, dtype, *found)
        check_state(baseline, fresh, lambda part: part(samples))


def _samples(observation: Tensor) -> Samples:
    """Return samples with all that samples may have; at most one in a row or a column does not count."""
    count, contexts = observation.shape[:2]
    returns, values = 1 + torch.rand(2, count, contexts)
    time = (torch.arange(contexts) % _STEPS).expand(count, contexts)
    # (k + i) mod the longer side is 0 at most once in each row and column, and at least once in all.
    left_out = (torch.arange(count)[:, None] + torch.arange(contexts)) % max(count, contexts) == 0
    return Samples(observation, returns, time.clone(), ~left_out, values)


def _to(samples: Samples, dtype: torch.dtype) -> Samples:
    assert samples.values is not None
    observation = samples.observation
    return replace(
        samples,
        observation=observation.to(dtype) if observation.is_floating_point() else observation,
        returns=samples.returns.to(dtype),
        values=samples.values.to(dtype),
    )


def _update(baseline: Baseline, samples: Samples) -> None:
    """Update, and learn: what follows is no longer what it started as."""
    if isinstance(baseline, FittedBaseline):
        parameters = [parameter for parameter in baseline.parameters() if parameter.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        baseline.loss(samples).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    baseline.update(samples)


@torch.no_grad()
def _value(baseline: Baseline, samples: Samples) -> Tensor:
    value: Tensor = baseline(samples)
    return value


def _check_untouched(baseline: Baseline, samples: Samples) -> None:
    inputs = [tensor for tensor in vars(samples).values() if isinstance(tensor, Tensor)]
    before = [tensor.clone() for tensor in inputs]
    with torch.no_grad():  # where torch itself does not refuse changes in place
        baseline(samples)
        if isinstance(baseline, FittedBaseline):
            baseline.loss(samples)
        baseline.update(samples)
    check_untouched(baseline, before, inputs)


def _check_value(baseline: Baseline, samples: Samples) -> None:
    value = _value(baseline, samples)
    check_shape(baseline, value, tuple(samples.returns.shape), "one value a sample", "return [K, B]")
    check_finite(baseline, value)
    require(
        torch.equal(value, _value(baseline, samples)),
        baseline,
        "the value is a function of the samples and of what was updated",
        "draw no random numbers, and keep statistics in update, not in forward",
    )


def _check_independent(baseline: Baseline, samples: Samples) -> None:
    for without_mask in (False, True):
        tried = replace(samples, mask=None) if without_mask else samples
        value = _value(baseline, tried)
        for k, i in torch.ones_like(value).nonzero().tolist():
            returns = tried.returns.clone()
            returns[k, i] += 1
            other = _value(baseline, replace(tried, returns=returns))
            require(
                is_close(value[k, i], other[k, i]),
                baseline,
                "a sample's baseline does not depend on its own return, or the gradient would be biased",
                "leave the sample itself out, or take returns in by update, which comes after the step",
            )


def _changed_where_masked(samples: Samples) -> Samples:
    """Return the samples with something else wherever the mask is False."""
    assert samples.mask is not None
    assert samples.time is not None
    assert samples.values is not None
    out = ~samples.mask
    observation = samples.observation.clone()
    observation[out] = samples.observation.flip(0, 1)[out]
    returns, values = samples.returns.masked_fill(out, _FAR), samples.values.masked_fill(out, -_FAR)
    return Samples(observation, returns, samples.time.masked_fill(out, 0), samples.mask, values)


def _check_mask(baseline: Baseline, samples: Samples) -> None:
    changed = _changed_where_masked(samples)
    kept = samples.mask
    require(
        is_close(_value(baseline, samples)[kept], _value(baseline, changed)[kept]),
        baseline,
        "what the mask leaves out does not change the baseline of other samples",
        "fill it with zeros and count what is left",
    )
    values = []
    for batch in (samples, changed):
        updated = copy_of(baseline)
        updated.update(batch)
        values.append(_value(updated, samples)[kept])
    require(
        is_close(*values),
        baseline,
        "what the mask leaves out does not change the statistics",
        "fill it with zeros and count what is left",
    )


def _check_bootstrap(baseline: Baseline, samples: Samples) -> None:
    bare = Samples(samples.observation, torch.zeros_like(samples.returns))
    require(
        is_close(_value(baseline, samples), _value(baseline, bare)),
        baseline,
        "one that bootstraps depends on the observation alone",
        "read nothing but samples.observation, or set bootstraps = False",
    )


def _check_loss(baseline: FittedBaseline, samples: Samples) -> None:
    loss, changed = baseline.loss(samples), baseline.loss(_changed_where_masked(samples))
    check_shape(baseline, loss, tuple(samples.returns.shape), "one loss a sample", "take no mean")
    check_finite(baseline, loss)
    learned = [parameter for parameter in baseline.parameters() if parameter.requires_grad]
    require(
        bool(learned) and reaches(loss.sum(), learned),
        baseline,
        "the loss has a finite gradient that is not zero to the parameters",
        "compute it with differentiable operations, without detach or item",
    )
    require(
        is_close(loss[samples.mask], changed[samples.mask]),
        baseline,
        "what the mask leaves out does not change the loss of other samples",
        "compare no samples",
    )
