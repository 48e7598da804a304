"""Bounds of several samples and discrete latents: two processes, and microbatches, train the model that one would."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.framework.comparison import assert_same, run_in
from tests.framework.processes import on_ranks
from tests.framework.ranks import train_each

RECIPE = """
name: {NAME}
learner: latent
data: {name: digits, batch_size: 32, binarize: dynamic}
latent_dim: 6
encoder: {name: mlp, hidden: [16], dropout: 0.2, {POSTERIOR}}
decoder: {name: mlp, hidden: [16], dropout: 0.1}
prior: {{PRIOR}}
divergences: {kl: {}}
optimizer: {name: adam, lr: 0.002}
trainer: {max_steps: 12, log_every: 4, accelerator: cpu, precision: 64}
{OPTIONS}
"""
GAUSSIAN = ("posterior: gaussian", "name: standard_normal")
BITS = ("posterior: bernoulli", "name: bernoulli, learned: true")
ONE_HOT = ("posterior: categorical, categories: 3", "name: categorical, categories: 3")
SCORE = "estimator: score_function"
VALUE = "{name: value, trunk: {name: mlp, hidden: [8]}}"
MODELS = {
    "iwae": (*GAUSSIAN, "bound: iwae\nsamples: 3"),
    "dreg": (*GAUSSIAN, "bound: dreg\nsamples: 3"),
    "relaxed": (*BITS, "temperature: {name: linear, start: 1.0, end: 0.5, steps: 10}"),
    "relaxed-one-hot": (*ONE_HOT, "temperature: 0.5"),
    "straight-through": (*ONE_HOT, "estimator: straight_through"),
    "score-function": (*BITS, SCORE),
    "leave-one-out": (*BITS, f"{SCORE}\nsamples: 3\nbaseline: leave_one_out"),
    "moving-average": (*ONE_HOT, f"{SCORE}\nsamples: 2\nbaseline: moving_average"),
    "value": (*BITS, f"{SCORE}\nbaseline: {VALUE}"),
}
# Sums in another order over twelve steps of Adam, on weights of size 1.
TOLERANCE = 1e-12


def recipe(folder: Path, name: str) -> Path:
    posterior, prior, options = MODELS[name]
    text = RECIPE.replace("{NAME}", name).replace("{POSTERIOR}", posterior).replace("{PRIOR}", prior)
    path = folder / f"{name}.yaml"
    path.write_text(text.replace("{OPTIONS}", options))
    return path


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("latent")
    found = {name: folder / name for name in ("one", "two", "parts")}
    on_ranks(1, train_each, [recipe(folder, name) for name in MODELS], found["one"], [])
    on_ranks(2, train_each, [recipe(folder, name) for name in MODELS], found["two"], [])
    in_parts = [recipe(folder, name) for name in MODELS if "baseline" not in MODELS[name][2]]
    on_ranks(1, train_each, in_parts, found["parts"], ["trainer.microbatch=8"])
    return found


@pytest.mark.parametrize("name", list(MODELS))
def test_two_processes_train_the_same_model(roots: dict[str, Path], name: str) -> None:
    assert_same(run_in(roots["two"], name), run_in(roots["one"], name), TOLERANCE)


@pytest.mark.parametrize("name", [name for name in MODELS if "baseline" not in MODELS[name][2]])
def test_microbatches_train_the_same_model(roots: dict[str, Path], name: str) -> None:
    assert_same(run_in(roots["parts"], name), run_in(roots["one"], name), TOLERANCE)
