"""A run that is killed and resumed is the unbroken run, to the bit."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from framework import checkpoint
from framework.document import dump_document
from framework.errors import RecipeError
from framework.prepare import prepare
from framework.resume import prepare_resumption
from framework.schema import load_recipe
from tests.framework.interruption import MOMENTS, go_on, quiet, start, train
from tests.framework.processes import on_ranks
from tests.framework.ranks import place

RECIPE = """
name: small
learner: latent
data: {name: digits, batch_size: 64, binarize: dynamic}
latent_dim: 3
encoder: {name: mlp, hidden: [16]}
decoder: {name: mlp, hidden: [16]}
prior: {name: standard_normal}
divergences:
  {DIVERGENCES}
optimizer: {name: adam, lr: {name: linear, start: 0.01, end: 0.001, steps: 50}}
trainer: {max_epochs: 4, log_every: 10, checkpoint_every: 15, accelerator: cpu}
"""
OBJECTIVES = {
    "vae": "kl: {weight: {name: linear, start: 0, end: 1, steps: 60}}",
    "infovae": "infovae: {alpha: 0, lambda: 10, of: {name: mmd}}",
}


@pytest.fixture(scope="module", params=list(OBJECTIVES))
def recipe(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp(request.param) / "recipe.yaml"
    path.write_text(RECIPE.replace("{DIVERGENCES}", OBJECTIVES[request.param]))
    return path


@pytest.fixture(scope="module")
def unbroken(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("unbroken")
    assert start(train, recipe, root, [], None) == 0
    return run_in(root)


CRITIC = "hidden: [4], optimizer: {name: adam, lr: 0.001}"
CRITICS = {
    "adversarial": f"adversarial: {{{CRITIC}}}",
    "several": f"""kl: {{}}
  first: {{name: adversarial, {CRITIC}}}
  second: {{name: adversarial, {CRITIC}}}
  infovae: {{alpha: 0, lambda: 2, of: {{name: adversarial, {CRITIC}}}}}""",
    "nested": f"infovae: {{alpha: 0, lambda: 2, of: {{name: adversarial, {CRITIC}}}}}",
}


@pytest.fixture(scope="module")
def with_critics(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run for each place that a critic may have in an objective."""
    runs = {}
    for label, terms in CRITICS.items():
        root = tmp_path_factory.mktemp(label)
        path = root / "recipe.yaml"
        path.write_text(RECIPE.replace("{DIVERGENCES}", terms))
        assert start(train, path, root, ["trainer.max_epochs=1"], None) == 0
        runs[label] = run_in(root)
    return runs


def run_in(root: Path) -> Path:
    (run,) = (root / "small").iterdir()
    return run


def weights(run: Path) -> dict[str, torch.Tensor]:
    learner: dict[str, torch.Tensor] = checkpoint.load(run / "checkpoints" / "last.ckpt")["learner"]
    return learner


