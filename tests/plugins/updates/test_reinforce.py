"""REINFORCE's loss against the formula written out, its options, and what it refuses.

Gradients against enumeration are in tests/framework/test_policy_gradient_estimators.py.
"""

from __future__ import annotations

import doctest

import pytest
import torch

from framework import OptionError
from framework_plugins.updates import reinforce
from framework_plugins.updates.reinforce import Reinforce
from tests.plugins.updates.decisions import decisions, numbers


def test_the_loss_and_its_gradient_are_what_the_formula_says() -> None:
    log_prob = numbers(-0.5, -1.0, -2.0).requires_grad_()
    loss, metrics = Reinforce()(decisions(log_prob, numbers(3.0, -2.0, 0.5), weight=numbers(1.0, 0.5, 0.25)))
    loss.sum().backward()
    assert loss.tolist() == [1.5, -1.0, 0.25]  # −w·A·log π
    assert log_prob.grad is not None
    assert log_prob.grad.tolist() == [-3.0, 1.0, -0.125]  # −w·A
    assert metrics == {}


def test_no_gradient_goes_to_advantages_and_weights() -> None:
    log_prob, advantage, weight = torch.ones(3, 4).requires_grad_()
    loss, _ = Reinforce()(decisions(log_prob, advantage, weight=weight))
    found = torch.autograd.grad(loss.sum(), [log_prob, advantage, weight], allow_unused=True)
    assert [gradient is not None for gradient in found] == [True, False, False]


def test_options() -> None:
    update = Reinforce()
    assert (update.steps, update.passes, update.minibatches) == (None, 1, 1)
    assert (update.sums_episodes, update.normalize_advantages, update.compares) == (True, False, False)
    other = Reinforce(steps=7, normalize_advantages=True)
    assert (other.steps, other.normalize_advantages) == (7, True)
    assert update.goes_on({})
    update.finish({})


def test_no_step_is_refused() -> None:
    with pytest.raises(OptionError) as caught:
        Reinforce(steps=0)
    assert str(caught.value) == "steps: expected 1 or more, found 0"


def test_the_examples_run() -> None:
    results = doctest.testmod(reinforce)
    assert results.attempted > 0
    assert results.failed == 0
