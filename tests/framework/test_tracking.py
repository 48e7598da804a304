"""The mirror in Weights & Biases: what a real offline run holds, and what happens when wandb is slow or wrong."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from framework import tracking
from framework.tracking import Tracker

RECORDS = [
    {"step": 50, "epoch": 0, "samples": 6400, "split": "train", "train/objective": 210.5, "train/kl": 3.25},
    {"step": 100, "epoch": 1, "samples": 12800, "split": "train", "train/objective": 180.25, "train/kl": 4.5},
    {"step": 100, "epoch": 1, "samples": 12800, "split": "validation", "validation/objective": 190.0},
]
CONFIG = {"name": "vae", "encoder": {"name": "mlp", "hidden": [32, 16]}, "data": {"fallback": None}}
SOURCE = str(Path(tracking.__file__).parents[1])


@pytest.fixture(autouse=True)
def _no_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no settings, nothing of the person's who runs the tests."""
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / "no-settings"))


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    directory = tmp_path / "run"
    directory.mkdir()
    return directory


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a module of this source in wandb's place, for the child process."""

    def install(source: str) -> None:
        (tmp_path / "site").mkdir()
        (tmp_path / "site" / "wandb.py").write_text(source)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))

    return install


STAND_IN = """
import json, os, types
class UsageError(Exception): ...
class CommError(Exception): ...
errors = types.SimpleNamespace(UsageError=UsageError)
Settings = dict
def teardown(): ...
class Run:
    offline, summary = True, {}
    def define_metric(self, name, step_metric=None): ...
    def log(self, record): ...
    def finish(self, exit_code): ...
def init(**arguments):
    attempt(arguments)
    with open(os.path.join(arguments["dir"], "arguments.json"), "w") as file:
        json.dump(arguments, file)
    return Run()
"""


def make(directory: Path, warnings: list[str], config: dict[str, Any] | None = None) -> Tracker:
    return Tracker(
        directory, project="fw", run_id="20260101-abcd", name="vae", config=config or CONFIG, warn=warnings.append
    )


