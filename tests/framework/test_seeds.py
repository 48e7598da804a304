"""Groups of runs: what --seeds says, real groups, one that fails, one that is cut off, and what is refused."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner, Result

from framework import seeds
from framework.cli import app
from framework.errors import RecipeError
from framework.group_directory import GroupDirectory
from framework.seeds import Group, GroupOutcome, parse_seeds, run_group
from framework.statistics import describe
from tests.framework.command_line import left_of
from tests.framework.group_processes import begin_group, begin_stand_ins
from tests.framework.interruption import wait_for

RECIPE = """\
name: corridor
seed: 0
learner: policy_gradient
environment: {id: fw/ShortCorridor-v0, num_envs: 20, independent: true, max_episode_steps: 1000}
policy: {name: tabular_softmax, preferences: [2.94, 0.0]}
update: {name: reinforce}
discount: 1.0
optimizer: {name: sgd, lr: 0.001}
evaluation: null
trainer: {max_episodes: 500, log_every: 1}
"""

# One that fails in the run of one seed, when it trains.
FRAGILE = """\
import sys

import gymnasium


class Fragile(gymnasium.Wrapper):
    def step(self, action):
        if "seed=1" in sys.argv:
            raise LookupError("nothing was found")
        return super().step(action)


gymnasium.register("test/Fragile-v0", lambda: Fragile(gymnasium.make("CartPole-v1")))
"""
CARTPOLE = """\
name: fragile
learner: policy_gradient
environment: {id: test/Fragile-v0, num_envs: 2, max_episode_steps: 500}
policy: {name: categorical, trunk: {name: mlp, hidden: [8]}}
update: {name: reinforce}
discount: 0.99
optimizer: {name: adam, lr: 0.001}
evaluation: {episodes: 2}
trainer: {max_env_steps: 300}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FW_DATA_DIR", str(tmp_path / "data"))
    Path("recipe.yaml").write_text(RECIPE)
    return tmp_path


