"""The place that launchers give to a process, and the reports that they read."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from framework import launch
from framework.errors import RecipeError
from framework.launch import Place, end_with_supervisor, first_host, place, report_failure, torchrun_variables

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "GROUP_RANK": "1",
    "MASTER_ADDR": "host0",
    "MASTER_PORT": "29500",
}
# What an sbatch script sees of `--nodes=2 --ntasks-per-node=2`.
SCRIPT = {
    "SLURM_JOB_ID": "8123456",
    "SLURM_JOB_NODELIST": "gpu[07-08]",
    "SLURM_JOB_NUM_NODES": "2",
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_TASKS_PER_NODE": "2(x2)",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
# What srun adds for the last of its tasks.
TASK = {
    **SCRIPT,
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2)",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
}


def without(environment: Mapping[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in names}


def message(environment: Mapping[str, str]) -> str:
    with pytest.raises(RecipeError) as error:
        place(environment)
    return str(error.value)


def test_torchrun_says_it_all() -> None:
    assert place(TORCHRUN) == Place(rank=3, world_size=4, local_rank=1, local_world_size=2, node=1)
    assert torchrun_variables({**TORCHRUN, "HOME": "/"}) == TORCHRUN


def test_torchrun_comes_before_slurm() -> None:
    """The supervisor's ranks inherit what SLURM said of the supervisor."""
    assert torchrun_variables({**TASK, **TORCHRUN}) == TORCHRUN


@pytest.mark.parametrize(
    "environment",
    [{}, {"MASTER_ADDR": "host0"}, SCRIPT, {**TASK, "SLURM_STEP_NUM_TASKS": "1"}, {**TORCHRUN, "WORLD_SIZE": "1"}],
    ids=["nothing", "an address", "an sbatch script", "one task", "torchrun of one"],
)
def test_alone(environment: dict[str, str]) -> None:
    assert place(environment) is None
    assert torchrun_variables(environment) == {}


def test_a_task_of_two_nodes() -> None:
    assert place(TASK) == Place(rank=3, world_size=4, local_rank=1, local_world_size=2, node=1)
    assert torchrun_variables(TASK) == {**TORCHRUN, "MASTER_ADDR": "gpu07", "MASTER_PORT": "18456"}


def test_a_task_of_one_node() -> None:
    step = {
        "SLURM_JOB_ID": "42",
        "SLURM_JOB_NODELIST": "login",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_PROCID": "1",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "0",
    }
    assert place(step) == Place(rank=1, world_size=2, local_rank=1, local_world_size=2, node=0)
    variables = torchrun_variables(step)
    assert (variables["MASTER_ADDR"], variables["MASTER_PORT"]) == ("login", "15042")


def test_all_tasks_of_a_step_meet_at_one_place() -> None:
    first = {**TASK, "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
    meetings = {tuple(torchrun_variables(task)[name] for name in launch.ADDRESS) for task in (first, TASK)}
    assert len(meetings) == 1


def test_an_exported_address_replaces_slurms() -> None:
    exported = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "4000", "WORLD_SIZE": "4"}
    task = without(TASK, "SLURM_JOB_ID", "SLURM_JOB_NODELIST", "SLURM_STEP_NODELIST")
    assert torchrun_variables({**task, **exported}) == {**TORCHRUN, **exported}


@pytest.mark.parametrize(
    ("counts", "node", "expected"),
    [("4", 0, 4), ("4(x2),3", 0, 4), ("4(x2),3", 1, 4), ("4(x2),3", 2, 3), ("1,2(x3)", 1, 2)],
)
def test_tasks_on_each_node(counts: str, node: int, expected: int) -> None:
    found = place({**TASK, "SLURM_STEP_TASKS_PER_NODE": counts, "SLURM_NODEID": str(node)})
    assert found is not None
    assert found.local_world_size == expected