def read_back(directory: Path) -> list[Any]:
    """Return the messages of the one .wandb file, which is a LevelDB log of them after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]  # generated; its stub is not shipped

    (path,) = (directory / "wandb").glob("offline-run-*/run-*.wandb")
    content = path.read_bytes()
    assert content.startswith(b":W&B")
    block, messages, position, whole = 32768, [], 7, b""
    while position + 7 <= len(content):
        if block - position % block < 7:  # too little is left of the block for a record's header
            position += block - position % block
            continue
        length, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # full, last; 2 and 3 are first and middle
            message = Record()
            message.ParseFromString(whole)
            messages.append(message)
            whole = b""
    return messages


def history(messages: list[Any]) -> list[dict[str, Any]]:
    rows = []
    for message in messages:
        if message.WhichOneof("record_type") == "history":
            items = {".".join(item.nested_key) or item.key: _value(item) for item in message.history.item}
            rows.append({key: value for key, value in items.items() if not key.startswith("_")})
    return rows


def _value(item: Any) -> Any:
    return json.loads(item.value_json)


def wait_until(condition: Callable[[], Any], seconds: float = 15.0) -> Any:
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)
    return found


def test_offline_run_holds_config_history_summary_and_pictures(run_directory: Path) -> None:
    from matplotlib.image import imsave

    picture = run_directory / "prior_samples.png"
    imsave(picture, [[0.0, 1.0], [1.0, 0.0]])
    warnings: list[str] = []
    tracker = make(run_directory, warnings)
    for record in RECORDS:
        tracker.log(record)
    tracker.images([picture])
    tracker.finish({"test/elbo": -98.5})
    assert warnings == []

    messages = read_back(run_directory)
    run = next(message.run for message in messages if message.WhichOneof("record_type") == "run")
    assert (run.project, run.run_id, run.display_name) == ("fw", "20260101-abcd", "vae")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert {key: config[key] for key in CONFIG} == CONFIG
    rows = history(messages)
    assert rows[:3] == RECORDS
    assert rows[3]["step"] == 100
    assert rows[3]["figures/prior_samples._type"] == "image-file"
    assert len(list((run_directory / "wandb").glob("offline-run-*/files/media/images/figures/*.png"))) == 1
    metrics = [message.metric for message in messages if message.WhichOneof("record_type") == "metric"]
    assert any((metric.glob_name, metric.step_metric) == ("*", "step") for metric in metrics)
    summaries = [message.summary for message in messages if message.WhichOneof("record_type") == "summary"]
    assert any(item.key == "test/elbo" and _value(item) == -98.5 for one in summaries for item in one.update)
    assert [m.exit.exit_code for m in messages if m.WhichOneof("record_type") == "exit"] == [0]


def test_the_runs_of_a_group_are_one_at_wandb(run_directory: Path, stand_in: Callable[[str], None]) -> None:
    stand_in(STAND_IN + "def attempt(arguments): ...\n")
    warnings: list[str] = []
    for group in (None, "20260101-group"):
        tracker = Tracker(
            run_directory, project="fw", run_id="a", name="a", config={}, warn=warnings.append, group=group
        )
        tracker.finish({})
        assert json.loads((run_directory / "arguments.json").read_text())["group"] == group
    assert warnings == []


def test_disabled_starts_nothing(run_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a process was started"))
    warnings: list[str] = []
    tracker = make(run_directory, warnings)
    tracker.log(RECORDS[0])
    tracker.images([run_directory / "none.png"])
    tracker.finish({})
    assert warnings == []
    assert list(run_directory.iterdir()) == []


def test_training_process_never_imports_wandb() -> None:
    program = "import sys, framework.tracking; sys.exit('wandb' in sys.modules or 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=SOURCE, check=False).returncode == 0


def test_resumed_run_continues_under_the_same_identity(run_directory: Path, stand_in: Callable[[str], None]) -> None:
    stand_in(STAND_IN + "attempt = lambda arguments: None")
    warnings: list[str] = []
    make(run_directory, warnings).finish({})
    arguments = json.loads((run_directory / "arguments.json").read_text())
    assert warnings == []
    assert (arguments["id"], arguments["resume"], arguments["mode"]) == ("20260101-abcd", "allow", None)
    assert arguments["dir"] == str(run_directory)
    assert arguments["settings"]["console"] == "off"


@pytest.mark.parametrize(
    ("mode", "error", "expected"),
    [
        ("", "UsageError('No API key configured.')", []),
        (
            "online",
            "UsageError('No API key configured.')",
            ["Weights & Biases goes on offline: UsageError: No API key configured; `wandb sync` uploads it later."],
        ),
        (
            "",
            "CommError('no such\\nhost')",
            ["Weights & Biases goes on offline: CommError: no such host; `wandb sync` uploads it later."],
        ),
    ],
)
def test_goes_on_offline_where_there_is_no_key_or_no_server(
    run_directory: Path,
    stand_in: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    error: str,
    expected: list[str],
) -> None:
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    stand_in(f"{STAND_IN}\ndef attempt(arguments):\n    if arguments['mode'] is None:\n        raise {error}")
    warnings: list[str] = []
    tracker = make(run_directory, warnings)
    tracker.log(RECORDS[0])
    tracker.finish({})
    assert warnings == expected
    assert json.loads((run_directory / "arguments.json").read_text())["mode"] == "offline"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ImportError(\"No module named 'wandb'\")", "ImportError: No module named 'wandb'"),
        (
            f"{STAND_IN}\ndef attempt(arguments): raise OSError(28, 'No space left')",
            "OSError: [Errno 28] No space left",
        ),
        (
            f"{STAND_IN}\nattempt = lambda arguments: None\ndef log(self, record): raise ValueError\nRun.log = log",
            "ValueError: no message",
        ),
    ],
)
def test_failure_is_said_once_and_training_goes_on(
    run_directory: Path, stand_in: Callable[[str], None], source: str, reason: str
) -> None:
    stand_in(source)
    warnings: list[str] = []
    tracker = make(run_directory, warnings)
    tracker.log(RECORDS[0])

    def logged_until_warned() -> bool:
        tracker.log(RECORDS[1])
        return bool(warnings)

    wait_until(logged_until_warned)
    tracker.log(RECORDS[2])
    tracker.images([])
    tracker.finish({})
    assert warnings == [f"Weights & Biases is off: {reason}; metrics.jsonl has every record."]


def test_child_that_ends_without_a_word(run_directory: Path, stand_in: Callable[[str], None]) -> None:
    stand_in("import os; os._exit(3)")
    warnings: list[str] = []
    tracker = make(run_directory, warnings)
    tracker.finish({})
    assert warnings == ["Weights & Biases is off: its process ended early; metrics.jsonl has every record."]


def test_hanging_init_delays_neither_records_nor_the_end(
    run_directory: Path, stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in(f"{STAND_IN}\nimport time\ndef attempt(arguments): time.sleep(3600)")
    monkeypatch.setattr(tracking, "FINISH_LIMITS", {"offline": 0.3})
    monkeypatch.setattr(tracking, "GRACE", 0.2)
    warnings: list[str] = []
    tracker = make(run_directory, warnings)
    start = time.monotonic()
    for _ in range(10_000):  # 2 MB, ten times what the socket holds: the child reads while wandb hangs
        tracker.log(RECORDS[0])
    tracker.finish({})
    assert time.monotonic() - start < 10  # the records alone take about 1 s
    assert warnings == ["Weights & Biases is off: its process did not end; metrics.jsonl has every record."]


def test_stopped_child_is_given_up(
    run_directory: Path, stand_in: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The stop reaches the reading thread a moment later: until then this one must not go on.
    stand_in("import os, signal, time; os.kill(os.getpid(), signal.SIGSTOP); time.sleep(3600)")
    monkeypatch.setattr(tracking, "SEND_LIMIT", 0.2)
    warnings: list[str] = []
    tracker = make(run_directory, warnings)
    for _ in range(200_000):  # until the socket is full
        tracker.log(RECORDS[0])
        if warnings:
            break
    tracker.finish({})
    assert warnings == ["Weights & Biases is off: its process takes no more records; metrics.jsonl has every record."]


def test_abandoned_child_ends_by_itself(run_directory: Path, stand_in: Callable[[str], None]) -> None:
    stand_in(f"{STAND_IN}\nimport time\ndef attempt(arguments): time.sleep(3600)")
    program = "from framework import tracking as t; t.FINISH_LIMITS = {'offline': 0.3}; t._mirror()"
    first = json.dumps({"start": {"parent": 0, "dir": str(run_directory)}}) + "\n"
    child = subprocess.run(
        [sys.executable, "-c", program],
        input=first,
        capture_output=True,
        text=True,
        timeout=10,
        cwd=SOURCE,
        check=False,
    )
    assert child.returncode == 1
    assert child.stdout == (
        "Weights & Biases is off: it did not finish within 0.3 seconds; metrics.jsonl has every record.\n"
    )


def test_training_that_dies_exits_at_once_and_its_mirror_is_marked_as_failed(run_directory: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from framework.tracking import Tracker
tracker = Tracker(Path({str(run_directory)!r}), project="fw", run_id="a", name="a", config={{}}, warn=print)
tracker.log({RECORDS[0]!r})
raise RuntimeError("training failed")
"""
    start = time.monotonic()
    outcome = subprocess.run([sys.executable, "-c", program], cwd=SOURCE, capture_output=True, text=True, check=False)
    assert time.monotonic() - start < 3
    assert "training failed" in outcome.stderr
    assert outcome.stdout == ""

    def ended() -> list[Any]:
        if not list((run_directory / "wandb").glob("offline-run-*/run-*.wandb")):
            return []
        messages = read_back(run_directory)
        return messages if any(m.WhichOneof("record_type") == "exit" for m in messages) else []

    messages = wait_until(ended)
    assert history(messages) == RECORDS[:1]
    assert [m.exit.exit_code for m in messages if m.WhichOneof("record_type") == "exit"] == [1]