def records(run: Path) -> list[dict[str, Any]]:
    """The records without the one value that is a time."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("throughput/")} for line in lines]


def assert_same(run: Path, unbroken: Path) -> None:
    expected = weights(unbroken)
    assert expected, "the unbroken run has weights"
    for name, value in weights(run).items():
        assert torch.equal(value, expected[name]), name
    assert records(run) == records(unbroken)
    assert (run / "summary.json").exists()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_resumes_to_the_bit(recipe: Path, unbroken: Path, tmp_path: Path, moment: str) -> None:
    assert start(train, recipe, tmp_path, [], moment) == -signal.SIGKILL
    run = run_in(tmp_path)
    assert not (run / "summary.json").exists()
    assert start(go_on, run, []) == 0
    assert_same(run, unbroken)


def test_a_run_that_is_killed_again_and_again_resumes_to_the_bit(recipe: Path, unbroken: Path, tmp_path: Path) -> None:
    assert start(train, recipe, tmp_path, [], "in validation") == -signal.SIGKILL
    run = run_in(tmp_path)
    # Each session gets a little further: killed within a record's window, before a record is written.
    for _ in range(3):
        assert start(go_on, run, [], "before the first checkpoint") == -signal.SIGKILL
    assert start(go_on, run, [], "in a training step") == -signal.SIGKILL
    assert start(go_on, run, []) == 0
    assert_same(run, unbroken)


def test_a_conditional_run_resumes_to_the_bit(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.replace("{DIVERGENCES}", OBJECTIVES["vae"]))
    overrides = ["conditional=true"]
    for folder, moment, code in (("unbroken", None, 0), ("killed", "in a training step", -signal.SIGKILL)):
        assert start(train, path, tmp_path / folder, overrides, moment) == code
    assert start(go_on, run_in(tmp_path / "killed"), []) == 0
    assert_same(run_in(tmp_path / "killed"), run_in(tmp_path / "unbroken"))


def test_patience_that_is_at_an_end_is_so_after_a_kill(recipe: Path, tmp_path: Path) -> None:
    impatient = [
        "trainer.early_stopping=1",
        "trainer.max_epochs=9",
        "optimizer.lr={name: linear, start: 0.01, end: 3.0, steps: 80}",
    ]
    assert start(train, recipe, tmp_path / "unbroken", impatient, None) == 0
    assert start(train, recipe, tmp_path / "killed", impatient, "after the last checkpoint") == -signal.SIGKILL
    run = run_in(tmp_path / "killed")
    assert start(go_on, run, []) == 0
    assert records(run)[-1]["epoch"] < 9
    assert_same(run, run_in(tmp_path / "unbroken"))


def notes_of_the_last_session(run: Path) -> list[str]:
    notes: list[str] = json.loads((run / "environment.json").read_text())["resumed"][-1]["notes"]
    return notes


def test_another_optimiser_starts_without_the_statistics_of_the_old_one(unbroken: Path, tmp_path: Path) -> None:
    run = shutil.copytree(unbroken, tmp_path / "run")
    assert start(go_on, run, ["optimizer={name: sgd, lr: 0.001, momentum: 0.5}", "trainer.max_epochs=5"]) == 0
    assert "the optimizer main was Adam and is SGD: it starts without statistics" in notes_of_the_last_session(run)


def test_another_objective_has_records_and_a_best_checkpoint_of_its_own(
    recipe: Path, unbroken: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    changed = ["divergences.mutual_information.weight=-1", "trainer.max_epochs=5"]
    assert start(go_on, run, changed) == 0
    assert "divergences changed: the best checkpoint is chosen anew" in notes_of_the_last_session(run)
    best = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["position"]["counters"]["epoch"] == 5


RENAMED = f"divergences={{adversarial: null, adv: {{name: adversarial, {CRITIC}}}}}"


def test_a_critic_under_another_label_starts_without_statistics(with_critics: dict[str, Path], tmp_path: Path) -> None:
    run = shutil.copytree(with_critics["adversarial"], tmp_path / "run")
    assert start(go_on, run, [RENAMED, "trainer.max_epochs=2"]) == 0
    assert notes_of_the_last_session(run)[-3:] == [
        "there is no optimizer critic/adversarial any more: its statistics are left behind",
        "the optimizer critic/adv is new: it starts without statistics",
        "divergences changed: the best checkpoint is chosen anew",
    ]
    state = checkpoint.load(run / "checkpoints" / "last.ckpt")
    assert set(state["optimizers"]) == {"main", "critic/adv"}
    taken = {name: {int(one["step"]) for one in kept["state"].values()} for name, kept in state["optimizers"].items()}
    assert taken == {"main": {42}, "critic/adv": {21}}


def test_a_resumption_that_fails_before_its_first_checkpoint_leaves_the_recipe(
    with_critics: dict[str, Path], tmp_path: Path
) -> None:
    run = shutil.copytree(with_critics["adversarial"], tmp_path / "run")
    before = (run / "recipe.yaml").read_text()
    overrides = [RENAMED, "trainer.max_epochs=2"]
    assert start(go_on, run, overrides, "before the first checkpoint") == -signal.SIGKILL
    assert (run / "recipe.yaml").read_text() == before
    assert start(go_on, run, []) == 0
    assert "divergences changed" not in " ".join(notes_of_the_last_session(run))
    assert start(go_on, run, overrides) == 0
    assert "adv:" in (run / "recipe.yaml").read_text()


def test_a_finished_run_is_not_judged_by_another_objective(with_critics: dict[str, Path]) -> None:
    run = with_critics["adversarial"]
    message = "the run is at its end, and nothing would be trained under what is changed"
    with pytest.raises(RecipeError, match=message) as error:
        prepare_resumption(run, ["divergences.adversarial.weight=2"], run)
    (problem,) = error.value.problems
    assert (problem.found, problem.write) == ("divergences", "trainer.max_epochs=…")


def resumption(run: Path, *overrides: str) -> tuple[float, str]:
    """The best objective that a resumption goes on from, and what it says."""
    found = prepare_resumption(run, [*overrides, "trainer.max_epochs=9"], run)
    assert found.state is not None
    return found.state["position"]["best"], "\n".join(found.prepared.notes)


CHANGED = "divergences changed: the best checkpoint is chosen anew"


@pytest.mark.parametrize(("label", "inside"), [("adversarial", "adversarial"), ("nested", "infovae.of")])
def test_a_critics_optimiser_is_no_part_of_the_objective(
    with_critics: dict[str, Path], label: str, inside: str
) -> None:
    run = with_critics[label]
    best, _ = resumption(run)
    assert best < float("inf")
    kept, notes = resumption(run, f"divergences.{inside}.optimizer.lr=0.01")
    assert kept == best
    assert "changed" not in notes
    kept, notes = resumption(run, f"divergences.{inside}.optimizer={{name: sgd, lr: 0.01}}")
    assert kept == best
    term = {"adversarial": "adversarial", "nested": "infovae/adversarial"}[label]
    changed = f"the optimizer critic/{term} was Adam and is SGD: it starts without statistics"
    assert notes.splitlines()[-1] == changed


@pytest.mark.parametrize(
    ("label", "override"),
    [
        ("adversarial", "divergences.adversarial.weight=2"),
        ("adversarial", "divergences.adversarial.gradient_penalty=1.0"),
        ("nested", "divergences.infovae.lambda=3"),
        ("nested", "divergences.infovae.of.gradient_penalty=1.0"),
    ],
)
def test_a_critics_weight_and_options_are_of_the_objective(
    with_critics: dict[str, Path], label: str, override: str
) -> None:
    best, notes = resumption(with_critics[label], override)
    assert best == float("inf")
    assert notes.splitlines()[-1] == CHANGED


def test_a_critic_of_another_size_does_not_fit_the_checkpoint(with_critics: dict[str, Path]) -> None:
    with pytest.raises(RecipeError, match=r"the checkpoint does not fit the recipe: .*size mismatch") as error:
        resumption(with_critics["adversarial"], "divergences.adversarial.hidden=[5]")
    assert error.value.problems[0].expected == "overrides that leave the networks as they are"


CRITICS_OF_SEVERAL = ("first", "second", "infovae/adversarial")


def resumed_weights(run: Path, *overrides: str) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The weights that a resumption goes on from, and what it says."""
    prepared = prepare_resumption(run, [*overrides, "trainer.max_epochs=9"], run).prepared
    return prepared.built.learner.state_dict(), prepared.notes


