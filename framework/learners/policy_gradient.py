"""The policy-gradient learner: E_π[−Σ_t γ^t·r_t], by score-function gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from framework.action_distributions import allowing
from framework.agent import Agent, Evaluation
from framework.baseline import Baseline, FittedBaseline, Samples, baselines
from framework.environment import Environment
from framework.errors import IncompatibleParts, OptionError
from framework.learner import Loss, register_learner
from framework.masked import over_runs, standardised, sum_over
from framework.normalization import ReturnScaler, RunningNormalizer
from framework.optimizer import Optimizer
from framework.policy import Policy, policies
from framework.randomness import Keys
from framework.returns import generalized_advantages, returns_to_go
from framework.rollout import Rollout
from framework.schedule import Counters, Schedule, final_value, value_at
from framework.tape import Act
from framework.trunk import Trunk
from framework.update import Decisions, Update, updates

AT_ONCE = 2_048  # images through a network at a time, where no gradient is needed
BASELINE_WEIGHT = 0.5

Optimizing = Callable[[Iterable[nn.Parameter]], Optimizer]


@register_learner("policy_gradient")
class PolicyGradient(Agent):
    """REINFORCE, with a baseline or without, advantage actor-critic, and proximal policy optimisation.

        ∇J = E Σ_t w_t·(G_t − b(s_t))·∇log π(a_t|s_t),    w_t = γ^t with `discount_weighting`, else 1

    What is made smaller is the update's loss of each decision, minus `entropy` times the policy's entropy, plus
    `baseline_weight` times the baseline's loss. With `update: reinforce` the first two are summed over an episode's
    steps and averaged over episodes, otherwise averaged over steps; the baseline's loss is averaged over steps always,
    for summed it diverges on long episodes. Where the baseline is a value function, G_t − b is the generalized
    advantage estimate (`trace: 1` is G_t − b itself), and a truncated episode goes on with its value; without one a
    truncated episode counts as ended. A terminated episode is worth nothing afterwards.

    Its metrics in training: `return` and `length` of the episodes that ended; `entropy` (nats), `value_loss` (the
    baseline's, squared rewards), what the update says (`kl`, `clipped`, …), and of environments that are runs of their
    own the mean `reward` and how often the action was `optimal`, with standard errors over the runs.

    Args:
        environment: what it acts in.
        trunk: shared by policy and baseline, which then are heads on its features; null leaves each its own.
        policy: π.
        baseline: b; null is none.
        update: how the policy is improved.
        optimizer: of all parameters, or of those of the policy.
        baseline_optimizer: of the baseline's parameters, where they have one of their own.
        evaluation: how it is judged; null is not at all.
        discount: γ, in [0, 1].
        trace: λ of the generalized advantage estimate, in [0, 1]; below 1 it needs a value function.
        discount_weighting: whether a decision at step t counts γ^t, as the gradient of the discounted return has it.
        entropy: the weight of the entropy, in the reward's unit per nat.
        baseline_weight: the weight of the baseline's loss beside the policy's.

    Raises:
        IncompatibleParts: parts that do not fit: what is cut or traced without a value function, an optimiser for a
            baseline that has nothing to fit or shares a trunk, environments that are runs of their own with parts that
            have one set of parameters.

    Reference: Williams, "Simple Statistical Gradient-Following Algorithms", 1992,
        https://doi.org/10.1007/BF00992696; Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, chapter 13,
        http://incompleteideas.net/book/the-book-2nd.html; Schulman et al., "High-Dimensional Continuous Control Using
        Generalized Advantage Estimation", 2016, https://arxiv.org/abs/1506.02438.
    """

    def __init__(
        self,
        *,
        environment: Environment,
        trunk: Trunk | None = None,
        policy: Policy,
        baseline: Baseline | None = None,
        update: Update,
        optimizer: Optimizing,
        baseline_optimizer: Optimizing | None = None,
        evaluation: Evaluation | None,
        discount: float,
        trace: float = 1.0,
        discount_weighting: bool = False,
        entropy: float | Schedule = 0.0,
        baseline_weight: float = BASELINE_WEIGHT,
    ) -> None:
        super().__init__()
        self.environment, self.evaluation = environment, evaluation
        self.trunk, self.policy, self.baseline, self.update = trunk, policy, baseline, update
        self.optimizer, self.baseline_optimizer = optimizer, baseline_optimizer
        self.discount, self.trace, self.discount_weighting = discount, trace, discount_weighting
        self.entropy, self.baseline_weight = entropy, baseline_weight
        self.steps, self.passes, self.minibatches = update.steps, update.passes, update.minibatches
        self.replicas = environment.num_envs if environment.independent else 1
        # A fitted baseline that is no value function may compare the environments of a step.
        compares = isinstance(baseline, FittedBaseline) and not baseline.bootstraps
        self.whole = self.minibatches == 1 and (update.sums_episodes or environment.independent or compares)
        self.observations: RunningNormalizer | None = None
        self.rewards: ReturnScaler | None = None
        if environment.normalize_observation:
            self.observations = RunningNormalizer(shape=environment.observation_space.shape or ())
        if environment.normalize_reward:
            self.rewards = ReturnScaler(count=environment.num_envs, discount=discount)
        if misfits := list(self._misfits()):
            raise IncompatibleParts(misfits)
        self._actor = tuple(part for part in (trunk, policy) if part is not None)
        # A module, so that it is in checkpoints: a run that is cut off between two passes goes on exactly.
        self.acting: nn.ModuleList | None = None
        if update.compares:
            self.acting = nn.ModuleList(copy.deepcopy(part).requires_grad_(False) for part in self._actor)
        self.formula = self._formula()
        self.notes = tuple(self._notes())

    def act(self, observation: Tensor, action_mask: Tensor | None, *, greedy: bool) -> Tensor:
        policy = self._distribution(self._features(observation), action_mask)
        return policy.mode if greedy else policy.sample()

    def explorer(self) -> Act:
        sampler = self.policy.sampler() if self.trunk is None and self.observations is None else None
        if sampler is None:
            return self.explore
        draw = sampler
        return lambda observation, mask: draw(observation) if mask is None else self.explore(observation, mask)

    def begin_anew(self) -> None:
        if self.rewards is not None:
            self.rewards.begin_anew()

    def digest(self, rollout: Rollout) -> dict[str, Tensor]:
        observation, mask = rollout.observation[:-1], rollout.mask  # [T, N, *shape], [T, N]
        reward = rollout.reward
        if self.rewards is not None:
            self.rewards.update(reward, rollout.terminated | rollout.truncated, mask)
            reward = self.rewards(reward)
        features = self._in_parts(self._features, rollout.observation)  # [T + 1, N, F]
        digest = {
            "observation": observation,
            "action": rollout.action,
            "mask": mask,
            "time": rollout.time,
            "weight": self.discount ** rollout.time.to(reward) if self.discount_weighting else torch.ones_like(reward),
        }
        action_mask = None
        if rollout.action_mask is not None:
            digest["action_mask"] = action_mask = rollout.action_mask[:-1]
        policy = self._distribution(features[:-1], action_mask)
        if policy.batch_shape != mask.shape:
            found = f"a distribution of batch shape {list(policy.batch_shape)} for {list(mask.shape)} observations"
            expected = "one action each: torch.distributions.Independent makes batch dimensions part of the event"
            raise IncompatibleParts([OptionError("policy", found=found, expected=expected)])
        digest["acting_log_prob"] = policy.log_prob(rollout.action)
        digest |= self._advantages(rollout, reward, features)
        if self.environment.independent:
            digest["reward"] = rollout.reward
        if rollout.optimal is not None:
            digest["optimal"] = rollout.optimal
        if self.acting is not None:
            for acting, part in zip(self.acting, self._actor, strict=True):
                acting.load_state_dict(part.state_dict())
        return digest

    def losses(self, batch: dict[str, Tensor], counters: Counters, keys: Keys) -> Iterator[Loss]:
        mask = batch.get("mask")
        with keys("policy"):
            features = self._features(batch["observation"])
            policy = self._distribution(features, batch.get("action_mask"))
        log_prob = policy.log_prob(batch["action"])
        advantage = batch["advantage"]
        decisions = Decisions(
            policy=policy,
            acting=self._acting(batch),
            action=batch["action"],
            log_prob=log_prob,
            acting_log_prob=batch["acting_log_prob"],
            advantage=standardised(advantage, mask) if self.update.normalize_advantages else advantage,
            weight=batch["weight"],
            mask=mask,
        )
        count = self._count(advantage, mask)
        loss, metrics = self.update(decisions)
        total = sum_over(count, loss, mask)
        weight = value_at(self.entropy, counters)
        with nullcontext() if weight != 0 else torch.no_grad():
            entropy = _entropy(policy, log_prob, learned=weight != 0)
        metrics = {"entropy": decisions.mean(entropy), **metrics, **self._rewards_of(batch)}
        if weight != 0:
            total = total - weight * sum_over(count, entropy, mask)
        if not isinstance(self.baseline, FittedBaseline):
            yield Loss(total, "main", metrics)
            return
        with keys("baseline"):
            error = _rows(self.baseline.loss(self._samples(batch, features)), advantage)
        metrics["value_loss"] = decisions.mean(error)
        fit = self.baseline_weight * sum_over(self._decisions(advantage, mask), error, mask)
        if self.baseline_optimizer is None:
            yield Loss(total + fit, "main", metrics)
        else:
            yield Loss(total, "main", {})
            yield Loss(fit, "baseline", metrics)

    def goes_on(self, metrics: Mapping[str, float]) -> bool:
        return self.update.goes_on(dict(metrics))

    @torch.no_grad()
    def finish(self, digest: Mapping[str, Tensor], metrics: Mapping[str, float]) -> None:
        if self.baseline is not None:
            self.baseline.update(self._samples(digest, self._in_parts(self._features, digest["observation"])))
        if self.observations is not None:
            self.observations.update(digest["observation"], digest["mask"])
        self.update.finish(dict(metrics))

    def optimizers(self) -> dict[str, Optimizer]:
        own = [] if self.acting is None else list(self.acting.parameters())
        baseline = [] if self.baseline is None or self.baseline_optimizer is None else list(self.baseline.parameters())
        apart = {id(parameter) for parameter in (*own, *baseline)}
        made = {"main": self.optimizer([one for one in self.parameters() if id(one) not in apart])}
        if self.baseline_optimizer is not None:
            made["baseline"] = self.baseline_optimizer(baseline)
        return made

    def _features(self, observation: Tensor) -> Tensor:
        if self.observations is not None:
            observation = self.observations(observation)
        return observation if self.trunk is None else self.trunk(observation)

    def _distribution(self, features: Tensor, action_mask: Tensor | None) -> Distribution:
        policy: Distribution = self.policy(features)
        return policy if action_mask is None else allowing(policy, action_mask)

    @torch.no_grad()
    def _acting(self, batch: Mapping[str, Tensor]) -> Distribution | None:
        if self.acting is None:
            return None
        policy: Any = batch["observation"]
        if self.observations is not None:
            policy = self.observations(policy)
        for part in self.acting:
            policy = part(policy)
        mask = batch.get("action_mask")
        return policy if mask is None else allowing(policy, mask)

    def _advantages(self, rollout: Rollout, reward: Tensor, features: Tensor) -> dict[str, Tensor]:
        ends = {"terminated": rollout.terminated, "truncated": rollout.truncated, "mask": rollout.mask}
        if self.baseline is None or not self.baseline.bootstraps:
            returns = returns_to_go(reward, **ends, next_values=0.0, discount=self.discount)
            if self.baseline is None:
                return {"advantage": returns, "returns": returns}
            values = _rows(
                self.baseline(self._samples({**ends, "returns": returns, "time": rollout.time}, features[:-1])), returns
            )
            return {"advantage": returns - values, "returns": returns}
        values = self._values(features)  # [T + 1, N]
        next_values = values[1:].clone()
        if len(rollout.end_rows) and self.replicas > 1:  # each in the column of its run
            after = rollout.observation[1:].clone()
            after[tuple(rollout.end_rows.T)] = rollout.end_observations
            next_values = self._values(self._in_parts(self._features, after))
        elif len(rollout.end_rows):
            last = self._values(self._in_parts(self._features, rollout.end_observations[None]))[0]  # [E]
            next_values[tuple(rollout.end_rows.T)] = last
        advantage, returns = generalized_advantages(
            reward, values[:-1], **ends, next_values=next_values, discount=self.discount, trace=self.trace
        )
        return {"advantage": advantage, "returns": returns, "values": values[:-1]}

    def _values(self, features: Tensor) -> Tensor:
        """Return the baseline's estimates [T, N] of what comes after observations with features [T, N, F]."""
        baseline = self.baseline
        assert baseline is not None

        def value(features: Tensor) -> Tensor:
            observation = features.transpose(0, 1)
            nothing = torch.zeros(observation.shape[:2], device=features.device)
            found: Tensor = baseline(Samples(observation, nothing))
            return found.T

        return self._in_parts(value, features)

    def _samples(self, batch: Mapping[str, Tensor], features: Tensor) -> Samples:
        """Return a batch as K samples, the environments, of B contexts, the steps; rows [M] as M samples of one."""

        def turned(value: Tensor | None) -> Tensor | None:
            if value is None:
                return None
            return value.transpose(0, 1) if batch["returns"].dim() == 2 else value[:, None]

        observation, returns = turned(features), turned(batch["returns"])
        assert observation is not None
        assert returns is not None
        return Samples(
            observation, returns, turned(batch["time"]), turned(batch.get("mask")), turned(batch.get("values"))
        )

    def _in_parts(self, function: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
        """Return a function's values of rows [T, ...], some at a time: what a large network makes of all is larger."""
        is_large = rows.dim() > 3  # [T, N, rows, columns, channels], images
        size = max(1, AT_ONCE // rows.shape[1]) if is_large else len(rows)
        if len(rows) <= size:
            return function(rows)
        return torch.cat([function(part) for part in rows.split(size)])

    def _count(self, like: Tensor, mask: Tensor | None) -> Tensor | float:
        """Return what the sums over decisions are divided by: the episodes, or the decisions; [N] those of each run."""
        return like.shape[1] / self.replicas if self.update.sums_episodes else self._decisions(like, mask)

    def _decisions(self, like: Tensor, mask: Tensor | None) -> Tensor | float:
        """Return the number of decisions, or [N] those of each run."""
        if mask is None:
            return max(1, len(like))
        return (mask.sum() if self.replicas == 1 else mask.sum(0)).clamp(min=1)

    def _rewards_of(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the mean reward over runs, and how often the action was optimal, with their standard errors."""
        found: dict[str, Tensor] = {}
        if self.environment.independent:
            for name in ("reward", "optimal"):
                if name in batch:
                    found |= over_runs(name, batch[name].to(batch["advantage"]), batch["mask"])
        return found

    def _misfits(self) -> Iterator[OptionError]:
        values = self.baseline is not None and self.baseline.bootstraps
        for option, number in (("discount", self.discount), ("trace", self.trace)):
            if not 0 <= number <= 1:
                yield OptionError(option, found=number, expected="a number in [0, 1]")
        if self.trace != 1 and not values:
            yield OptionError("trace", found=self.trace, expected="1, or a baseline that is a value function",
                              write="baseline: {name: value}")  # fmt: skip
        if self.steps is not None and self.discount > 0 and not values:
            yield OptionError(
                "update.steps",
                found=f"{self.steps}: a rollout is cut there, and nothing stands for the time after",
                expected="whole episodes, a discount of 0, or a baseline that is a value function",
                write="baseline: {name: value}",
            )
        fits = isinstance(self.baseline, FittedBaseline)
        if self.baseline_weight != BASELINE_WEIGHT and not fits:
            expected = "a baseline that is fitted: nothing else has a loss"
            yield OptionError("baseline_weight", found=self.baseline_weight, expected=expected)
        if self.baseline is not None and self.environment.num_envs < self.baseline.fewest_samples:
            found, fewest = f"{baselines.name_of(self.baseline)} with one environment", self.baseline.fewest_samples
            expected = f"{fewest} environments or more: it compares them with each other"
            yield OptionError("baseline", found=found, expected=expected, write=f"environment.num_envs={fewest}")
        if self.update.sums_episodes and self.minibatches > 1:
            expected = "1: what is summed over episodes is not cut into parts"
            yield OptionError("update.minibatches", found=self.minibatches, expected=expected)
        if self.baseline_optimizer is not None and (not fits or self.trunk):
            found = "a shared trunk, which has one optimiser" if self.trunk else "a baseline that fits nothing"
            yield OptionError("baseline_optimizer", found=found, expected="a baseline with parameters of its own")
        if self.steps is not None and self.minibatches > (steps := self.steps * self.environment.num_envs):
            expected = f"{steps} or fewer: a rollout has so many steps"
            yield OptionError("update.minibatches", found=self.minibatches, expected=expected)
        if self.policy.explores_values:
            expected = "a policy of observations: rules for exploring are for the learner action_value"
            yield OptionError("policy", found=policies.name_of(self.policy), expected=expected)
        if self.environment.independent:
            yield from self._shared_parameters()

    def _shared_parameters(self) -> Iterator[OptionError]:
        if self.minibatches > 1:
            expected = "1: runs of their own do not share minibatches"
            yield OptionError("update.minibatches", found=self.minibatches, expected=expected)
        if self.passes > 1:
            expected = "1: whether another pass follows would be decided for all runs at once"
            yield OptionError("update.passes", found=self.passes, expected=expected)
        if self.update.normalize_advantages:
            expected = "false: runs of their own are not compared with each other"
            yield OptionError("update.normalize_advantages", found="true", expected=expected)
        sets = {"policy": self.policy.replicas}
        if self.trunk is not None:
            sets["trunk"] = 1
        if self.baseline is not None:
            sets["baseline"] = self.baseline.replicas
        for option, count in sets.items():
            if count != self.replicas:
                yield OptionError(
                    option,
                    found=f"{count} set of weights or averages for {self.replicas} environments, each a run of its own",
                    expected="one for each, as tabular_softmax and tables of values have, or independent: false",
                )

    def _formula(self) -> str:
        baseline = "" if self.baseline is None else baselines.name_of(self.baseline)
        advantage = f"G − {baseline}" if baseline else "G"
        if self.trace != 1:
            advantage = f"the generalized advantage with {baseline} and λ = {self.trace:g}"
        terms = [f"{updates.name_of(self.update)}(A)"]
        if (weight := final_value(self.entropy)) != 0:
            terms.append(f"− {weight:g} · entropy")
        if isinstance(self.baseline, FittedBaseline):
            terms.append(f"+ {self.baseline_weight:g} · the loss of {baseline}")
        return f"{' '.join(terms)}, with A = {advantage}, γ = {self.discount:g}"

    def _notes(self) -> Iterator[str]:
        if self.discount > 0 and (self.baseline is None or not self.baseline.bootstraps):
            yield "no value function: an episode that is truncated counts as ended"
        if self.replicas > 1:
            yield f"{self.replicas} runs of their own at once: metrics are means over them, and budgets count them all"


def _entropy(policy: Distribution, log_prob: Tensor, *, learned: bool) -> Tensor:
    """Return the entropy [*batch], nats; of a policy without a closed form an estimate.

    The estimate is −log π of the actions that were taken, which has the right value and no gradient but noise (that of
    log π has the mean 0). Where it is learned from, the actions are new ones, reparametrised.

    Raises:
        IncompatibleParts: it is learned from, and there is neither a closed form nor a reparametrisation.
    """
    try:
        return policy.entropy()
    except NotImplementedError:
        if not learned:
            return -log_prob
        if policy.has_rsample:
            return -policy.log_prob(policy.rsample())
    found, expected = type(policy).__name__, "0 for a policy whose entropy has no closed form and no reparametrisation"
    raise IncompatibleParts([OptionError("entropy", found=f"a weight on the entropy of a {found}", expected=expected)])


def _rows(values: Tensor, like: Tensor) -> Tensor:
    """Return a baseline's [K, B] in the order of the batch."""
    return values.T if like.dim() == 2 else values.squeeze(1)
