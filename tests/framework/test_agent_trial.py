"""A broken part of an agent is named before anything is written, and a whole one is left as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from framework.cli import app
from framework.prepare import prepare
from framework.rollouts import Rollouts
from tests.framework.agent_runs import RECIPES, prepared

PLUGIN = """
import torch
from gymnasium.spaces import Discrete
from torch.distributions import Categorical, Normal

from framework import Baseline, FittedBaseline, Policy, Update
from framework import register_baseline, register_policy, register_update


class Logits(Policy):
    def __init__(self, choices):
        super().__init__()
        self.logits = torch.nn.Parameter(torch.zeros(choices))

    def forward(self, observation):
        return Categorical(logits=self.logits.expand(*observation.shape[:-1], -1))


@register_policy("whole")
class Whole(Logits):
    def __init__(self):
        super().__init__(2)


@register_policy("three_logits")
class ThreeLogits(Logits):
    def __init__(self):
        super().__init__(3)


@register_policy("unlikely")
class Unlikely(ThreeLogits):
    def forward(self, observation):
        return Categorical(logits=self.logits.expand(*observation.shape[:-1], -1) + torch.tensor([2.0, 2.0, 0.0]))


@register_policy("of_discrete")
class OfDiscrete(Logits):
    def __init__(self, *, action_space: Discrete):
        super().__init__(int(action_space.n))


@register_policy("tensor")
class TensorPolicy(Whole):
    def forward(self, observation):
        return self.logits


@register_policy("floating")
class Floating(Whole):
    def forward(self, observation):
        return Normal(self.logits[0].expand(observation.shape[:-1]), 1.0)


@register_policy("one_for_all")
class OneForAll(Whole):
    def forward(self, observation):
        return Categorical(logits=self.logits)


@register_baseline("turned")
class Turned(Baseline):
    def forward(self, samples):
        return samples.returns.T * 0


@register_baseline("mean_loss")
class MeanLoss(FittedBaseline):
    bootstraps = True

    def __init__(self):
        super().__init__()
        self.value = torch.nn.Parameter(torch.zeros(()))

    def forward(self, samples):
        return self.value.expand_as(samples.returns)

    def loss(self, samples):
        return (self(samples) - samples.returns).square().mean()


class Short(Update):
    steps = None

    def loss(self, decisions):
        return -decisions.advantage * decisions.log_prob


@register_update("one_tensor")
class OneTensor(Short):
    def forward(self, decisions):
        return self.loss(decisions)


@register_update("summed")
class Summed(Short):
    def forward(self, decisions):
        return self.loss(decisions).sum(), {}


@register_update("constant_loss")
class Constant(Short):
    def forward(self, decisions):
        return self.loss(decisions).detach(), {}


@register_update("a_list")
class AList(Short):
    def forward(self, decisions):
        return self.loss(decisions), ["kl"]


@register_update("many_numbers")
class ManyNumbers(Short):
    def forward(self, decisions):
        return self.loss(decisions), {"size": decisions.advantage}


@register_update("a_float")
class AFloat(Short):
    def forward(self, decisions):
        return self.loss(decisions), {"size": 1.0}