def of_term(learner: dict[str, torch.Tensor], label: str) -> dict[str, torch.Tensor]:
    prefix = f"objective.divergences.term {label}."
    found = {name.removeprefix(prefix): value for name, value in learner.items() if name.startswith(prefix)}
    assert found, f"{label} has weights"
    return found


def are_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


@pytest.mark.parametrize("gone", ["kl", "first", "infovae"])
def test_a_critics_weights_stay_when_another_term_goes(with_critics: dict[str, Path], gone: str) -> None:
    run = with_critics["several"]
    saved = weights(run)
    found, notes = resumed_weights(run, f"divergences.{gone}=null")
    kept = [label for label in CRITICS_OF_SEVERAL if not label.startswith(gone)]
    for label in kept:
        assert are_equal(of_term(found, label), of_term(saved, label)), label
        assert not any(f"{label} " in note and "statistics" in note for note in notes)
    assert found.keys() <= saved.keys()
    said = [note for note in notes if note.startswith("there is no term")]
    dropped = [label for label in CRITICS_OF_SEVERAL if label.startswith(gone)]
    assert said == [f"there is no term {label} any more: its weights are left behind" for label in dropped]


def test_critics_that_change_places_keep_their_weights(with_critics: dict[str, Path], tmp_path: Path) -> None:
    run = shutil.copytree(with_critics["several"], tmp_path / "run")
    saved = weights(run)
    assert not are_equal(of_term(saved, "first"), of_term(saved, "second"))
    recipe = load_recipe(run / "recipe.yaml").plain()
    terms = recipe["divergences"]
    assert list(terms) == ["kl", "first", "second", "infovae"]
    recipe["divergences"] = {label: terms[label] for label in ("infovae", "second", "kl", "first")}
    (run / "recipe.yaml").write_text(dump_document(recipe))
    found, notes = resumed_weights(run)
    assert are_equal(found, saved)
    assert not any("term" in note for note in notes)


