"""How fast agents learn: `fw run` against what one would install or write instead, interleaved.

* ppo: PPO on 8 CartPoles against stable-baselines3 with the same hyper-parameters, in three settings: few optimiser
  steps a rollout (`ppo`'s own 1,024 steps, 4 passes, 4 minibatches), many (256 steps, 20 passes, one minibatch), and
  many small ones (1,024 steps, 10 passes, 16 minibatches).
* wide: PPO on 128 CartPoles (4 passes, 4 minibatches of 1,024) against stable-baselines3 on 8, each with a learning
  rate that suits it, for the same number of environment steps, and the mean return that each comes to in 100 episodes.
* reinforce: REINFORCE on 64 CartPoles against a loop over one.
* bandit: ε-greedy sample averages on thousands of 10-armed bandits against a loop over problems and steps.

Both sides train a block in turn, in one process and on one thread, after a block of each that is not counted. What is
counted is training: of a run its `training_seconds`, in which are acting, learning, Lightning, records, and what W&B
(offline) costs; of stable-baselines3 all of `learn`. Building, importing, evaluations and checkpoints are left out.
Environment steps are decisions: the dummy step after an episode's end does not count.

    pip install stable-baselines3
    python benchmarks/policy_throughput.py ppo wide reinforce bandit
"""

import argparse
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from rich.console import Console
from torch import nn

from framework import run as running
from framework.data import default_directory
from framework.prepare import prepare

RECIPES = Path(__file__).resolve().parent.parent / "recipes"


@dataclass(frozen=True)
class Trained:
    """What came of a block: environment steps a second and, where it is known, the mean return afterwards."""

    rate: float
    score: float | None = None


Block = Callable[[], Trained]


def recipe(name: str, *overrides: str) -> Block:
    """Return a block that trains a recipe from its beginning, as `fw run` does."""

    def block() -> Trained:
        prepared = prepare(RECIPES / f"{name}.yaml", overrides, [], default_directory(dict(os.environ)))
        with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
            summary = running.run(prepared, Path(folder), Console(file=nowhere)).summary
        assert summary is not None, "stopped"
        return Trained(summary["throughput/env_steps_per_second"], summary.get("test/return"))

    return block


def stable_baselines3(steps: int, *, rollout: int, batch: int, passes: int, episodes: int) -> Block:
    """Return a block that trains its PPO with the hyper-parameters that `cartpole_ppo` has here.

    Args:
        steps: environment steps in all.
        rollout: steps of each of the 8 environments.
        batch: decisions in a minibatch.
        passes: how often a rollout is gone through.
        episodes: that it is judged by afterwards; 0 is none.
    """
    from stable_baselines3 import PPO as TheirPPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.evaluation import evaluate_policy

    def block() -> Trained:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = TheirPPO(
                "MlpPolicy",
                make_vec_env("CartPole-v1", n_envs=8, seed=0),
                n_steps=rollout,
                batch_size=batch,
                n_epochs=passes,
                learning_rate=1e-3,
                gamma=0.98,
                gae_lambda=0.8,
                clip_range=0.2,
                vf_coef=0.25,  # of the squared error; the recipe's 0.5 is of half of it
                max_grad_norm=0.5,
                policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "optimizer_kwargs": {"eps": 1e-8}},
                device="cpu",
            )
            started = time.perf_counter()
            model.learn(steps)
            rate = model.num_timesteps / (time.perf_counter() - started)
            if not episodes:
                return Trained(rate)
            return Trained(rate, float(evaluate_policy(model, model.get_env(), episodes)[0]))

    return block


def one_cartpole(steps: int) -> Block:
    """Return a block of REINFORCE as one writes it by hand: an environment, an episode, a step of Adam."""

    def block() -> Trained:
        environment: Any = gymnasium.make("CartPole-v1")
        policy = nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 2))
        optimizer = torch.optim.Adam(policy.parameters(), lr=1e-2)
        taken, started = 0, time.perf_counter()
        while taken < steps:
            observation, _ = environment.reset()
            log_probs, rewards, done = [], [], False
            while not done:
                distribution = torch.distributions.Categorical(logits=policy(torch.as_tensor(observation)))
                action = distribution.sample()
                log_probs.append(distribution.log_prob(action))
                observation, reward, terminated, truncated, _ = environment.step(action.item())
                rewards.append(reward)
                done = terminated or truncated
            returns, value = [], 0.0
            for reward in reversed(rewards):
                value = reward + 0.99 * value
                returns.append(value)
            loss = -(torch.stack(log_probs) * torch.tensor(returns[::-1])).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            taken += len(rewards)
        return Trained(taken / (time.perf_counter() - started))

    return block


