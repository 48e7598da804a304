"""The laws of baselines: those that break one are told which, and what to do."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from framework import Baseline, FittedBaseline, Samples
from framework.testing import check_baseline

OBSERVATION = torch.arange(48.0).view(4, 6, 2) / 48


def counted(samples: Samples) -> Tensor:
    assert samples.mask is not None
    return samples.returns.masked_fill(~samples.mask, 0)


class Good(Baseline):
    """The mean return of the batch before: obeys every law."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, samples: Samples) -> Tensor:
        return torch.zeros_like(samples.returns) + self.mean

    def update(self, samples: Samples) -> None:
        assert samples.mask is not None
        self.mean.copy_(counted(samples).sum() / samples.mask.sum())


class GoodFit(FittedBaseline):
    """Linear in the observation: obeys every law."""

    bootstraps = True

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, samples: Samples) -> Tensor:
        return self.layer(samples.observation).squeeze(-1)

    def loss(self, samples: Samples) -> Tensor:
        return (self(samples) - samples.returns).square()


class OneForAContext(Good):
    def forward(self, samples: Samples) -> Tensor:
        return super().forward(samples)[0]


class NotFinite(Good):
    def forward(self, samples: Samples) -> Tensor:
        return (self.mean - self.mean).log() + samples.returns


class Draws(Good):
    def forward(self, samples: Samples) -> Tensor:
        return torch.rand_like(samples.returns)


class Counts(Good):
    def forward(self, samples: Samples) -> Tensor:
        self.mean += 1
        return super().forward(samples)


class MeanOfAll(Good):
    """Detached: its Jacobian would say that it is 0."""

    def forward(self, samples: Samples) -> Tensor:
        return samples.returns.detach().mean(0, keepdim=True).expand_as(samples.returns)


class OthersWithoutMask(Good):
    def forward(self, samples: Samples) -> Tensor:
        returns = samples.returns
        return (returns.sum(0) - returns) / (len(returns) - 1)


class UpdatesWithoutMask(Good):
    def update(self, samples: Samples) -> None:
        self.mean.copy_(samples.returns.mean())


class Clamps(Good):
    def forward(self, samples: Samples) -> Tensor:
        samples.returns.clamp_(max=1.5)
        return super().forward(samples)


class ClampsInUpdate(Good):
    def update(self, samples: Samples) -> None:
        samples.returns.clamp_(max=1.5)
        super().update(samples)


class Single(Good):
    def forward(self, samples: Samples) -> Tensor:
        return super().forward(samples).float()


class Remembers(Good):
    """Keeps its mean where no checkpoint sees it."""

    last = 0.0

    def forward(self, samples: Samples) -> Tensor:
        return super().forward(samples) + self.last

    def update(self, samples: Samples) -> None:
        self.last = counted(samples).sum().item()


class BootstrapsByReturns(Good):
    bootstraps = True

    def forward(self, samples: Samples) -> Tensor:
        returns = samples.returns if samples.mask is None else counted(samples)
        return returns.sum(0) - returns


class OneLoss(GoodFit):
    def loss(self, samples: Samples) -> Tensor:
        return super().loss(samples).mean()


class InfiniteLoss(GoodFit):
    def loss(self, samples: Samples) -> Tensor:
        return super().loss(samples) / 0


class SingleLoss(GoodFit):
    def loss(self, samples: Samples) -> Tensor:
        return super().loss(samples).float()


class NoGradient(GoodFit):
    def loss(self, samples: Samples) -> Tensor:
        return 0 * super().loss(samples)


class ComparesSamples(GoodFit):
    def loss(self, samples: Samples) -> Tensor:
        return super().loss(samples) / samples.returns.std()


MASK = "fill it with zeros and count what is left"


@pytest.mark.parametrize("part", [Good(), GoodFit()])
def test_good_baselines_pass_and_the_callers_random_numbers_stay(part: Baseline) -> None:
    before = torch.get_rng_state()
    check_baseline(part, OBSERVATION)
    check_baseline(part, OBSERVATION[:2, :5])
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("part", "law"),
    [
        (OneForAContext(), "expected one value a sample, of shape [4, 6], found [6]; return [K, B]"),
        (NotFinite(), "values are finite, found [[-inf, "),
        (
            Draws(),
            "the value is a function of the samples and of what was updated; "
            "draw no random numbers, and keep statistics in update, not in forward",
        ),
        (Counts(), "the value is a function of the samples and of what was updated; draw no"),
        (
            MeanOfAll(),
            "a sample's baseline does not depend on its own return, or the gradient would be biased; "
            "leave the sample itself out, or take returns in by update, which comes after the step",
        ),
        (OthersWithoutMask(), f"what the mask leaves out does not change the baseline of other samples; {MASK}"),
        (UpdatesWithoutMask(), f"what the mask leaves out does not change the statistics; {MASK}"),
        (Clamps(), "inputs are left as they were; change no input in place (add_, clamp_, out=…)"),
        (ClampsInUpdate(), "inputs are left as they were; change no input in place (add_, clamp_, out=…)"),
        (Single(), "torch.float64 in is torch.float64 out, found torch.float32; make constants"),
        (Remembers(), "state_dict holds all that the part's values depend on; keep what is learned or counted"),
        (
            BootstrapsByReturns(),
            "one that bootstraps depends on the observation alone; "
            "read nothing but samples.observation, or set bootstraps = False",
        ),
        (OneLoss(), "expected one loss a sample, of shape [4, 6], found []; take no mean"),
        (InfiniteLoss(), "values are finite, found [[inf, "),
        (SingleLoss(), "torch.float64 in is torch.float64 out, found (torch.float64, torch.float32); make"),
        (
            NoGradient(),
            "the loss has a finite gradient that is not zero to the parameters; "
            "compute it with differentiable operations, without detach or item",
        ),
        (ComparesSamples(), "what the mask leaves out does not change the loss of other samples; compare no samples"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Baseline) else "",
)
def test_a_baseline_that_breaks_a_law_is_told_which(part: Baseline, law: str) -> None:
    with pytest.raises(AssertionError, match=f"^{re.escape(f'{type(part).__name__}: {law}')}"):
        check_baseline(part, OBSERVATION)
