"""A batch that goes through the networks in parts gives the step of the whole batch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn
from torch.distributions import Distribution

from framework import run as running
from framework.prepare import prepare
from tests.framework.comparison import assert_same, run_in, state_of
from tests.framework.processes import on_ranks
from tests.framework.ranks import train_each

RECIPE = """
name: small
learner: latent
data: {name: digits, batch_size: 64, binarize: dynamic}
latent_dim: 3
encoder: {name: mlp, hidden: [16], dropout: 0.2}
decoder: {name: mlp, hidden: [16], dropout: 0.1}
prior: {name: standard_normal}
divergences: {kl: {}}
optimizer: {name: adam, lr: 0.002}
trainer: {max_steps: 30, log_every: 7, accelerator: cpu, precision: 64}
"""
# Sums of 64 terms in another order, over thirty steps of Adam, on weights of size 1.
TOLERANCE = 1e-12


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


# The gradient's norm is above 1 in all these steps, so that each is clipped.
@pytest.mark.parametrize("clip", [[], ["trainer.gradient_clip=1.0"]], ids=["not clipped", "clipped"])
def test_parts_of_a_batch_take_the_step_of_the_whole(recipe: Path, tmp_path: Path, clip: list[str]) -> None:
    whole = tmp_path / "whole"
    on_ranks(1, train_each, [recipe], whole, clip)
    for count, microbatch in ((1, 16), (2, 8)):
        root = tmp_path / f"{count} x {microbatch}"
        on_ranks(count, train_each, [recipe], root, [*clip, f"trainer.microbatch={microbatch}"])
        assert_same(run_in(root, "small"), run_in(whole, "small"), TOLERANCE)


# The labels of a conditional model go with their examples.
def test_parts_of_a_labelled_batch_take_the_step_of_the_whole(recipe: Path, tmp_path: Path) -> None:
    for name, overrides in (("whole", []), ("parts", ["trainer.microbatch=16"])):
        on_ranks(1, train_each, [recipe], tmp_path / name, ["conditional=true", *overrides])
    assert_same(run_in(tmp_path / "parts", "small"), run_in(tmp_path / "whole", "small"), TOLERANCE)


def test_clipping_changes_what_is_learned(recipe: Path, tmp_path: Path) -> None:
    for name, clip in (("free", []), ("clipped", ["trainer.gradient_clip=1.0"])):
        on_ranks(1, train_each, [recipe], tmp_path / name, ["optimizer={name: sgd, lr: 0.01}", *clip])
    free, clipped = (state_of(run_in(tmp_path / name, "small"))["learner"] for name in ("free", "clipped"))
    assert max(float((free[name] - clipped[name]).abs().max()) for name in free) > 1e-2


def test_the_networks_see_no_more_examples_at_a_time(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "draw", lambda *arguments: [])
    monkeypatch.setattr(running, "draw_learning_curves", lambda *arguments: None)
    prepared = prepare(recipe, ["trainer.microbatch=16", "trainer.max_steps=2"], [], recipe.parent)
    sizes: list[int] = []

    def note(encoder: nn.Module, inputs: tuple[torch.Tensor], q: Distribution) -> None:
        if encoder.training:
            sizes.append(len(inputs[0]))

    prepared.built.learner.get_submodule("encoder").register_forward_hook(note)
    running.run(prepared, recipe.parent / "runs", Console(quiet=True))
    assert sizes == [16] * 8