def test_tasks_on_this_node_when_the_step_does_not_list_them() -> None:
    task = without(TASK, "SLURM_STEP_TASKS_PER_NODE")
    for environment in (without(task, "SLURM_STEP_NUM_NODES"), without(task, "SLURM_NTASKS_PER_NODE")):
        found = place(environment)
        assert found is not None
        assert found.local_world_size == 2


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("host0,host1", "host0"),
        ("host5", "host5"),
        ("host[5-9,12]", "host5"),
        ("host[12,5-9]", "host12"),
        ("host[007]", "host007"),
        ("host[08-11],login", "host08"),
        ("login,host[08-11]", "login"),
        ("rack[1-2]n[3-4]", "rack1n3"),
        ("gpu-a-[1-2].site.org", "gpu-a-1.site.org"),
    ],
)
def test_first_host(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_torchrun_in_part() -> None:
    assert message(without(TORCHRUN, "LOCAL_RANK", "MASTER_PORT")) == (
        "torchrun sets several variables for each process that it starts; missing here: LOCAL_RANK, MASTER_PORT\n"
        "       found:    RANK=3 WORLD_SIZE=4 LOCAL_WORLD_SIZE=2 GROUP_RANK=1 MASTER_ADDR=host0\n"
        "       expected: all of RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, GROUP_RANK, MASTER_ADDR, MASTER_PORT\n"
        "       write:    unset RANK LOCAL_RANK WORLD_SIZE, where torchrun is not meant\n"
        "\n"
        "1 problem found."
    )


@pytest.mark.parametrize("name", ["RANK", "LOCAL_RANK", "WORLD_SIZE"])
def test_a_variable_of_torchruns_alone_is_never_ignored(name: str) -> None:
    missing = ", ".join(without(TORCHRUN, name))
    assert f"missing here: {missing}\n" in message({name: "2"})


def test_a_variable_that_is_not_a_number() -> None:
    assert message({**TORCHRUN, "RANK": "-1", "MASTER_PORT": "tcp"}) == (
        "a variable of torchrun's is not a number\n"
        "       found:    RANK=-1\n"
        "       expected: RANK=0, 1, 2, …\n"
        "\n"
        "a variable of torchrun's is not a number\n"
        "       found:    MASTER_PORT=tcp\n"
        "       expected: MASTER_PORT=0, 1, 2, …\n"
        "\n"
        "2 problems found."
    )


def test_a_task_in_part() -> None:
    names = ("SLURM_LOCALID", "SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_JOB_ID")
    assert message(without(TASK, *names)) == (
        "srun sets several variables for each process that it starts; missing here: "
        "SLURM_LOCALID, SLURM_JOB_NODELIST, SLURM_JOB_ID\n"
        "       found:    SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=3 SLURM_NODEID=1\n"
        "       expected: all of SLURM_STEP_NUM_TASKS, SLURM_PROCID, SLURM_LOCALID, SLURM_NODEID, "
        "SLURM_JOB_NODELIST, SLURM_JOB_ID\n"
        "       write:    srun --kill-on-bad-exit=1 --ntasks-per-node=NUMBER fw …\n"
        "\n"
        "1 problem found."
    )


def test_a_task_that_does_not_know_how_many_are_beside_it() -> None:
    names = ("SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE")
    assert message({**without(TASK, *names), "SLURM_STEP_NUM_NODES": "3"}) == (
        "srun's variables do not say how many of its tasks run on this machine\n"
        "       found:    SLURM_STEP_NUM_TASKS=4 SLURM_NODEID=1 SLURM_STEP_NUM_NODES=3\n"
        "       expected: one of SLURM_STEP_TASKS_PER_NODE, SLURM_NTASKS_PER_NODE, SLURM_STEP_NUM_NODES\n"
        "       write:    srun --kill-on-bad-exit=1 --ntasks-per-node=NUMBER fw …\n"
        "\n"
        "1 problem found."
    )


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    monkeypatch.delenv("FW_SUPERVISOR", raising=False)
    return tmp_path / "error.json"


def test_a_report_has_what_torchrun_reads_and_more(report: Path) -> None:
    before = time.time()
    assert not report_failure("loss is not finite", 76, lost_contact=False)
    said = json.loads(report.read_text())
    assert said == {
        "message": "loss is not finite",
        "timestamp": int(said["time"]),
        "time": said["time"],
        "code": 76,
        "lost_contact": False,
    }
    assert before <= said["time"] <= time.time()
    assert list(report.parent.iterdir()) == [report]


def test_the_first_report_stays(report: Path) -> None:
    report_failure("the cause", 1, lost_contact=False)
    report_failure("what came of it", 2, lost_contact=False)
    assert json.loads(report.read_text())["message"] == "the cause"


def test_the_supervisor_prints_what_is_reported_to_it(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FW_SUPERVISOR", "7")
    assert report_failure("the cause", 1, lost_contact=False)
    assert report_failure("what came of it", 2, lost_contact=False)


def test_a_report_that_cannot_be_written_is_the_callers_to_print(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "gone" / "error.json"))
    monkeypatch.setenv("FW_SUPERVISOR", "7")
    assert not report_failure("No space left on device", 74, lost_contact=False)


def test_without_a_launcher_nothing_is_written(report: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCHELASTIC_ERROR_FILE")
    assert not report_failure("the cause", 1, lost_contact=False)
    assert not report.exists()


def test_torchrun_shows_the_report_and_finds_the_root_cause(
    report: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    report_failure("rank 1 is gone", 1, lost_contact=True)
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "other.json"))
    report_failure("Traceback …\nKeyError: 'x'", 1, lost_contact=False)
    lost = ProcessFailure(local_rank=0, pid=10, exitcode=1, error_file=str(report))
    raised = ProcessFailure(local_rank=1, pid=11, exitcode=1, error_file=str(tmp_path / "other.json"))
    silent = ProcessFailure(local_rank=2, pid=12, exitcode=-signal.SIGKILL, error_file=str(tmp_path / "none.json"))
    assert lost.message == "rank 1 is gone"
    assert raised.message == "Traceback …\nKeyError: 'x'"
    # Reported in the same second, and first in order: torchrun alone could not tell which came of which.
    assert ChildFailedError("fw", {0: lost, 1: raised}).get_first_failure()[0] == 1
    assert ChildFailedError("fw", {0: lost, 2: silent}).get_first_failure()[0] == 2
    summary = str(ChildFailedError("fw", {0: lost, 1: raised}))
    assert "KeyError: 'x'" in summary[summary.index("Root Cause") :]


def test_a_rank_ends_when_the_pipe_does() -> None:
    program = (
        "import time; from framework.launch import *; end_with_supervisor(); print('up', flush=True); time.sleep(60)"
    )
    theirs, ours = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "FW_SUPERVISOR": str(theirs)},
        pass_fds=[theirs],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as rank:
        os.close(theirs)
        assert rank.stdout is not None
        assert rank.stdout.readline() == b"up\n"
        assert rank.poll() is None
        os.close(ours)
        assert rank.wait(timeout=2) == 75
        assert rank.communicate() == (b"", b"")


def test_without_a_supervisor_there_is_nothing_to_end_with(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.delenv("FW_SUPERVISOR", raising=False)
    before = threading.active_count()
    end_with_supervisor()
    assert threading.active_count() == before
