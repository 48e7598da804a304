"""Proximal policy optimisation: several passes over a rollout, kept near the policy that made it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from framework import CompositeDivergence, Decisions, Divergence, OptionError, Update, register_update
from framework.divergence import divergences
from framework_plugins.updates.counts import check_counts

# Beyond e¹⁰ the ratio goes on along its tangent: the gradient of e^x would overflow half precision at x = 11, float32
# at 88, and 0·∞ is NaN. Zero there instead, and what is wrong would never be corrected.
_LARGEST_LOG_RATIO = 10.0
_TOLERANCE = 1.5  # the paper's, section 4: how far from its target the divergence may be
_RANGE = 2.0**30  # that the adaptive weight keeps to: one that had come to 0 or ∞ could not come back


@register_update("ppo")
class PPO(Update):
    """Several passes over a rollout on a surrogate that is right near the policy that acted, and is kept there.

        r = π(a|s)/π_acting(a|s),    L = −w·( min(r·A, clip(r, 1−ε, 1+ε)·A) − β·D(π_acting, π) )

    ε is the clip, w the weight of a decision, D any divergence, in nats, and β its weight. Without a clip the first
    term is r·A; clip and penalty may be combined. While π is the policy that acted, r = 1, D has no gradient and that
    of L is −w·A·∇log π: in the first minibatch PPO is a policy gradient, and from then on it is biased. The value of
    the loss means nothing. Ratios above e¹⁰ are continued along the tangent, so that nothing overflows.

    Adaptive β: after each rollout it is doubled if the penalty's mean over the last pass was above 1.5 times the
    target, and halved if it was below the target divided by 1.5. The paper measures D after the last step; here it is
    the mean of the minibatches of the last pass, each before its own step.

    Metrics, means over the decisions: `kl`, (r − 1) − log r in nats, never below 0 and unbiased for KL(π_acting‖π),
    whatever the penalty is; `clipped`, the share of ratios outside 1 ± ε; `penalty`, D in nats; `penalty_weight`, β.

    Args:
        steps: T, of a rollout in each environment.
        passes: how often a rollout is gone through.
        minibatches: into how many equal parts, shuffled anew in each pass.
        clip: ε, in (0, 1), without unit; None (null) clips nothing, and needs a penalty. A number, no schedule: an
            update has no counters.
        normalize_advantages: whether the advantages of each minibatch are brought to mean 0 and standard deviation 1.
        penalty: D, called with q the policy that acted, p the policy now and z the action: `kl`, unchanged, is the
            paper's. One that compares examples with each other has no value for a decision, and is refused.
        penalty_weight: β, or what it starts at; positive, in the reward's unit per nat.
        penalty_target: D's target in nats, positive, which β is adapted to; None (null) leaves β as it is.
        stop_at_kl: `kl` in nats, positive; after a pass in which it was more on average, no other follows. None (null)
            goes through all passes.

    Raises:
        OptionError: an option is out of range; there is neither a clip nor a penalty; the penalty is an aggregate or a
            composite; there is something for a penalty that is not there.

    Example:
        >>> update = PPO(clip=0.1, passes=10)
        >>> update.passes, update.compares
        (10, False)

    Reference: Schulman et al., "Proximal Policy Optimization Algorithms", 2017, equation 7 (clip) and section 4
        (penalty), https://arxiv.org/abs/1707.06347; Schulman, "Approximating KL Divergence", 2020,
        http://joschu.net/blog/kl-approx.html, estimator k3 (`kl`).
    """

    weight: Tensor

    def __init__(
        self,
        *,
        steps: int = 128,
        passes: int = 4,
        minibatches: int = 4,
        clip: float | None = 0.2,
        normalize_advantages: bool = True,
        penalty: Divergence | None = None,
        penalty_weight: float = 1.0,
        penalty_target: float | None = None,
        stop_at_kl: float | None = None,
    ) -> None:
        super().__init__()
        check_counts(steps=steps, passes=passes, minibatches=minibatches)
        _check_positive(penalty_weight=penalty_weight, penalty_target=penalty_target, stop_at_kl=stop_at_kl)
        if clip is not None and not 0 < clip < 1:
            raise OptionError("clip", found=clip, expected="a number between 0 and 1, both excluded, or null")
        if penalty is not None:
            _check_penalty(penalty)
        elif clip is None:
            expected = "a number, or a penalty: one of them keeps the policy near the one that acted"
            raise OptionError("clip", found="null", expected=expected, write="clip: 0.2, or penalty: {name: kl}")
        else:
            _check_unused(penalty_weight, penalty_target)
        self.steps, self.passes, self.minibatches = steps, passes, minibatches
        self.clip, self.normalize_advantages = clip, normalize_advantages
        self.penalty, self.compares = penalty, penalty is not None
        self.penalty_weight, self.penalty_target, self.stop_at_kl = penalty_weight, penalty_target, stop_at_kl
        if penalty is not None:
            self.register_buffer("weight", torch.tensor(float(penalty_weight)))  # β

    def forward(self, decisions: Decisions) -> tuple[Tensor, dict[str, Tensor]]:
        mask, advantage = decisions.mask, decisions.advantage
        # What is no decision may be anything, and NaN times 0 is NaN: it is left out before it is used.
        log_ratio = decisions.log_prob - decisions.acting_log_prob  # [*batch]
        if mask is not None:
            log_ratio = torch.where(mask, log_ratio, 0.0)
        excess = _ratio_less_one(log_ratio)  # r − 1
        found = excess.detach()
        metrics = {"kl": decisions.mean(found - log_ratio.detach())}
        if self.clip is None:
            loss = -advantage * (1 + excess)
        else:
            # min(r·A, clip(r)·A) is A + |A|·min(±(r − 1), ε), with the sign of A.
            bounded = (advantage.sign() * excess).clamp(max=self.clip)
            loss = torch.addcmul(-advantage, advantage.abs(), bounded, value=-1)
            metrics["clipped"] = decisions.mean(found.abs() > self.clip)
        if self.penalty is not None:
            penalty = self.penalty(decisions.acting, decisions.policy, decisions.action)  # [*batch]
            loss = loss + self.weight * penalty
            metrics["penalty"] = decisions.mean(penalty)
            metrics["penalty_weight"] = self.weight.clone()
        return decisions.weight * loss, metrics

    def goes_on(self, metrics: dict[str, float]) -> bool:
        return self.stop_at_kl is None or metrics["kl"] <= self.stop_at_kl

    def finish(self, metrics: dict[str, float]) -> None:
        if self.penalty_target is None:
            return
        if metrics["penalty"] > _TOLERANCE * self.penalty_target:
            self.weight.mul_(2)
        elif metrics["penalty"] < self.penalty_target / _TOLERANCE:
            self.weight.div_(2)
        self.weight.clamp_(self.penalty_weight / _RANGE, self.penalty_weight * _RANGE)


def _ratio_less_one(log_ratio: Tensor) -> Tensor:
    """Return e^x − 1, without the cancellation near x = 0, and for large x its tangent."""
    # relu's gradient is 0 below: that of x − min(x, 10) would be a difference of roundings, of the size of e¹⁰.
    beyond = (log_ratio - _LARGEST_LOG_RATIO).relu()
    exponential = log_ratio.clamp(max=_LARGEST_LOG_RATIO).expm1()
    return torch.add(exponential, beyond, alpha=math.exp(_LARGEST_LOG_RATIO))


def _check_positive(**numbers: float | None) -> None:
    for option, number in numbers.items():
        if number is not None and not number > 0:
            raise OptionError(option, found=number, expected="a positive number")


def _check_penalty(penalty: Divergence | CompositeDivergence) -> None:
    if isinstance(penalty, CompositeDivergence) or penalty.aggregate:
        raise OptionError(
            "penalty",
            found=divergences.name_of(penalty),
            expected="a divergence with a value for each decision, no composite and no aggregate",
            write="penalty: {name: kl}",
        )


def _check_unused(penalty_weight: float, penalty_target: float | None) -> None:
    given = {"penalty_weight": penalty_weight if penalty_weight != 1.0 else None, "penalty_target": penalty_target}
    for option, number in given.items():
        if number is not None:
            raise OptionError(option, found=number, expected="a penalty that it is for", write="penalty: {name: kl}")
