"""Every registered update obeys the laws of `framework.testing`, and begins as a policy gradient."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import framework_plugins  # noqa: F401  (registers the parts)
from framework import Decisions
from framework.action_distributions import CategoricalLogits
from framework.testing import check_update
from framework.update import updates
from framework_plugins.divergences.kl import KL

# The forms of each update; a new one needs a line here.
FORMS: dict[str, list[dict[str, Any]]] = {
    "reinforce": [{}, {"average": "steps"}],
    "a2c": [{}],
    "ppo": [{}, {"clip": None, "penalty": KL, "penalty_target": 0.01}, {"penalty": KL}],
}
EACH = pytest.mark.parametrize(
    ("name", "options"), [pytest.param(name, form, id=f"{name}-{form}") for name in FORMS for form in FORMS[name]]
)


def built(name: str, options: dict[str, Any]) -> Any:
    given = {option: value() if value is KL else value for option, value in options.items()}
    return updates[name].factory(**given)


@EACH
def test_update(name: str, options: dict[str, Any]) -> None:
    check_update(built(name, options))


@EACH
def test_its_first_gradient_is_the_policy_gradient(name: str, options: dict[str, Any]) -> None:
    """Of −w·A·log π with the policy that acted, to a rounding in float64: all of these are that, no other need be."""
    logits = torch.randn(7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    advantage, weight = torch.linspace(-1, 2, 7, dtype=torch.float64), torch.linspace(1, 0.5, 7, dtype=torch.float64)
    action, policy, acting = torch.arange(7) % 3, CategoricalLogits(logits), CategoricalLogits(logits.detach())
    log_prob = policy.log_prob(action)
    update = built(name, options).double()
    given = acting if update.compares else None
    loss, _ = update(Decisions(policy, given, action, log_prob, log_prob.detach(), advantage, weight, None))
    (found,) = torch.autograd.grad(loss.sum(), logits, retain_graph=True)
    expected = -(weight * advantage)[:, None] * (torch.nn.functional.one_hot(action, 3) - logits.softmax(-1))
    torch.testing.assert_close(found, expected.detach(), rtol=1e-12, atol=1e-12)


def test_every_update_has_its_forms() -> None:
    assert sorted(FORMS) == updates.names() != []
