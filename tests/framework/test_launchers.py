"""One recipe started in every way: by `fw run`, by torchrun, by srun; the model is that of one process.

The first two are real interpreters, started with what a user types. srun's tasks are forked from a warm process: what
srun gives them are variables.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from framework.launch import FIRST_PORT
from tests.framework.command_line import fw, fw_as_tasks
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
trainer: {max_steps: 20, log_every: 10, accelerator: cpu, precision: 64}
"""
# Roundings of sums in another order over twenty steps of Adam, on weights of size 1.
TOLERANCE = 1e-12
FW = [sys.executable, "-P", "-m", "framework"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "framework"]
TIME_LIMIT = 120.0  # seconds: some interpreters import torch at once here


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipe") / "small.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def alone(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process."""
    folder = tmp_path_factory.mktemp("alone")
    ended = fw(folder, "run", str(recipe))
    assert (ended.code, ended.stderr) == (0, [])
    return run_in(folder / "runs", "small")


def start(folder: Path, arguments: list[str], **variables: str) -> subprocess.Popen[str]:
    """Start a real interpreter with what a user types."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def end(process: subprocess.Popen[str]) -> tuple[int, list[str], list[str]]:
    """Wait for it; return its exit code and the lines of its stdout and stderr."""
    try:
        stdout, stderr = process.communicate(timeout=TIME_LIMIT)
    finally:
        process.kill()
    return process.returncode, stdout.splitlines(), stderr.splitlines()


def processes_of(run: Path) -> int:
    count: int = json.loads((run / "environment.json").read_text())["processes"]
    return count


def test_fw_run_starts_the_processes_itself(recipe: Path, alone: Path, tmp_path: Path) -> None:
    arguments = [*FW, "run", str(recipe), "trainer.devices=2", "--json"]
    code, stdout, stderr = end(start(tmp_path, arguments, WANDB_MODE="offline"))
    assert (code, stderr) == (0, [])
    run = run_in(tmp_path / "runs", "small")
    assert_same(run, alone, TOLERANCE)
    assert processes_of(run) == 2
    assert len(list(run.glob("wandb/offline-run-*"))) == 1
    told = json.loads(stdout[-1])
    assert told["run"] == str(run.relative_to(tmp_path))
    assert told["summary"] == json.loads((run / "summary.json").read_text())
    assert not [line for line in stdout[:-1] if line.startswith("{")]
    said = stdout[:-1]
    # The run is named at the start and at the end; all else is said once.
    assert said.pop() == f"run: {told['run']}"
    assert len(said) == len(set(said)) > 10
    assert said[0].startswith("small, seed 0, on 2 processes, cpu: ")


def test_torchrun(recipe: Path, alone: Path, tmp_path: Path) -> None:
    code, stdout, stderr = end(start(tmp_path, [*TORCHRUN, "run", str(recipe)]))
    assert (code, stderr) == (0, [])
    assert len([line for line in stdout if line.startswith("small, seed 0, on 2 processes, cpu: ")]) == 1
    run = run_in(tmp_path / "runs", "small")
    assert_same(run, alone, TOLERANCE)
    assert processes_of(run) == 2


def test_torchrun_with_a_recipe_that_is_wrong(recipe: Path, tmp_path: Path) -> None:
    code, stdout, stderr = end(start(tmp_path, [*TORCHRUN, "run", str(recipe), "data.batch_size=63"]))
    assert (code, stdout) == (1, [])
    assert not (tmp_path / "runs").exists()
    message = """
command line:1:17: data.batch_size: a batch is shared by 2 processes in equal parts
   1 | data.batch_size=63
     |                 ^^
       found:    63
       expected: a multiple of 2
       write:    64

1 problem found; nothing was trained.
""".splitlines()[1:]
    assert stderr[: len(message)] == message
    # torchrun's summary ends with the report of the one that it saw first.
    assert stderr[-len(message) : -1] == message[1:]
    assert stderr.count("Traceback (most recent call last):") == 1, "ours, beside torchrun's own"


def job(nodes: int) -> list[dict[str, str]]:
    """What srun sets for two tasks on one machine, or on two."""
    with socket.socket() as probe:
        for number in range(8120000, 8129999, 7):
            try:
                probe.bind(("127.0.0.1", FIRST_PORT + number % 10000))
            except OSError:
                continue
            break
    common = {
        "SLURM_JOB_ID": str(number),
        "SLURM_JOB_NAME": "bash",
        "SLURM_JOB_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": str(nodes),
        "SLURM_STEP_NODELIST": "127.0.0.1",
        "SLURM_STEP_TASKS_PER_NODE": "2" if nodes == 1 else "1(x2)",
    }
    places = [("0", "0", "0"), ("1", "1", "0")] if nodes == 1 else [("0", "0", "0"), ("1", "0", "1")]
    return [
        {**common, "SLURM_PROCID": rank, "SLURM_LOCALID": local_rank, "SLURM_NODEID": node}
        for rank, local_rank, node in places
    ]


def test_a_dry_run_of_tasks_is_described_once(recipe: Path, tmp_path: Path) -> None:
    first, second = fw_as_tasks(tmp_path, "run", str(recipe), "--dry-run", variables=job(1))
    assert (first.code, first.stderr) == (0, [])
    assert first.stdout.count("name: small") == 1
    assert first.stdout[-1] == "nothing was trained: --dry-run"
    assert (second.code, second.stdout, second.stderr) == (0, [], [])


@pytest.mark.parametrize("nodes", [1, 2])
def test_tasks_of_srun(recipe: Path, alone: Path, tmp_path: Path, nodes: int) -> None:
    arguments = ["run", str(recipe), f"trainer.num_nodes={nodes}", "--out", str(tmp_path / "runs")]
    first, second = fw_as_tasks(tmp_path, *arguments, variables=job(nodes))
    assert (first.code, first.stderr) == (0, [])
    assert (second.code, second.stdout, second.stderr) == (0, [], [])
    assert first.ranks == second.ranks == [], "a task started ranks of its own"
    assert first.stdout[0].startswith("small, seed 0, on 2 processes, cpu: ")
    run = run_in(tmp_path / "runs", "small")
    assert_same(run, alone, TOLERANCE)
    assert processes_of(run) == 2
