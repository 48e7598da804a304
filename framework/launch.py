"""A process and its launcher: its place among those that train one model, and how it reports that it failed.

The launcher is torchrun, SLURM's srun, or `framework.supervisor`. What each tells its processes comes down to
torchrun's variables, the ones that torch.distributed reads.
"""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from framework.errors import Problem, RecipeError
from framework.files import atomic
from framework.signals import STOPPED

NUMBERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")

# The port of a SLURM job, where no MASTER_PORT is set: above those of services, and the same in each of its tasks.
FIRST_PORT = 15000

# Set by the supervisor: a descriptor that all ranks can read, and whose end they find when the supervisor is gone.
LIFELINE = "FW_SUPERVISOR"
# Set by torchrun, which reads the file when a process fails, and by the supervisor.
REPORT = "TORCHELASTIC_ERROR_FILE"
# torchrun calls the earliest report the root cause, in whole seconds. One that tells of another's end is dated so much
# later: a second for the rounding, and one for the moment that torchrun takes to see a process that died in silence.
LATER = 2

SRUN = "srun --kill-on-bad-exit=1 --ntasks-per-node=NUMBER fw …"


@dataclass(frozen=True)
class Place:
    """Where this process stands among those that train one model.

    Args:
        rank: from 0, among all processes.
        world_size: processes on all machines.
        local_rank: from 0, among the processes of this machine.
        local_world_size: processes on this machine.
        node: from 0, among the machines.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    node: int


def place(environment: Mapping[str, str]) -> Place | None:
    """Return where this process stands, or None when it trains alone.

    Args:
        environment: of this process, as its launcher made it.

    Raises:
        RecipeError: a launcher's variables are there in part, or are not numbers.

    Example:
        >>> place({"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "1",
        ...        "MASTER_ADDR": "node0", "MASTER_PORT": "29500"})
        Place(rank=3, world_size=4, local_rank=1, local_world_size=2, node=1)
    """
    variables = torchrun_variables(environment)
    return Place(*(int(variables[name]) for name in NUMBERS)) if variables else None


def torchrun_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that torchrun would set for this process; none when it trains alone.

    torchrun's own come first. Else they are made from SLURM's, where srun started this process as one of several tasks:
    rank 0 is met at the step's first host, at port 15000 + the last four digits of the job's number. All tasks come to
    the same answer so; MASTER_ADDR and MASTER_PORT, exported before srun, replace it, as they must where two steps of
    one job train at once, or where tasks are spread by a host file.

    A job script's own process is no task, and trains alone; so does the one process of `torchrun --nproc-per-node=1`.

    Args:
        environment: of this process, as its launcher made it.

    Raises:
        RecipeError: a launcher's variables are there in part, or are not numbers.

    Reference:
        "torchrun", section "Environment Variables", https://docs.pytorch.org/docs/stable/elastic/run.html;
        "srun", section "OUTPUT ENVIRONMENT VARIABLES", https://slurm.schedmd.com/srun.html
    """
    if "RANK" in environment or "LOCAL_RANK" in environment:
        return _from_torchrun(environment)
    if environment.get("SLURM_STEP_NUM_TASKS", "1") != "1":
        return _from_slurm(environment)
    # A job script may export WORLD_SIZE, which srun's tasks inherit; with no launcher at all it is half of something.
    return _from_torchrun(environment) if "WORLD_SIZE" in environment else {}


def first_host(nodes: str) -> str:
    """Return the first name of a SLURM host list.

    Example:
        >>> first_host("rack[1-2]n[03-04,7],login")
        'rack1n03'
    """
    return re.sub(r"\[([^],-]+)[^]]*\]", r"\1", nodes).split(",")[0]


def end_with_supervisor() -> None:
    """End this process, with 75 and without a word, as soon as its supervisor is gone; a rank's first call.

    Nothing happens in a process without a supervisor. What is on the disk is whole at any moment.
    """
    if LIFELINE not in os.environ:
        return
    descriptor = int(os.environ[LIFELINE])

    def wait() -> None:
        os.read(descriptor, 1)  # nothing is ever written: this returns at the end of the pipe
        os._exit(STOPPED)

    threading.Thread(target=wait, name="end with supervisor", daemon=True).start()


