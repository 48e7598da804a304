"""Ranks that end in every way, as real processes; each is a tiny program in a stand-in of the interpreter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from framework import supervisor as supervising
from framework.signals import ONE
from framework.supervisor import GRACE, command, supervise

# What `command` starts in place of Python: it runs the program that the test has for its rank.
INTERPRETER = f"""#!{sys.executable}
import os, signal, sys, time
from pathlib import Path
RANK = os.environ["RANK"]
REPORT = Path(os.environ["TORCHELASTIC_ERROR_FILE"])
HERE = Path(__file__).parent

def until(condition):
    while not condition():
        time.sleep(0.005)

def report_of(rank):
    return REPORT.with_name(f"rank-{{rank}}.json")

exec(os.environ["PROGRAM_" + RANK])
"""
REPORTS = "from framework.launch import report_failure; report_failure({!r}, {}, lost_contact={}); sys.exit({})"
FORKED = """
import os, signal
from framework.supervisor import become_rank

class Fork:
    def __init__(self, rank, environment):
        self.pid = os.fork()
        if self.pid == 0:
            become_rank(environment)
            exec(compile(open(sys.executable).read(), sys.executable, "exec"), {"__file__": sys.executable})
            os._exit(0)

    def poll(self):
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def send_signal(self, number):
        os.kill(self.pid, number)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
"""


def reports(text: str, code: int = 1, *, lost_contact: bool = False) -> str:
    return REPORTS.format(text, code, lost_contact, code)


@pytest.fixture
def interpreter(tmp_path: Path) -> Path:
    path = tmp_path / "python"
    path.write_text(INTERPRETER)
    path.chmod(0o700)
    return path


@pytest.fixture
def run(interpreter: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Supervise ranks that run these programs, one each; the grace is short, as few survivors here use it."""
    monkeypatch.setattr(supervising, "GRACE", 0.3)
    monkeypatch.setattr(sys, "executable", str(interpreter))

    def supervised(*programs: str) -> int:
        for rank, program in enumerate(programs):
            monkeypatch.setenv(f"PROGRAM_{rank}", program)
        return supervise(len(programs), command)

    return supervised