def one_bandit(problems: int) -> Block:
    """Return a block of the testbed as one writes it by hand: problem after problem, 1,000 steps each."""

    def block() -> Trained:
        rng = np.random.default_rng(0)
        rewards, optimal = np.zeros((problems, 1000)), np.zeros((problems, 1000), dtype=bool)
        started = time.perf_counter()
        for problem in range(problems):
            q = rng.normal(size=10)
            best = np.argmax(q)
            values, counts = np.zeros(10), np.zeros(10)
            for step in range(1000):
                if rng.random() < 0.1:  # noqa: SIM108 - as one writes it
                    action = rng.integers(10)
                else:
                    action = rng.choice(np.flatnonzero(values == values.max()))
                reward = rng.normal(q[action])
                counts[action] += 1
                values[action] += (reward - values[action]) / counts[action]
                rewards[problem, step], optimal[problem, step] = reward, action == best
        return Trained(1000 * problems / (time.perf_counter() - started))

    return block


def compare(what: str, own: Block, other: Block, rounds: int) -> None:
    """Let both sides train in turn; print the medians, and the median of the rounds' ratios."""
    own(), other()
    pairs = [(own(), other()) for _ in range(rounds)]
    rates = [statistics.median(pair[side].rate for pair in pairs) for side in (0, 1)]
    ratios = sorted(mine.rate / theirs.rate for mine, theirs in pairs)
    print(
        f"{what:<44} {rates[0]:>10,.0f} {rates[1]:>10,.0f}   × {statistics.median(ratios):.1f} "
        f"({ratios[0]:.1f} to {ratios[-1]:.1f})",
        flush=True,
    )
    for side, name in enumerate(("fw", "the other")):
        scores = [pair[side].score for pair in pairs if pair[side].score is not None]
        if scores:
            print(f"    return of {name}: {', '.join(f'{score:.0f}' for score in scores)}", flush=True)


PPO = "update={{name: ppo, steps: {}, passes: {}, minibatches: {}, clip: 0.2}}"


def cartpole_ppo(steps: int, update: str, lr: float, *overrides: str) -> Block:
    optimizer = f"optimizer={{name: adam, lr: {lr}}}"
    return recipe("cartpole_ppo", update, optimizer, f"trainer.max_env_steps={steps}", *overrides)


def ppo(rounds: int) -> None:
    steps = 20_480
    for rollout, passes, minibatches in ((128, 4, 4), (32, 20, 1), (128, 10, 16)):
        own = cartpole_ppo(steps, PPO.format(rollout, passes, minibatches), 1e-3, "evaluation=null")
        batch = 8 * rollout // minibatches
        other = stable_baselines3(steps, rollout=rollout, batch=batch, passes=passes, episodes=0)
        compare(f"PPO, 8 × {rollout}, {passes} passes, {minibatches} of {batch}", own, other, rounds)


def wide(rounds: int) -> None:
    steps = 100_000
    other = stable_baselines3(steps, rollout=32, batch=256, passes=20, episodes=100)
    own = cartpole_ppo(steps, PPO.format(32, 4, 4), 3e-3, "environment.num_envs=128", "evaluation.every=null")
    compare("PPO, 128 environments against 8", own, other, rounds)


def reinforce(rounds: int) -> None:
    own = recipe(
        "cartpole_reinforce",
        "environment.num_envs=64",
        "policy={name: categorical, trunk: {name: mlp, hidden: [64]}}",
        "optimizer={name: adam, lr: 1.0e-2}",
        "trainer={max_env_steps: 100000, log_every: 1}",
        "evaluation=null",
    )
    compare("REINFORCE, 64 environments against one", own, one_cartpole(10_000), rounds)


def bandit(rounds: int) -> None:
    for problems in (2_000, 20_000):
        own = recipe("bandit_testbed", f"environment.num_envs={problems}")
        compare(f"bandits, {problems:,} problems", own, one_bandit(20), rounds)


SECTIONS = {"ppo": ppo, "wide": wide, "reinforce": reinforce, "bandit": bandit}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("sections", nargs="*", metavar="section", help=", ".join(SECTIONS))
    arguments.add_argument("--rounds", type=int, default=5)
    options = arguments.parse_args()
    if unknown := set(options.sections) - set(SECTIONS):
        arguments.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    torch.set_num_threads(1)
    os.environ.setdefault("WANDB_MODE", "offline")
    print(f"{'environment steps a second':<44} {'fw':>10} {'the other':>10}   ratio, median of {options.rounds} rounds")
    for name in options.sections or SECTIONS:
        SECTIONS[name](options.rounds)


if __name__ == "__main__":
    main()