"""
RECIPE = """\
name: tried
learner: policy_gradient
environment: {id: CartPole-v1, num_envs: 3}
policy: whole
update: reinforce
discount: 0.9
optimizer: {name: sgd, lr: 0.1}
evaluation: null
trainer: {max_steps: 1, accelerator: cpu}
"""
FITTED = ["update={name: a2c}", "baseline=mean_loss"]
BOX = "environment.id=Pendulum-v1"


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    (tmp_path / "broken.py").write_text(PLUGIN)
    path = tmp_path / "tried.yaml"
    path.write_text(RECIPE)
    return path


def output(recipe: Path, *overrides: str) -> str:
    """What `fw run` says of it; a traceback would be an exit code of 1."""
    found = CliRunner().invoke(
        app, ["run", str(recipe), *overrides, "--plugin", str(recipe.parent / "broken.py"), "--out", "runs"]
    )
    assert found.exit_code == 2, found.output
    assert not Path("runs").exists()
    return str(found.stderr)


@pytest.mark.usefixtures("own_registries")
@pytest.mark.parametrize(
    ("overrides", "where", "report"),
    [
        (
            ["policy=three_logits"],
            "ThreeLogits.forward",
            "expected actions in Discrete(2); found 2 among them; write as many preferences as there are actions",
        ),
        (
            ["policy=unlikely"],
            "Unlikely.forward",
            "expected actions in Discrete(2); found 2 among them; write as many preferences as there are actions",
        ),
        (
            ["policy=tensor"],
            "TensorPolicy.forward",
            "expected a torch.distributions.Distribution of actions; found a tensor of shape [2]; "
            "write return CategoricalLogits(logits), say",
        ),
        (
            ["policy=floating"],
            "Floating.forward",
            "expected integers from 0, of Discrete(2); found actions of torch.float32; "
            "write return a distribution over choices, such as CategoricalLogits(logits)",
        ),
        (
            ["policy=one_for_all"],
            "OneForAll.forward",
            "expected actions of shape [3] for 3 observations, in Discrete(2); found actions of shape []; "
            "write a distribution that has one action for each observation",
        ),
        (
            ["baseline=turned"],
            "Turned.forward",
            "expected a tensor [K, B], here [3, 2]; found a tensor of shape [2, 3]; "
            "write one number for each of the samples' returns: samples.returns.shape",
        ),
        (
            FITTED,
            "MeanLoss.loss",
            "expected a tensor [K, B], here [6, 1]; found a tensor of shape []; "
            "write one number for each of the samples' returns: samples.returns.shape",
        ),
        (
            ["update=one_tensor"],
            "OneTensor.forward",
            "expected a pair, the loss and its metrics; found a tensor of shape [6]; write return loss, {}",
        ),
        (
            ["update=summed"],
            "Summed.forward",
            "expected a loss for each decision, here [6]; found a tensor of shape []; "
            "write no mean and no sum: the learner averages over the decisions",
        ),
        (
            ["update=constant_loss"],
            "Constant.forward",
            "expected a loss with a gradient; found one that depends on no parameter; "
            "write compute it from decisions.log_prob or decisions.policy, without detach",
        ),
        (
            ["update=a_list"],
            "AList.forward",
            "expected metrics by name, a dict; found a list; write return loss, {}",
        ),
        (
            ["update=many_numbers"],
            "ManyNumbers.forward",
            "expected the metric 'size' as a tensor []; found a tensor of shape [6]; "
            "write decisions.mean(size) for the mean over the decisions",
        ),
        (
            ["update=a_float"],
            "AFloat.forward",
            "expected the metric 'size' as a tensor []; found a float; "
            "write decisions.mean(size) for the mean over the decisions",
        ),
    ],
)
def test_a_broken_part_is_named_with_expected_found_and_what_to_write(
    recipe: Path, overrides: list[str], where: str, report: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe.parent)
    said = output(recipe, *overrides)
    method = where.partition(".")[2]
    line = int(said.partition("broken.py:")[2].partition(":")[0])
    assert PLUGIN.splitlines()[line - 1].startswith(f"    def {method}(")
    assert said == f"a plugin breaks a rule: {recipe.parent / 'broken.py'}:{line}: {where}: {report}\n"


@pytest.mark.usefixtures("own_registries")
def test_a_space_of_another_kind_than_the_constructor_asks_for_is_refused(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(recipe.parent)
    said = output(recipe, "policy=of_discrete", BOX)
    assert "policy.action_space: this value is refused" in said
    assert "found:    Box(-2.0, 2.0, (1,), float32)\n       expected: Discrete\n" in said
    assert "write:    another environment.id, or another policy\n" in said


@pytest.mark.usefixtures("own_registries")
def test_whole_parts_are_found_whole(recipe: Path) -> None:
    for overrides in ([], ["policy=of_discrete"]):
        prepare(recipe, overrides, [recipe.parent / "broken.py"], recipe.parent)


@pytest.mark.parametrize("name", RECIPES)
def test_nothing_of_the_watch_is_left(tmp_path: Path, name: str) -> None:
    agent = prepared(tmp_path, RECIPES[name]).built.learner
    before = {part: set(vars(part)) for part in agent.modules()}
    Rollouts(agent=agent, seed=0).try_out()  # type: ignore[arg-type]
    for part in agent.modules():
        assert set(vars(part)) == before[part]
        assert not part._forward_hooks