Supervisor = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def supervisor(interpreter: Path) -> Iterator[Supervisor]:
    """Start a supervisor of two ranks in a process of its own, and wait until both have made their file."""
    started: list[subprocess.Popen[str]] = []

    def start(*programs: str, before: str = "", rank: str = "command") -> subprocess.Popen[str]:
        program = f"""
import sys
from framework.supervisor import command, supervise
sys.executable = {str(interpreter)!r}
{before}
sys.exit(supervise(2, {rank}))
"""
        environment = os.environ | {f"PROGRAM_{rank}": program for rank, program in enumerate(programs)}
        environment["TMPDIR"] = str(interpreter.parent)  # a supervisor that is killed leaves its folder
        arguments = [sys.executable, "-c", program]
        process = subprocess.Popen(
            arguments, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        started.append(process)
        wait_for(lambda: all((interpreter.parent / f"up-{rank}").exists() for rank in range(2)))
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_all_is_well(run: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    assert run("print('zero')", "print('one')", "print('two', file=sys.stderr)") == 0
    assert capfd.readouterr() == ("zero\n", "")


def test_what_a_rank_is_started_with(run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/bin/fw", "run", "vae.yaml", "trainer.devices=2"])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(7)))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    program = """
import json
assert sys.stdin.read() == ""
assert os.getsid(0) == os.getpid()
(HERE / RANK).write_text(json.dumps([sys.argv[1:], dict(os.environ)]))
"""
    assert run(program, program) == 0
    ports = set()
    for rank in range(2):
        arguments, environment = json.loads((tmp_path / str(rank)).read_text())
        assert arguments == ["-P", "-m", "framework", "run", "vae.yaml", "trainer.devices=2"]
        expected = {
            "RANK": str(rank),
            "WORLD_SIZE": "2",
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": "2",
            "GROUP_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "OMP_NUM_THREADS": "3",
        }
        assert environment.items() >= expected.items()
        assert "TORCHELASTIC_USE_AGENT_STORE" not in environment
        assert not Path(environment["TORCHELASTIC_ERROR_FILE"]).parent.exists(), "the folder stayed"
        ports.add(int(environment["MASTER_PORT"]))
    assert len(ports) == 1


def test_the_users_number_of_threads_stays(run: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert run("sys.exit(os.environ['OMP_NUM_THREADS'] != '5')") == 0


@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_ends_all_and_is_the_last_word(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str], failing: int
) -> None:
    fails = reports("Traceback (most recent call last):\n  …\nKeyError: 'x'\n", 76)
    waits = "time.sleep(20)"
    began = time.monotonic()
    assert run(*((fails, waits) if failing == 0 else (waits, fails))) == 76
    assert time.monotonic() - began < 4
    expected = f"rank {failing} of 2: Traceback (most recent call last):\n  …\nKeyError: 'x'\n"
    assert capfd.readouterr() == ("", expected if failing == 0 else f"\n{expected}")  # rank 0 is cut off


def test_nothing_is_said_after_the_first_cause_nor_on_its_line(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    chatters = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: print('still here', file=sys.stderr)"
    assert run(chatters, "time.sleep(0.2); " + reports("the cause", 2)) == 2
    said = capfd.readouterr().err.splitlines()
    assert said[0] == "still here"
    assert said[-1] == "rank 1 of 2: the cause"
    assert said.count("rank 1 of 2: the cause") == 1


def test_an_exit_without_a_word(run: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    assert run("os._exit(3)", "time.sleep(20)") == 3
    assert capfd.readouterr().err == "rank 0 of 2 ended with exit code 3, without a word\n"


def test_a_death_by_a_signal(run: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    assert run("time.sleep(20)", "os.kill(os.getpid(), signal.SIGKILL)") == 137
    assert capfd.readouterr().err == "\nrank 1 of 2 was ended by SIGKILL\n"


def test_a_death_by_a_signal_that_has_no_name(run: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    number = signal.SIGRTMIN + 1
    assert run(f"os.kill(os.getpid(), {number})") == 128 + number
    assert capfd.readouterr().err == f"\nrank 0 of 1 was ended by signal {number}\n"


def test_the_last_lines_of_a_rank_that_died_in_silence(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    program = "for line in range(30): print('line', line, file=sys.stderr)\nos._exit(3)"
    assert run("time.sleep(20)", program) == 3
    last = "".join(f"line {line}\n" for line in range(10, 30))
    assert capfd.readouterr().err == "\n" + last + "rank 1 of 2 ended with exit code 3, without a word\n"


def test_a_lost_contact_is_not_the_cause_though_it_was_reported_first(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    dies = "until(report_of(0).exists); os.kill(os.getpid(), signal.SIGKILL)"
    assert run(reports("lost another rank", lost_contact=True), dies) == 137
    assert capfd.readouterr().err == "rank 1 of 2 was ended by SIGKILL\n"


def test_of_several_causes_the_earliest(run: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    later = "until(report_of(1).exists); " + reports("later", 4)
    assert run(later, reports("earlier", 5)) == 5
    assert capfd.readouterr().err == "rank 1 of 2: earlier\n"


def test_of_lost_contacts_alone_the_earliest(run: Callable[..., int], capfd: pytest.CaptureFixture[str]) -> None:
    later = "until(report_of(1).exists); " + reports("later", 4, lost_contact=True)
    assert run(later, reports("earlier", 5, lost_contact=True)) == 5
    assert capfd.readouterr().err == "rank 1 of 2: earlier\n"


def test_survivors_may_report_and_are_killed_after_the_grace(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "GRACE", GRACE)
    hangs = "signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(20)"
    slow = "time.sleep(0.5); " + reports("lost another rank", lost_contact=True)
    began = time.monotonic()
    assert run(hangs, slow, "os._exit(9)") == 9
    assert 1.5 <= time.monotonic() - began < 4
    assert capfd.readouterr().err == "\nrank 2 of 3 ended with exit code 9, without a word\n"


def test_a_rank_that_reports_and_cannot_end_is_the_cause(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("time.sleep(20)", f"try: {reports('the cause', 76)}\nfinally: time.sleep(20)") == 76
    assert capfd.readouterr().err == "\nrank 1 of 2: the cause\n"


def test_ranks_that_stopped_or_finished_wait_for_the_last(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("time.sleep(1); sys.exit(75)", "sys.exit(75)", "pass") == 75
    assert capfd.readouterr().err == ""


def test_a_rank_that_cannot_be_started(interpreter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setenv("PROGRAM_0", "time.sleep(20)")
    ranks = []

    def start(rank: int, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        if rank == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        ranks.append(command(rank, environment))
        return ranks[0]

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(BlockingIOError, match="Resource temporarily unavailable"):
        supervise(2, start)
    assert ranks[0].returncode == -signal.SIGKILL
    assert signal.getsignal(signal.SIGTERM) is before


NOTES = """
def note(number, frame):
    with (HERE / f"noted-{RANK}").open("a") as file:
        print(signal.Signals(number).name, file=file)
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, note)
(HERE / f"up-{RANK}").touch()
"""
STOPS = NOTES + "until((HERE / f'noted-{RANK}').exists); time.sleep(0.2); sys.exit(75)"
STOPS_AT_ONCE = """
from framework.signals import StopRequest, stop_on_signals
with stop_on_signals(StopRequest()) as _, (HERE / f"up-{RANK}").open("w"):
    time.sleep(20)
"""


@pytest.mark.parametrize(("sent", "received"), [("SIGINT", "SIGINT"), ("SIGTERM", "SIGTERM"), ("SIGHUP", "SIGTERM")])
def test_a_signal_reaches_each_rank_once(supervisor: Supervisor, tmp_path: Path, sent: str, received: str) -> None:
    # Under nohup the tests themselves, and all that they start, ignore hangups.
    heard = f"import signal; signal.signal(signal.{sent}, signal.default_int_handler)"
    process = supervisor(STOPS, STOPS, before=heard)
    process.send_signal(signal.Signals[sent])
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 75
    assert [(tmp_path / f"noted-{rank}").read_text() for rank in range(2)] == [f"{received}\n"] * 2


def test_a_hangup_that_nohup_ignores_is_not_passed_on(supervisor: Supervisor, tmp_path: Path) -> None:
    waits = NOTES + "until((HERE / 'enough').exists)"
    process = supervisor(waits, waits, before="import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    (tmp_path / "enough").touch()
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0
    assert not list(tmp_path.glob("noted-*"))


def test_the_second_signal_ends_ranks_at_once(supervisor: Supervisor) -> None:
    process = supervisor(STOPS_AT_ONCE, STOPS_AT_ONCE)
    process.send_signal(signal.SIGTERM)
    time.sleep(ONE + 0.2)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=5) == ("", "stopped at once; what was saved last can be resumed\n")
    assert process.returncode == 75


def test_a_signal_that_comes_twice_is_one_request(supervisor: Supervisor, tmp_path: Path) -> None:
    # Longer than the grace: ranks that were asked to end at once would be killed while they save.
    saves = f"{NOTES}until((HERE / f'noted-{{RANK}}').exists); time.sleep({GRACE} + 0.5)\n"
    saves += "(HERE / f'saved-{RANK}').touch(); sys.exit(75)"
    process = supervisor(saves, saves)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 75
    assert all((tmp_path / f"saved-{rank}").exists() for rank in range(2))
    assert [(tmp_path / f"noted-{rank}").read_text() for rank in range(2)] == ["SIGTERM\n"] * 2


BLIND = "signal.signal(signal.SIGTERM, signal.SIG_IGN); (HERE / f'up-{RANK}').touch(); time.sleep(20)"
LOSES = f"{NOTES}noted = HERE / f'noted-{{RANK}}'\nuntil(lambda: noted.exists() and noted.stat().st_size == 16)\n"


@pytest.mark.parametrize(
    "other", [BLIND, LOSES + reports("lost another rank", lost_contact=True)], ids=["does nothing", "loses contact"]
)
def test_the_second_signal_ends_also_those_that_do_not_see_it(supervisor: Supervisor, other: str) -> None:
    process = supervisor(BLIND, other)
    process.send_signal(signal.SIGTERM)
    time.sleep(ONE + 0.2)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=5) == ("", "")
    assert process.returncode == 75


@pytest.mark.parametrize(("before", "rank"), [("", "command"), (FORKED, "Fork")], ids=["started", "forked"])
def test_no_rank_outlives_its_supervisor(supervisor: Supervisor, tmp_path: Path, before: str, rank: str) -> None:
    program = """
from framework.launch import end_with_supervisor
end_with_supervisor()
(HERE / f"new-{RANK}").write_text(str(os.getpid()))
(HERE / f"new-{RANK}").rename(HERE / f"up-{RANK}")
time.sleep(20)
"""
    process = supervisor(program, program, before=before, rank=rank)
    ranks = [int((tmp_path / f"up-{rank}").read_text()) for rank in range(2)]
    time.sleep(0.2)
    assert not any(has_ended(pid) for pid in ranks)
    process.kill()
    wait_for(lambda: all(has_ended(pid) for pid in ranks), seconds=2)
    assert process.communicate() == ("", "")


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
