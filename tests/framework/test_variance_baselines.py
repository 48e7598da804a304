"""The baselines that are compared."""

from __future__ import annotations

from pathlib import Path

import torch

from framework import Baseline, Samples
from framework.baseline import baselines
from framework.surrogate import samples_of
from framework.variance_baselines import compared_baselines
from tests.framework.small_runs import CARTPOLE, LAKE
from tests.framework.test_surrogate import TRUNK, agent_of, rollout_of


class Seven(Baseline):
    def forward(self, samples: Samples) -> torch.Tensor:
        return torch.full_like(samples.returns, 7.0)


def test_all_of_the_house_are_there_and_know_the_samples(tmp_path: Path) -> None:
    agent = agent_of(tmp_path, CARTPOLE)
    samples = samples_of(agent, rollout_of(agent))
    found = compared_baselines(agent, [samples])
    assert found.keys() == {"moving_average", "time_dependent", "leave_one_out", "value (fitted)"}
    # of the house; a new one is to be compared as well
    assert {name.removesuffix(" (fitted)") for name in found} == set(baselines.names())
    assert samples.mask is not None
    returns = samples.returns[samples.mask]
    torch.testing.assert_close(found["moving_average"](samples)[0, 0], returns.mean())
    first = samples.returns[:, 0]
    torch.testing.assert_close(found["time_dependent"](samples)[0, 0], first.mean())
    error = (found["value (fitted)"](samples)[samples.mask] - returns).square().mean()
    assert error < 0.5 * returns.var()


def test_a_value_table_is_the_mean_return_from_each_state(tmp_path: Path) -> None:
    agent = agent_of(tmp_path, LAKE)
    samples = samples_of(agent, rollout_of(agent))
    samples = Samples(samples.observation, torch.rand_like(samples.returns), samples.time, samples.mask)
    value = compared_baselines(agent, [samples])["value (fitted)"](samples)
    assert samples.mask is not None
    for state in samples.observation[samples.mask].unique():
        here = samples.mask & (samples.observation == state)
        # least squares by a quasi-Newton method, in float32
        torch.testing.assert_close(value[here], samples.returns[here].mean().expand(int(here.sum())), rtol=0, atol=2e-3)


def test_the_agents_own_value_function_is_taken_as_it_is(tmp_path: Path) -> None:
    agent = agent_of(tmp_path, CARTPOLE, "baseline={name: value, initial: 5.0}")
    samples = samples_of(agent, rollout_of(agent))
    found = compared_baselines(agent, [samples])
    assert agent.baseline is not None
    assert found.keys() == {"moving_average", "time_dependent", "leave_one_out", "value (the run's)"}
    assert torch.equal(found["value (the run's)"](samples), agent.baseline(samples))


def test_a_baseline_of_a_strangers_is_compared_too_and_a_shared_trunk_is_seen_through(tmp_path: Path) -> None:
    agent = agent_of(tmp_path, CARTPOLE, TRUNK)
    agent.baseline = Seven()
    samples = samples_of(agent, rollout_of(agent))
    assert samples.observation.shape[-1] == 6
    found = compared_baselines(agent, [samples])
    assert found.keys() == {"moving_average", "time_dependent", "leave_one_out", "value (fitted)", "Seven"}
    assert found["Seven"](samples).eq(7).all()
    assert found["value (fitted)"](samples).shape == samples.returns.shape
