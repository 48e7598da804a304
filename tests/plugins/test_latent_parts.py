"""Parts of latent models in recipes: they train, in microbatches as in whole batches, and are saved and judged."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from framework import run as running
from framework.prepare import prepare
from tests.framework.comparison import assert_same, run_in

RECIPE = """
name: small
learner: latent
data: {name: digits, batch_size: 64, binarize: dynamic}
latent_dim: 3
encoder: {name: mlp, hidden: [16], dropout: 0.2}
decoder: {name: mlp, hidden: [16]}
prior: {name: standard_normal}
divergences: {kl: {}}
optimizer: {name: adam, lr: 0.002}
trainer: {max_steps: 6, accelerator: cpu, precision: 64}
"""
GREY = "data.binarize=none"
MMD = "divergences.kl={name: mmd, weight: 10}"
CORRUPTED = "{name: corrupted, noise: %s, amount: 0.3, of: {name: mlp, hidden: [16], activation: gated}}"
# Sums of 64 terms in another order, over six steps of Adam, on weights of size 1.
TOLERANCE = 1e-12
CASES = {
    "vampprior": ["prior={name: vampprior, components: 16}"],  # as many as a microbatch has examples
    "vampprior, conditional": ["prior={name: vampprior, components: 5}", "conditional=true"],
    "vampprior, corrupted": ["prior={name: vampprior, components: 5}", f"encoder={CORRUPTED % 'gaussian'}"],
    "corrupted, conditional": [f"encoder={CORRUPTED % 'masking'}", "conditional=true"],
    "corrupted": [f"encoder={CORRUPTED % 'masking'}"],
    "flow": ["prior={name: flow, kind: coupling, hidden: [8]}"],
    "autoregressive": ["decoder={name: autoregressive, hidden: [16]}"],
    "autoregressive, conditional": ["decoder={name: autoregressive, hidden: [16]}", "conditional=true"],
    "autoregressive, iwae": ["decoder={name: autoregressive, hidden: [16]}", "bound=iwae", "samples=3"],
    "resnet": ["encoder={name: resnet, channels: [8]}", "decoder={name: resnet, channels: [8]}"],
    "categorical": ["decoder.likelihood=categorical", GREY],
    "discretized logistic": ["decoder.likelihood=discretized_logistic", GREY],
}


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for drawing in ("draw", "draw_learning_curves"):
        monkeypatch.setattr(running, drawing, lambda *arguments: [])
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def train(recipe: Path, root: Path, overrides: list[str]) -> Path:
    running.run(prepare(recipe, overrides, [], recipe.parent), root, Console(quiet=True))
    return run_in(root, "small")


@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES)
def test_parts_of_a_batch_take_the_step_of_the_whole(recipe: Path, tmp_path: Path, overrides: list[str]) -> None:
    if "flow" in overrides[0]:
        pytest.importorskip("zuko", reason="the extra `flow` is not installed")
    whole = train(recipe, tmp_path / "whole", overrides)
    parts = train(recipe, tmp_path / "parts", [*overrides, "trainer.microbatch=16"])
    assert_same(parts, whole, TOLERANCE)


@pytest.mark.parametrize(
    "overrides",
    [
        ["decoder.likelihood=gaussian", "decoder.sigma=optimal", GREY],
        ["prior=uniform", MMD, "encoder.posterior=deterministic"],
    ],
    ids=["optimal sigma", "uniform"],
)
def test_parts_that_need_whole_batches_train(recipe: Path, tmp_path: Path, overrides: list[str]) -> None:
    train(recipe, tmp_path / "runs", overrides)


def learner_of(recipe: Path, *overrides: str) -> nn.Module:
    return prepare(recipe, list(overrides), [], recipe.parent).built.learner


def test_a_vampprior_adds_its_pseudo_inputs_and_nothing_else(recipe: Path) -> None:
    """Once in the parameters, and once in the state: a copy, or another learner with the state, has the same p(z)."""
    plain, learner = learner_of(recipe), learner_of(recipe, *CASES["vampprior"])
    assert set(learner.state_dict()) - set(plain.state_dict()) == {"prior.pseudo_inputs"}
    counts = [sum(parameter.numel() for parameter in one.parameters()) for one in (learner, plain)]
    assert counts[0] - counts[1] == 16 * 64
    other = learner_of(recipe, *CASES["vampprior"], "seed=1")
    other.load_state_dict(learner.state_dict())
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    densities = [one.eval().prior().log_prob(z) for one in (learner, other, copy.deepcopy(learner))]  # type: ignore[operator]
    assert torch.equal(densities[0], densities[1])
    assert torch.equal(densities[0], densities[2])