@pytest.mark.parametrize(
    ("monitor", "label"),
    [
        (f"{{name: adversarial, weight: 0, {CRITIC}}}", "monitor"),
        (
            f"{{name: infovae, weight: 0, alpha: 0, lambda: 2, of: {{name: adversarial, {CRITIC}}}}}",
            "monitor/adversarial",
        ),
    ],
    ids=["a critic", "inside a composite"],
)
def test_a_new_critic_starts_untrained_beside_those_that_were(
    with_critics: dict[str, Path], tmp_path: Path, monitor: str, label: str
) -> None:
    run = shutil.copytree(with_critics["several"], tmp_path / "run")
    saved, override = weights(run), f"divergences.monitor={monitor}"
    found, notes = resumed_weights(run, override)
    untrained = prepare(run / "recipe.yaml", [override], [], run).built.learner.state_dict()
    assert are_equal(of_term(found, label), of_term(untrained, label))
    assert are_equal({name: found[name] for name in saved}, saved)
    assert not are_equal(of_term(found, "first"), of_term(untrained, "first"))
    added = [f"the term {label} is new: its weights start untrained"]
    added += [f"the optimizer critic/{label} is new: it starts without statistics"]
    assert [note for note in notes if note in added] == added
    assert start(go_on, run, [override, "trainer.max_epochs=2"]) == 0
    assert not are_equal(of_term(weights(run), label), of_term(untrained, label)), "it was trained, as a monitor is"


def problem_on_this_rank(runs: Sequence[Path]) -> tuple[str, str, str]:
    from framework.distributed import rank

    quiet()
    run = runs[rank()]
    with pytest.raises(RecipeError) as error:
        prepare_resumption(run, [], run, place=place())
    (problem,) = error.value.problems
    return str(problem.message), problem.found, problem.expected


@pytest.mark.parametrize("other", ["an older one", "none"])
def test_processes_that_find_different_checkpoints_do_not_go_on(
    with_critics: dict[str, Path], tmp_path: Path, other: str
) -> None:
    run = with_critics["adversarial"]
    theirs = shutil.copytree(run, tmp_path / "theirs")
    if other == "none":
        shutil.rmtree(theirs / "checkpoints")
    else:
        (theirs / "checkpoints" / "previous.ckpt").replace(theirs / "checkpoints" / "last.ckpt")
    message = "the processes do not find the same checkpoint"
    expected = "a run directory that every machine sees as it is"
    found = ["step 21 in one of them", "none in one of them" if other == "none" else "step 15 in one of them"]
    assert on_ranks(2, problem_on_this_rank, [run, theirs]) == [(message, one, expected) for one in found]


def test_a_plugin_that_was_changed_is_named(unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    plugin = tmp_path / "plugin.py"
    plugin.write_text("")
    environment = json.loads((run / "environment.json").read_text())
    environment["plugins"] = [{"file": str(plugin), "sha256": "0" * 64}]
    (run / "environment.json").write_text(json.dumps(environment))
    assert start(go_on, run, []) == 0
    assert f"the plugin {plugin} is not what it was when the run was last trained" in notes_of_the_last_session(run)


def test_a_finished_run_goes_on_when_it_may_train_for_longer(recipe: Path, unbroken: Path, tmp_path: Path) -> None:
    assert start(train, recipe, tmp_path, ["trainer.max_epochs=2"], None) == 0
    run = run_in(tmp_path)
    assert start(go_on, run, ["trainer.max_epochs=4"]) == 0
    for name, value in weights(run).items():
        assert torch.equal(value, weights(unbroken)[name]), name
    environment = json.loads((run / "environment.json").read_text())
    assert [session["step"] for session in environment["resumed"]] == [42]


def test_a_damaged_checkpoint_is_passed_over_by_name(unbroken: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    last = run / "checkpoints" / "last.ckpt"
    content = bytearray(last.read_bytes())
    content[len(content) // 2] ^= 1  # one flipped bit
    last.write_bytes(content)
    assert start(go_on, run, []) == 0
    assert_same(run, unbroken)
    notes = json.loads((run / "environment.json").read_text())["resumed"][-1]["notes"]
    assert any("last.ckpt is damaged" in note and "the one before is used" in note for note in notes)


def test_the_seed_and_the_data_of_a_run_stay(unbroken: Path) -> None:
    with pytest.raises(RecipeError, match="a resumed run keeps its name, its seed, its learner, and its data"):
        prepare_resumption(unbroken, ["seed=1"], unbroken)
    with pytest.raises(RecipeError, match="no run directory"):
        prepare_resumption(unbroken.parent, [], unbroken)


def test_checkpoints_hold_plain_containers_alone(unbroken: Path) -> None:
    for name in ("last.ckpt", "previous.ckpt", "best.ckpt"):
        state = torch.load(unbroken / "checkpoints" / name, weights_only=True)
        assert set(state) == {"learner", "optimizers", "position", "experience", "metrics_size", "recipe"}