def report_failure(text: str, code: int, *, lost_contact: bool) -> bool:
    """Leave the cause of this process's end where its supervisor, or torchrun, looks for it.

    The first report of a process stays. Without a launcher that reads reports nothing is written.

    Args:
        text: what the user is to read; for a bug, its traceback.
        code: the exit code that this process will end with.
        lost_contact: the failure says only that another rank is gone.

    Returns:
        Whether the supervisor will print the text, last of all; if not, it is the caller's to print.
    """
    if REPORT not in os.environ:
        return False
    path, now = Path(os.environ[REPORT]), time.time()
    moment = {"timestamp": int(now) + LATER * lost_contact, "time": now}
    if not path.exists():
        try:
            with atomic(path) as file:
                file.write(json.dumps({"message": text, **moment, "code": code, "lost_contact": lost_contact}).encode())
        except OSError:  # a full disk may be what the text is about
            return False
    return LIFELINE in os.environ


def _from_torchrun(environment: Mapping[str, str]) -> dict[str, str]:
    if environment.get("WORLD_SIZE") == "1":
        return {}
    _check(
        "torchrun",
        environment,
        {**dict.fromkeys(NUMBERS, True), "MASTER_ADDR": False, "MASTER_PORT": True},
        "unset RANK LOCAL_RANK WORLD_SIZE, where torchrun is not meant",
    )
    return {name: environment[name] for name in (*NUMBERS, *ADDRESS)}


def _from_slurm(environment: Mapping[str, str]) -> dict[str, str]:
    nodes = "SLURM_STEP_NODELIST" if "SLURM_STEP_NODELIST" in environment else "SLURM_JOB_NODELIST"
    address, port = environment.get("MASTER_ADDR"), environment.get("MASTER_PORT")
    needed = dict.fromkeys(("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"), True)
    needed |= {"MASTER_ADDR" if address else nodes: False, "MASTER_PORT" if port else "SLURM_JOB_ID": True}
    _check("srun", environment, needed, SRUN)
    local_world_size = _tasks_on_this_node(environment)
    if local_world_size is None:
        counts = ("SLURM_STEP_TASKS_PER_NODE", "SLURM_NTASKS_PER_NODE", "SLURM_STEP_NUM_NODES")
        found = _shown(environment, ("SLURM_STEP_NUM_TASKS", "SLURM_NODEID", *counts))
        message = "srun's variables do not say how many of its tasks run on this machine"
        raise RecipeError([Problem(message, found=found, expected=f"one of {', '.join(counts)}", write=SRUN)])
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "LOCAL_WORLD_SIZE": str(local_world_size),
        "GROUP_RANK": environment["SLURM_NODEID"],
        "MASTER_ADDR": address or first_host(environment[nodes]),
        "MASTER_PORT": port or str(FIRST_PORT + int(environment["SLURM_JOB_ID"][-4:])),
    }


def _tasks_on_this_node(environment: Mapping[str, str]) -> int | None:
    """Return how many tasks of the step run on this machine, or None when the variables do not say.

    SLURM_STEP_TASKS_PER_NODE has a number for each machine, with repetitions: "4(x2),3" is 4, 4, 3.
    """
    counts: list[int] = []
    for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", environment.get("SLURM_STEP_TASKS_PER_NODE", "")):
        counts += [int(count)] * int(times or 1)
    node = int(environment["SLURM_NODEID"])
    if node < len(counts):
        return counts[node]
    if environment.get("SLURM_NTASKS_PER_NODE", "").isdecimal():
        return int(environment["SLURM_NTASKS_PER_NODE"])
    tasks, machines = int(environment["SLURM_STEP_NUM_TASKS"]), environment.get("SLURM_STEP_NUM_NODES", "")
    return tasks // int(machines) if machines.isdecimal() and tasks % int(machines) == 0 else None


def _check(launcher: str, environment: Mapping[str, str], needed: Mapping[str, bool], write: str) -> None:
    """Raise unless the variables are there; those that are true in `needed` must be whole numbers."""
    found = _shown(environment, needed)
    missing = ", ".join(name for name in needed if name not in environment)
    problems = []
    if missing:
        message = f"{launcher} sets several variables for each process that it starts; missing here: {missing}"
        problems.append(Problem(message, found=found, expected=f"all of {', '.join(needed)}", write=write))
    for name, is_number in needed.items():
        if is_number and name in environment and not environment[name].isdecimal():
            message = f"a variable of {launcher}'s is not a number"
            problems.append(Problem(message, found=_shown(environment, [name]), expected=f"{name}=0, 1, 2, …"))
    if problems:
        raise RecipeError(problems)


def _shown(environment: Mapping[str, str], names: Iterable[str]) -> str:
    return " ".join(f"{name}={environment[name]}" for name in names if name in environment)
