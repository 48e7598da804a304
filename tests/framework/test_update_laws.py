"""The laws of updates: those that break one are told which, and what to do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from framework import Decisions, Update
from framework.testing import check_update


class Good(Update):
    steps = 4
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("scale", torch.ones(()))

    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        loss = -decisions.weight * decisions.advantage * decisions.log_prob
        return self.scale * loss, {"advantage": decisions.mean(decisions.advantage)}

    def finish(self, metrics: dict[str, float]) -> None:
        self.scale *= 0.5


class Alone(Good):
    def forward(self, decisions: Decisions) -> Tensor:  # type: ignore[override]
        return super().forward(decisions)[0]


class Averaged(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(decisions)[0].mean(), {}


class Detached(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(decisions)[0].detach(), {}


class Infinite(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(decisions)[0] / 0, {}


class Comparing(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return (decisions.advantage - decisions.advantage.mean()) * decisions.log_prob, {}


class MetricOfAll(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(decisions)[0], {"advantage": decisions.advantage.mean()}


class MetricEach(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(decisions)[0], {"advantage": decisions.advantage}


class MetricWithGraph(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(decisions)[0], {"log": decisions.log_prob.mean()}


class Drawing(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(decisions)[0] * torch.rand(()), {}


class NeedsMask(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        sign = -1 if decisions.mask is None else 1
        return sign * super().forward(decisions)[0], {}


class InPlace(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        decisions.advantage.clamp_(min=0)
        return super().forward(decisions)


class Forgetful(Good):
    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return self.factor * super().forward(decisions)[0], {}

    def finish(self, metrics: dict[str, float]) -> None:
        self.factor = 0.5


class Single(Good):
    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        return super().forward(decisions)[0].float(), {}


def test_one_that_obeys_passes() -> None:
    check_update(Good())


@pytest.mark.parametrize(
    ("broken", "law"),
    [
        (Alone, "it returns a loss and its metrics; return loss, {}"),
        (Averaged, "expected one loss for each decision, of shape [4, 3], found []; take no mean and no sum"),
        (Detached, "the loss has a finite gradient that is not zero to the policy; compute it from"),
        (Infinite, "values are finite, found ["),
        (Comparing, "what the mask leaves out changes neither other losses nor metrics; use decisions.mean"),
        (MetricOfAll, "what the mask leaves out changes neither other losses nor metrics; use decisions.mean"),
        (MetricEach, "expected the metric 'advantage' as a mean over the decisions, of shape [], found [4, 3]"),
        (MetricWithGraph, "the metric 'log' is detached; decisions.mean(log)"),
        (Drawing, "the loss is a function of the decisions; draw no random numbers"),
        (NeedsMask, "no mask is a mask that is True everywhere; use decisions.mean"),
        (InPlace, "inputs are left as they were; change no input in place"),
        (Forgetful, "state_dict holds all that the part's values depend on; keep what is learned"),
        (Single, "torch.float64 in is torch.float64 out, found torch.float32; make constants"),
    ],
)
def test_one_that_breaks_a_law_is_told_which(broken: type[Update], law: str) -> None:
    with pytest.raises(AssertionError) as error:
        check_update(broken())
    assert str(error.value).startswith(f"{broken.__name__}: {law}")