def wait_until(condition: Callable[[], Any], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def group_in(folder: Path) -> GroupDirectory:
    (path,) = (folder / "runs").glob("*/*")
    return GroupDirectory(path.relative_to(folder))


def numbers(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What does not depend on the clock."""
    return {name: found for name, found in summary["metrics"].items() if not name.startswith("throughput/")}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5", [5]),
        ("0..9", list(range(10))),
        ("7,0,3", [0, 3, 7]),
        ("0..2, 10", [0, 1, 2, 10]),
        ("4..4", [4]),
    ],
)
def test_seeds_are_read(text: str, expected: list[int]) -> None:
    assert parse_seeds(text) == expected


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["--seeds cannot be read", "found:    ''", f"expected: {seeds.FORMS}", "write:    0..9"]),
        ("0-9", ["--seeds cannot be read", "found:    '0-9'", f"expected: {seeds.FORMS}", "write:    0..9"]),
        ("1,,2", ["--seeds cannot be read", "found:    ''", f"expected: {seeds.FORMS}", "write:    0..9"]),
        ("-1", ["--seeds cannot be read", "found:    '-1'", f"expected: {seeds.FORMS}", "write:    0..9"]),
        (
            "9..0",
            [
                "--seeds has a range without a number in it",
                "found:    '9..0'",
                f"expected: {seeds.FORMS}",
                "write:    0..9",
            ],
        ),
        (
            "0..3,2",
            [
                "--seeds names a seed twice, which would count one run as two",
                "found:    2",
                "expected: every seed once",
            ],
        ),
    ],
)
def test_seeds_that_cannot_be_read(text: str, lines: list[str]) -> None:
    with pytest.raises(RecipeError) as refused:
        parse_seeds(text)
    assert [line.strip() for line in str(refused.value).splitlines() if line.strip()][:-1] == lines


def fw(*arguments: str) -> Result:
    result = CliRunner().invoke(app, arguments)
    assert "Traceback" not in result.output
    return result


@pytest.mark.usefixtures("own_registries")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--jobs", "2"], "--jobs and --into are of a group\n       expected: --seeds beside them\n"),
        (["--into", "x"], "--jobs and --into are of a group\n       expected: --seeds beside them\n"),
        (["--seeds", "0..2", "--dry-run"], "--seeds trains a group, and --dry-run trains nothing\n"),
        (
            ["seed=4", "--seeds", "0..2"],
            "--seeds sets the seeds\n       found:    seed=4\n       expected: one of the two\n",
        ),
        (
            ["--seeds", "0..2", "--into", "x"],
            "x: no directory of a group\n       expected: a directory that `fw run --seeds` made\n",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_command_line_starts_nothing(arguments: list[str], sentence: str) -> None:
    result = fw("run", "recipe.yaml", *arguments)
    assert result.exit_code == 2
    assert sentence in result.stderr
    assert not Path("runs").exists()


@pytest.mark.usefixtures("own_registries")
def test_a_wrong_recipe_is_refused_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seeds, "start", lambda *_: pytest.fail("a run was started"))
    result = fw("run", "recipe.yaml", "optimizer.lrr=3", "--seeds", "0..9")
    assert result.exit_code == 2
    assert result.stderr.count("optimizer 'sgd' has no option 'lrr'") == 1
    assert not Path("runs").exists()


@pytest.mark.usefixtures("own_registries")
def test_one_of_several_processes_starts_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    for name, value in {"GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="a launcher has started this one as one of several"):
        seeds.prepare_group(Path("recipe.yaml"), [], [], Path(), seeds="0..2", root=Path("runs"), into=None)


@pytest.mark.usefixtures("own_registries")
def test_a_group_goes_on_with_its_own_recipe_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    made = seeds.prepare_group(Path("recipe.yaml"), [], [], Path(), seeds="0..1", root=Path("runs"), into=None)
    into = made.directory.path
    again = seeds.prepare_group(Path("recipe.yaml"), [], [], Path(), seeds="3..4", root=Path("runs"), into=into)
    assert (again.directory.path, again.seeds) == (into, [3, 4])
    result = fw("run", "recipe.yaml", "optimizer.lr=0.5", "trainer.log_every=2", "--seeds", "0..1", "--into", str(into))
    assert result.exit_code == 2
    assert (
        "the group is one of another recipe, and its runs may differ in their seeds alone\n"
        "       found:    another optimizer, another trainer\n"
        f"       expected: the recipe {into}/recipe.yaml\n"
        "       write:    a new group: without --into\n"
    ) in result.stderr


class StandIn:
    """A process that takes three looks, and writes the summary of its run where it does not fail."""

    alive = 0
    most = 0

    def __init__(self, run: Path, code: int) -> None:
        self.run, self.code, self.looks = run, code, 3
        StandIn.alive += 1
        StandIn.most = max(StandIn.most, StandIn.alive)

    def poll(self) -> int | None:
        self.looks -= 1
        if self.looks:
            return None
        StandIn.alive -= 1
        if self.code == 0:
            seed = int(self.run.name.removeprefix("seed-"))
            (self.run / "summary.json").write_text(json.dumps({"test/return": float(seed), "fallbacks": []}))
        return self.code


def run_stand_ins(
    directory: GroupDirectory, codes: Mapping[int, int], monkeypatch: pytest.MonkeyPatch, *, jobs: int = 1
) -> tuple[GroupOutcome, list[str], list[dict[str, str]]]:
    """Run a group of processes with these exit codes; return also what was shown, and their variables."""
    given: list[dict[str, str]] = []

    def start(arguments: Sequence[str], variables: Mapping[str, str], stderr: Path) -> StandIn:
        given.append(dict(variables))
        seed = int(arguments[2].removeprefix("seed="))
        assert arguments[:2] == ["run", str(directory.recipe)]
        stderr.write_text("".join(f"line {line}\n" for line in range(30)) if codes[seed] else "A." * (seed == 6))
        return StandIn(directory.run(seed).path, codes[seed])

    monkeypatch.setattr(seeds, "start", start)
    monkeypatch.setattr(seeds, "INTERVAL", 0.0)
    StandIn.alive = StandIn.most = 0
    console = Console(record=True, file=StringIO(), width=200)
    outcome = run_group(
        Group(directory, sorted(codes), Path("data"), [], ["note: it is a stand-in"]), console, jobs=jobs
    )
    return outcome, console.export_text().splitlines(), given


@pytest.mark.parametrize("jobs", [1, 3])
def test_as_many_run_at_once_as_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch, jobs: int) -> None:
    directory = GroupDirectory.create(folder, "recipe")
    outcome, shown, variables = run_stand_ins(directory, dict.fromkeys(range(7), 0), monkeypatch, jobs=jobs)
    assert (outcome.code, StandIn.most) == (0, jobs)
    assert shown[:2] == ["note: it is a stand-in", f"group: {directory.path}"]
    assert {one.get("OMP_NUM_THREADS") for one in variables} == {"1" if jobs > 1 else None}
    assert [line.split(",")[0] for line in shown[2:9]] == [f"seed {seed}: test/return {seed}" for seed in range(7)]
    assert outcome.summary is not None
    assert outcome.summary["metrics"]["test/return"] == {**describe([float(seed) for seed in range(7)]), "without": []}
    assert json.loads(directory.summary.read_text()) == outcome.summary
    assert shown[9] == f"warning: seed 6 had something to say: {directory.stderr(6)}"


def test_a_seed_that_fails_stops_no_other_and_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    directory = GroupDirectory.create(folder, "recipe")
    outcome, shown, _ = run_stand_ins(directory, {0: 0, 1: 76, 2: 0, 3: -9}, monkeypatch)
    assert outcome.code == 76
    assert outcome.summary is not None
    assert outcome.summary["missing"] == {"1": "it failed with exit code 76", "3": "it failed with exit code 137"}
    assert outcome.summary["metrics"]["test/return"]["n"] == 2
    assert "warning: seed 1 is missing: it failed with exit code 76" in shown
    lines = [f"line {line}" for line in range(10, 30)]
    said = capfd.readouterr().err.splitlines()
    assert said == [*lines, "seed 1: failed with exit code 76", *lines, "seed 3: failed with exit code 137"]
    assert directory.stderr(1).exists()
    assert not directory.stderr(0).exists()

    outcome, shown, _ = run_stand_ins(directory, {0: 0, 1: 0}, monkeypatch)
    assert outcome.code == 0
    assert "seed 0: test/return 0, finished before" in shown
    assert outcome.summary is not None
    assert set(outcome.summary["runs"]) == {"0", "1", "2"}
    assert outcome.summary["missing"] == {"3": "it is not finished, and was not asked for"}


def test_a_run_that_was_stopped_by_others_leaves_the_group_unfinished(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = GroupDirectory.create(folder, "recipe")
    directory.write_summary({"of": "an earlier group"})
    outcome, shown, _ = run_stand_ins(directory, {0: 75, 1: 0}, monkeypatch)
    assert (outcome.code, outcome.summary) == (75, None)
    assert not directory.summary.exists()
    assert shown[-1].startswith("stopped with 1 of 2 seeds; go on with: fw run ")


def test_the_runs_end_with_a_group_that_is_killed(folder: Path) -> None:
    program = folder / "python"
    program.write_text(
        f"#!{sys.executable}\n"
        "import os, time\n"
        "from framework.launch import end_with_supervisor\n"
        "end_with_supervisor()\n"
        f"open(f'{folder}/pid-{{os.getpid()}}', 'w').close()\n"
        "time.sleep(60)\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    process = begin_stand_ins(folder, program)
    wait_until(lambda: len(list(folder.glob("pid-*"))) == 2)
    assert process.pid is not None
    pids = [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]
    assert len(left_of(pids)) == 2
    os.kill(process.pid, signal.SIGKILL)
    assert wait_for(process) == -signal.SIGKILL
    wait_until(lambda: not left_of(pids))


def test_a_real_group(folder: Path) -> None:
    command = [
        sys.executable,
        "-P",
        "-m",
        "framework",
        "run",
        "recipe.yaml",
        "--seeds",
        "0..2",
        "--jobs",
        "3",
        "--json",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    group = group_in(folder)
    lines = ended.stdout.splitlines()
    said = json.loads(lines[-1])
    assert said == {"group": str(group.path), "summary": json.loads(group.summary.read_text())}
    begun = lines.index(f"group: {group.path}")
    assert sorted(line.split(":")[0] for line in lines[begun + 1 : begun + 4]) == ["seed 0", "seed 1", "seed 2"]
    assert said["summary"]["seeds"] == [0, 1, 2]
    assert said["summary"]["missing"] == {}

    runs = [json.loads(group.run(seed).summary.read_text()) for seed in range(3)]
    assert [run["id"] for run in runs] == [f"{group.id}-seed-{seed}" for seed in range(3)]
    returns = [run["train/return"] for run in runs]
    assert len(set(returns)) == 3
    assert said["summary"]["metrics"]["train/return"] == {**describe(returns), "without": []}
    assert "throughput/env_steps_per_second" in said["summary"]["metrics"]
    assert {path.name for path in group.path.iterdir()} == {
        "recipe.yaml",
        "summary.json",
        "group.png",
        "seed-0",
        "seed-1",
        "seed-2",
    }
    for seed in range(3):
        assert "run: " in group.run(seed).log.read_text()
        assert f"seed: {seed}\n" in group.run(seed).recipe.read_text()


def test_a_group_that_is_cut_off_goes_on_to_the_same_numbers(folder: Path) -> None:
    whole, cut = folder / "whole", folder / "cut"
    for place in (whole, cut):
        place.mkdir()
        (place / "recipe.yaml").write_text(RECIPE)
    unbroken = begin_group(whole, "run", "recipe.yaml", "--seeds", "0..2")
    assert wait_for(unbroken) == 0, (whole / "stderr").read_text()

    process = begin_group(cut, "run", "recipe.yaml", "--seeds", "0..2")
    wait_until(lambda: [path for path in cut.glob("runs/*/*/seed-1/metrics.jsonl") if path.stat().st_size > 2000])
    assert process.pid is not None
    os.kill(process.pid, signal.SIGTERM)
    assert wait_for(process) == 75
    group = GroupDirectory(cut / group_in(cut).path)
    assert not group.summary.exists()
    assert [group.summary_of(seed) is not None for seed in (0, 1)] == [True, False]
    assert group.seeds() == [0, 1]
    lines = (cut / "stdout").read_text().splitlines()
    assert "seed 1: stopped" in lines
    stopped, _, command = lines[-1].partition("; go on with: ")
    assert stopped == "stopped with 1 of 3 seeds"
    first = group.run(0).summary.stat().st_mtime_ns

    assert wait_for(begin_group(cut, *shlex.split(command)[1:])) == 0, (cut / "stderr").read_text()
    assert group.run(0).summary.stat().st_mtime_ns == first
    assert "going on at step" in group.run(1).log.read_text()
    found = json.loads(group.summary.read_text())
    expected = json.loads((whole / group_in(whole).summary).read_text())
    assert numbers(found) == numbers(expected)
    assert found["seeds"] == [0, 1, 2]


def test_a_plugin_that_fails_for_one_seed(folder: Path) -> None:
    (folder / "fragile.py").write_text(FRAGILE)
    (folder / "recipe.yaml").write_text(CARTPOLE)
    arguments = ("run", "recipe.yaml", "--seeds", "0..2", "--plugin", "fragile.py", "--json")
    assert wait_for(begin_group(folder, *arguments)) == 1
    assert (folder / "stderr").read_text().splitlines()[-2:] == [
        "LookupError: nothing was found",
        "seed 1: failed with exit code 1",
    ]
    said = json.loads((folder / "stdout").read_text().splitlines()[-1])["summary"]
    assert said["missing"] == {"1": "it failed with exit code 1"}
    assert said["metrics"]["test/return"]["n"] == 2
    assert list(said["runs"]) == ["0", "2"]
