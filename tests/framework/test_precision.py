"""Half precision is in the networks alone, in training alone; and a step that overflows is left out."""

from __future__ import annotations

import math
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import nn

from framework import Divergence, checkpoint
from framework import run as running
from framework.adversarial import AdversarialDivergence
from framework.errors import NonFiniteError
from framework.prepare import Prepared, prepare
from framework.resume import prepare_resumption, resume
from tests.framework.comparison import records, state_of

RECIPE = """
name: small
learner: latent
data: {name: digits, batch_size: 64, binarize: dynamic}
latent_dim: 3
encoder: {name: mlp, hidden: [16]}
decoder: {name: mlp, hidden: [16]}
prior: {name: standard_normal}
divergences: {kl: {}}
optimizer: {name: adam, lr: 0.01}
trainer: {max_steps: 30, log_every: 5, accelerator: cpu}
"""
MORE = "divergences={mmd: {weight: 10}, adversarial: {hidden: [8], optimizer: {name: adam, lr: 0.001}}}"
HALF = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
# Products of bfloat16 are wrong by 2⁻⁹ = 0.002 each, of float16 by 2⁻¹²; their sums, and thirty steps on, by less than
# this share of the objective. float32's own objective falls by 15 % meanwhile.
TOLERANCE = {"bf16-mixed": 5e-3, "16-mixed": 1e-3}
HUGE = 2.0**40  # a scale of the loss that no float16 gradient survives: it ends at 65,504


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "draw", lambda *arguments: [])
    monkeypatch.setattr(running, "draw_learning_curves", lambda *arguments: None)


def prepared(folder: Path, precision: int | str, *overrides: str) -> Prepared:
    path = folder / "small.yaml"
    path.write_text(RECIPE)
    return prepare(path, [f"trainer.precision={precision}", *overrides], [], folder)


def run(prepared: Prepared, folder: Path) -> Path:
    directory = running.run(prepared, folder / "runs", Console(quiet=True)).directory
    assert directory is not None
    return directory


def objectives(run: Path, split: str) -> list[float]:
    return [record[f"{split}/objective"] for record in records(run) if record["split"] == split]


@pytest.mark.parametrize("precision", list(HALF))
def test_training_in_half_precision_is_near_that_in_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    # At torch's 65,536 the first steps overflow and are left out.
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=256.0))
    full, half = (run(prepared(tmp_path, chosen), tmp_path) for chosen in (32, precision))
    for split in ("train", "validation", "test"):
        values = objectives(half, split)
        assert values == pytest.approx(objectives(full, split), rel=TOLERANCE[precision])
        assert values != objectives(full, split), "it was trained in full precision"
    train = objectives(half, "train")
    assert len(train) == 7  # each five steps, and the end of the epoch
    assert train[-1] < 0.9 * train[0]
    assert train == sorted(train, reverse=True)


def tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for one in inner for tensor in tensors(one)]


@pytest.mark.parametrize("precision", list(HALF))
def test_what_is_kept_is_in_full_precision(tmp_path: Path, precision: str) -> None:
    state = state_of(run(prepared(tmp_path, precision, MORE), tmp_path))
    for part in ("learner", "optimizers"):
        kept = tensors(state[part])
        assert len(kept) > 10
        assert {tensor.dtype for tensor in kept} == {torch.float32}


@pytest.mark.parametrize("precision", [*HALF, 32])
def test_where_half_precision_is(tmp_path: Path, precision: int | str) -> None:
    """Networks in training are in half precision; latents, divergences, critics and evaluation are not."""
    ready = prepared(tmp_path, precision, MORE, "trainer.max_steps=2")
    learner = ready.built.learner
    seen: dict[tuple[str, bool], set[torch.dtype]] = defaultdict(set)

    def note(what: str, module: nn.Module, inputs: Any, output: Any) -> None:
        latents = [output.mean, output.stddev] if what == "posterior" else []
        noted = latents or tensors(inputs if what == "latents" else output)
        seen[what, learner.training].update(tensor.dtype for tensor in noted)

    def note_terms(what: str, divergence: nn.Module, inputs: Any, output: Any) -> None:
        q, _, z = inputs
        seen[what, learner.training].update((q.mean.dtype, z.dtype, output.dtype))
        assert not torch.is_autocast_enabled("cpu"), what

    critics = 0
    for name, module in learner.named_modules():
        if name in ("encoder", "decoder"):
            what = {"encoder": "posterior", "decoder": "latents"}[name]
            module.register_forward_hook(partial(note, what))
        elif isinstance(module, Divergence):
            module.register_forward_hook(partial(note_terms, type(module).__name__))
            critics += isinstance(module, AdversarialDivergence)
        elif isinstance(module, nn.Linear):
            what = "critic" if "critic" in name else name.split(".")[0]
            module.register_forward_hook(partial(note, what))
    run(ready, tmp_path)
    assert critics == 1
    half = HALF.get(str(precision), torch.float32)
    full = {("posterior", True), ("latents", True), ("critic", True), ("MMD", True), ("KL", True)}
    assert {key for key in seen if key[1]} == full | {("Adversarial", True), ("encoder", True), ("decoder", True)}
    for (what, training), dtypes in seen.items():
        expected = half if training and what in ("encoder", "decoder") else torch.float32
        assert dtypes == {expected}, (what, training)
    assert {what for what, training in seen if not training} == {what for what, training in seen if training}