def test_record_that_json_cannot_hold(run_directory: Path) -> None:
    warnings: list[str] = []
    tracker = make(run_directory, warnings)
    tracker.log({"step": {1, 2}})
    tracker.finish({})
    assert warnings == [
        "Weights & Biases is off: a record cannot be written as JSON (Object of type set is not JSON serializable); "
        "metrics.jsonl has every record."
    ]


@pytest.fixture
def terminal() -> Iterator[int]:
    master, slave = pty.openpty()
    yield slave
    os.close(master)
    os.close(slave)


def test_child_has_no_terminal_to_ask_on(run_directory: Path, stand_in: Callable[[str], None], terminal: int) -> None:
    stand_in(f"""{STAND_IN}
def attempt(arguments):
    if os.isatty(0) or os.isatty(1) or os.isatty(2):
        raise RuntimeError("a terminal on 0, 1 or 2")
    try:
        os.close(os.open("/dev/tty", os.O_RDWR))
    except OSError:
        return
    raise RuntimeError("a controlling terminal")
""")
    program = f"""
from pathlib import Path
from framework.tracking import Tracker
open("/dev/tty").close()  # training itself has one: otherwise the test would show nothing
warnings = []
directory = Path({str(run_directory)!r})
Tracker(directory, project="fw", run_id="a", name="a", config={{}}, warn=warnings.append).finish({{}})
assert warnings == [], warnings
"""
    training = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=SOURCE,
        stdin=terminal,
        stdout=terminal,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    _, errors = training.communicate(timeout=20)
    assert training.returncode == 0, errors.decode()
    assert (run_directory / "arguments.json").exists()
