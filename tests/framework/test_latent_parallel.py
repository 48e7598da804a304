"""Several samples, discrete latents, learned priors: two processes, or microbatches, train the model that one would."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial, reduce
from importlib.util import find_spec
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
encoder: {{ENCODER}}
decoder: {name: mlp, hidden: [16], dropout: 0.1}
prior: {{PRIOR}}
divergences: {{DIVERGENCE}: {}}
optimizer: {name: adam, lr: 0.002}
trainer: {max_steps: 12, log_every: 4, accelerator: cpu, precision: 64}
{OPTIONS}
"""
MLP = "name: mlp, hidden: [16], dropout: 0.2"
SCORE = "estimator: score_function"
VALUE = "{name: value, trunk: {name: mlp, hidden: [8]}}"


@dataclass(frozen=True)
class Model:
    """What a recipe says."""

    options: str = ""
    encoder: str = f"{MLP}, posterior: gaussian"
    prior: str = "name: standard_normal"
    divergence: str = "kl"


bits = partial(Model, encoder=f"{MLP}, posterior: bernoulli", prior="name: bernoulli, learned: true")
one_hot = partial(
    Model, encoder=f"{MLP}, posterior: categorical, categories: 3", prior="name: categorical, categories: 3"
)
vampprior = partial(Model, prior="name: vampprior, components: 8")
MODELS = {
    "iwae": Model("bound: iwae\nsamples: 3"),
    "dreg": Model("bound: dreg\nsamples: 3"),
    "relaxed": bits("temperature: {name: linear, start: 1.0, end: 0.5, steps: 10}"),
    "relaxed-one-hot": one_hot("temperature: 0.5"),
    "straight-through": one_hot("estimator: straight_through"),
    "score-function": bits(SCORE),
    "leave-one-out": bits(f"{SCORE}\nsamples: 3\nbaseline: leave_one_out"),
    "moving-average": one_hot(f"{SCORE}\nsamples: 2\nbaseline: moving_average"),
    "value": bits(f"{SCORE}\nbaseline: {VALUE}"),
    "vampprior": vampprior(),  # as many pseudo-inputs as a microbatch has examples
    "vampprior-conditional-dreg": vampprior("conditional: true\nbound: dreg\nsamples: 3"),
    "flow-iwae": Model("bound: iwae\nsamples: 3", prior="name: flow, kind: coupling, hidden: [8]"),
    "corrupted": Model(
        encoder=f"name: corrupted, noise: gaussian, amount: 0.3, of: {{{MLP}}}", divergence="jensen_shannon"
    ),
}
# Averages over batches, and the mixture of a batch, are of whole ones.
WHOLE = {"moving-average", "corrupted"}
TRAINED = [name for name in MODELS if "flow" not in name or find_spec("zuko") is not None]
# Sums in another order over twelve steps of Adam, on weights of size 1.
TOLERANCE = 1e-12


def recipe(folder: Path, name: str) -> Path:
    model = MODELS[name]
    said = {
        "{NAME}": name,
        "{ENCODER}": model.encoder,
        "{PRIOR}": model.prior,
        "{DIVERGENCE}": model.divergence,
        "{OPTIONS}": model.options,
    }
    path = folder / f"{name}.yaml"
    path.write_text(reduce(lambda text, key: text.replace(key, said[key]), said, RECIPE))
    return path


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("latent")
    found = {name: folder / name for name in ("one", "two", "parts")}
    on_ranks(1, train_each, [recipe(folder, name) for name in TRAINED], found["one"], [])
    on_ranks(2, train_each, [recipe(folder, name) for name in TRAINED], found["two"], [])
    in_parts = [recipe(folder, name) for name in TRAINED if name not in WHOLE]
    on_ranks(1, train_each, in_parts, found["parts"], ["trainer.microbatch=8"])
    return found


@pytest.mark.parametrize("name", list(MODELS))
def test_two_processes_train_the_same_model(roots: dict[str, Path], name: str) -> None:
    if name not in TRAINED:
        pytest.skip("the extra `flow` is not installed")
    assert_same(run_in(roots["two"], name), run_in(roots["one"], name), TOLERANCE)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in WHOLE])
def test_microbatches_train_the_same_model(roots: dict[str, Path], name: str) -> None:
    if name not in TRAINED:
        pytest.skip("the extra `flow` is not installed")
    assert_same(run_in(roots["parts"], name), run_in(roots["one"], name), TOLERANCE)