def initial_weights(ready: Prepared) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in ready.built.learner.state_dict().items()}


def test_a_step_that_overflows_is_left_out_and_the_scale_halved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = prepared(tmp_path, "16-mixed", "trainer.max_steps=1", "trainer.gradient_clip=1.0")
    start = initial_weights(ready)
    with monkeypatch.context() as patched:
        patched.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=HUGE))
        directory = run(ready, tmp_path)
    state = state_of(directory)
    assert state["learner"].keys() == start.keys()
    assert all(torch.equal(value, start[name]) for name, value in state["learner"].items())
    assert not any(tensor.any() for tensor in tensors(state["optimizers"])), "a statistic was kept of what was left out"
    assert state["optimizers"]["main"]["scaler"]["scale"] == HUGE / 2
    assert records(directory)[0]["train/overflowed"] == 1
    # From here on the scale is the checkpoint's, and no longer the one that a scaler starts with.
    resume(prepare_resumption(directory, ["trainer.max_steps=3"], tmp_path), Console(quiet=True))
    assert state_of(directory)["optimizers"]["main"]["scaler"]["scale"] == HUGE / 8
    resume(prepare_resumption(directory, ["trainer.max_steps=45"], tmp_path), Console(quiet=True))
    state = state_of(directory)
    assert 1 <= state["optimizers"]["main"]["scaler"]["scale"] <= 2.0**20
    moved = max(float((value - start[name]).abs().max()) for name, value in state["learner"].items())
    assert 0.05 < moved < 1, "some fifteen steps of 0.01"


def scales(directory: Path) -> dict[str, float | None]:
    """What each optimiser's scaler multiplies its loss by, in the last checkpoint."""
    return {name: state["scaler"].get("scale") for name, state in state_of(directory)["optimizers"].items()}


def go_on(directory: Path, *overrides: str) -> None:
    resume(prepare_resumption(directory, overrides, directory), Console(quiet=True))


def steps_of(directory: Path) -> int:
    steps: int = state_of(directory)["position"]["counters"]["optimizer_steps"]
    return steps


@pytest.fixture
def with_scale_of_256(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scale that no step here overflows by, and that is not grown within 2000 steps."""
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=256.0))


@pytest.mark.usefixtures("with_scale_of_256")
def test_a_run_goes_on_in_another_precision(tmp_path: Path) -> None:
    directory = run(prepared(tmp_path, 32, MORE, "trainer.max_steps=2"), tmp_path)
    assert scales(directory) == {"main": None, "critic/adversarial": None}
    go_on(directory, "trainer.precision=16-mixed", "trainer.max_steps=4")
    assert scales(directory) == {"main": 256.0, "critic/adversarial": 256.0}
    go_on(directory, "trainer.precision=32", "trainer.max_steps=6")
    assert scales(directory) == {"main": None, "critic/adversarial": None}
    assert steps_of(directory) == 6
    assert {int(one["step"]) for one in state_of(directory)["optimizers"]["main"]["state"].values()} == {6}


@pytest.mark.parametrize(("precision", "scale"), [(32, None), ("16-mixed", 256.0)])
@pytest.mark.usefixtures("with_scale_of_256")
def test_a_checkpoint_of_before_there_were_scalers_goes_on(
    tmp_path: Path, precision: int | str, scale: float | None
) -> None:
    directory = run(prepared(tmp_path, 32, MORE, "trainer.max_steps=2"), tmp_path)
    state = state_of(directory)
    for kept in state["optimizers"].values():
        del kept["scaler"]
    checkpoint.save(state, directory / "checkpoints", best=False)
    go_on(directory, f"trainer.precision={precision}", "trainer.max_steps=4")
    assert scales(directory) == {"main": scale, "critic/adversarial": scale}
    assert steps_of(directory) == 4


@pytest.mark.parametrize("precision", [32, *HALF])
def test_a_loss_that_is_not_finite_ends_the_run(tmp_path: Path, precision: int | str) -> None:
    ready = prepared(tmp_path, precision)
    with torch.no_grad():
        next(ready.built.learner.parameters()).fill_(math.nan)
    with pytest.raises(NonFiniteError, match=r"optimiser step 1: the loss is nan"):
        run(ready, tmp_path)


def test_gradients_that_overflow_at_the_lowest_scale_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=4.0))
    ready = prepared(tmp_path, "16-mixed")
    next(ready.built.learner.parameters()).register_hook(lambda gradient: gradient * math.inf)
    # Scales of 4, 2 and 1 are left out and halved.
    with pytest.raises(NonFiniteError, match=r"optimiser step 4: the loss is \d\d\.\d+, the norm of its gradient"):
        run(ready, tmp_path)
