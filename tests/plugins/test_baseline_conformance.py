"""Every registered baseline obeys the laws of `framework.testing`, in each of the forms that it has."""

from __future__ import annotations

from typing import Any

import gymnasium
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from torch import Tensor, nn

import framework_plugins  # noqa: F401  (registers the parts)
from framework import Trunk
from framework.baseline import baselines
from framework.testing import check_baseline

K, B = 4, 6
BOX, DISCRETE = Box(-1, 1, (2, 3)), Discrete(5, start=2)


class Linear(Trunk):
    """A trunk of a test's own: what a baseline has below it is not its business."""

    def __init__(self) -> None:
        super().__init__()
        self.features = 4
        self.layer = nn.Linear(6, 4)

    def forward(self, observation: Tensor) -> Tensor:
        return torch.tanh(self.layer(observation.flatten(-2)))


# The forms of each baseline; a new one needs a line here.
FORMS: dict[str, list[dict[str, Any]]] = {
    "moving_average": [{}, {"decay": 0.9}, {"replicas": K}, {"replicas": K, "decay": 0.5}],
    "time_dependent": [{"steps": 2}, {"steps": 10, "decay": 0.9}, {"steps": 2, "replicas": K}],
    "leave_one_out": [{}],
    "value": [
        {"observation_space": BOX},
        {"observation_space": BOX, "trunk": Linear, "clip": 0.2, "initial": 3.0},
        {"observation_space": DISCRETE},
        {"observation_space": DISCRETE, "replicas": K, "clip": 0.2},
    ],
}


def observations(space: gymnasium.Space[Any]) -> Tensor:
    space.seed(0)
    drawn = torch.stack([torch.as_tensor(space.sample()) for _ in range(K * B)])
    return drawn.view(K, B, *drawn.shape[1:])


@pytest.mark.parametrize(
    ("name", "options"), [pytest.param(name, form, id=f"{name}-{form}") for name in FORMS for form in FORMS[name]]
)
def test_baseline(name: str, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    given = {**options, **({"trunk": options["trunk"]()} if "trunk" in options else {})}
    check_baseline(baselines[name].factory(**given), observations(options.get("observation_space", BOX)))


def test_every_baseline_has_its_forms() -> None:
    assert sorted(FORMS) == baselines.names() != []
