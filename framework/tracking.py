"""The mirror of a run in Weights & Biases, kept by a process of its own, so that training neither waits nor hangs.

`wandb` takes a second to import, asks for a key on the terminal, and waits at exit, without a limit, until all has been
uploaded. Here that happens in a child that has no terminal, reads records from a socket, and may be killed. When
training ends without a word, the child sees the socket close and finishes on its own; training's own exit waits for
nothing. The run directory is the truth: what W&B misses is in metrics.jsonl.

This file is also the child's program; it therefore imports nothing of the framework.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

SEND_LIMIT = 5.0  # seconds that `log` may ever wait, for a child that is stopped: a running one reads all the time
INIT_LIMIT = 30.0  # seconds to reach the server, while training is already under way
FINISH_LIMITS = {"offline": 20.0, "online": 60.0}  # seconds to write, or to upload, what is left
GRACE = 5.0  # seconds more before the child is killed

OFF = "Weights & Biases is off"  # how a sentence begins after which no more is mirrored


class Tracker:
    """A run's mirror in Weights & Biases.

    Online when wandb finds a key (WANDB_API_KEY, or a netrc file, as `wandb login` writes it), offline otherwise, into
    `<directory>/wandb/`, from where `wandb sync` uploads it. A WANDB_MODE of online, offline or disabled is respected;
    when disabled nothing is started. A failure is one sentence to `warn`, in the thread that calls the tracker, and
    training goes on with tracking off (or offline, where the server could not be reached).

    Args:
        directory: the run directory.
        project: the W&B project.
        run_id: the run's identity at W&B; a resumed run passes the same one and continues there.
        name: what W&B calls the run.
        config: the resolved recipe, plain and nested.
        warn: takes one sentence when something goes wrong.
        group: what W&B calls the runs that this is one of, or None.
    """

    def __init__(
        self,
        directory: Path,
        *,
        project: str,
        run_id: str,
        name: str,
        config: Mapping[str, Any],
        warn: Callable[[str], None],
        group: str | None = None,
    ) -> None:
        self._warn = warn
        self._process: subprocess.Popen[bytes] | None = None
        if os.environ.get("WANDB_MODE") == "disabled":
            return
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(SEND_LIMIT)
        try:
            # -P keeps this folder off the child's path, where our modules would hide others of the same name.
            self._process = subprocess.Popen(
                [sys.executable, "-P", __file__],
                bufsize=0,
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # without a terminal there is no prompt, and no Ctrl-C meant for training
            )
        except OSError as error:
            self._socket.close()
            warn(_sentence(f"its process could not be started ({error})"))
            return
        finally:
            theirs.close()
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdout.fileno(), False)
        settings = {"dir": str(directory.absolute()), "project": project, "id": run_id, "name": name, "config": config}
        self._send("start", {**settings, "group": group, "parent": os.getpid()})

    def log(self, record: Mapping[str, Any]) -> None:
        """Mirror one record of metrics.jsonl; every metric is plotted against its `step`."""
        self._send("log", record)

    def images(self, paths: Sequence[Path]) -> None:
        """Mirror pictures, each as `figures/<file name without suffix>`; the files must stay until `finish`."""
        self._send("images", [str(path.absolute()) for path in paths])

    def finish(self, summary: Mapping[str, Any], *, exit_code: int = 0) -> None:
        """Write the final numbers and wait, for a bounded time, until W&B has everything. Later calls do nothing.

        Args:
            summary: the content of summary.json.
            exit_code: of the run; W&B shows any but 0 as failed.
        """
        self._send("finish", {"summary": dict(summary), "exit_code": exit_code})
        if self._process is None:
            return
        try:
            self._process.wait(max(FINISH_LIMITS.values()) + GRACE)
        except subprocess.TimeoutExpired:
            self._stop("its process did not end")
        else:
            self._stop("" if self._process.returncode == 0 else "its process ended early")

    def _send(self, kind: str, content: Any) -> None:
        if self._process is None:
            return
        try:
            self._socket.sendall(json.dumps({kind: content}).encode() + b"\n")
        except (TypeError, ValueError) as error:
            self._stop(f"a record cannot be written as JSON ({error})")
        except TimeoutError:
            self._stop("its process takes no more records")
        except OSError:
            self._stop("its process ended early")
        else:
            if self._gave_up(self._process):
                self._stop()

    def _gave_up(self, process: subprocess.Popen[bytes]) -> bool:
        """Pass on what the child has to say; return whether it is that tracking is off."""
        assert process.stdout is not None
        said = (process.stdout.read(1 << 16) or b"").decode()  # None when there is nothing, b"" at the end
        for sentence in said.splitlines():
            self._warn(sentence)
        return OFF in said

    def _stop(self, reason: str = "") -> None:
        process, self._process = self._process, None
        assert process is not None
        assert process.stdout is not None
        process.kill()
        process.wait()
        if not self._gave_up(process) and reason:
            self._warn(_sentence(reason))
        process.stdout.close()
        self._socket.close()


def _sentence(reason: str) -> str:
    return f"{OFF}: {reason}; metrics.jsonl has every record."


class _Mirror:
    """The child: one thread reads the socket, so that its other end never waits; one owns wandb and may hang."""

    def __init__(self, lines: TextIO, report: TextIO) -> None:
        self.lines, self.report = lines, report
        self.inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.limit = max(FINISH_LIMITS.values())  # until it is known whether the run is online
        self.position: dict[str, Any] = {}  # the step of the last record, for pictures

    def run(self) -> None:
        worker = threading.Thread(target=self.work, daemon=True)
        worker.start()
        finished = False
        for line in self.lines:
            message = json.loads(line)
            finished = "finish" in message
            self.inbox.put(message)
            if finished:
                break
        if not finished:
            self.inbox.put({"finish": {"summary": {}, "exit_code": 1}})
        worker.join(self.limit)
        if worker.is_alive():
            self.say(_sentence(f"it did not finish within {self.limit:g} seconds"))
        os._exit(1 if worker.is_alive() else 0)  # wandb's exit hook would wait without a limit

    def work(self) -> None:
        try:
            import wandb

            run = self.start(wandb, **self.inbox.get()["start"])
            while self.handle(wandb, run, *next(iter(self.inbox.get().items()))):
                pass
        except Exception as error:  # tracking: other people's code, which may raise anything
            self.say(_sentence(_described(error)))
            os._exit(1)

    def start(self, wandb: Any, *, parent: int, **arguments: Any) -> Any:
        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_git=True,  # environment.json has the commit
            disable_code=True,
            x_save_requirements=False,
            x_stats_pid=parent,  # the process whose load is of interest
            init_timeout=INIT_LIMIT,
        )

        def begin(mode: str | None) -> Any:
            return wandb.init(mode=mode, resume="allow", save_code=False, settings=settings, **arguments)

        try:
            run = begin(None)  # wandb's own rules: WANDB_MODE, settings files, online if they say nothing
        except Exception as error:  # tracking: other people's code, which may raise anything
            without_key = isinstance(error, wandb.errors.UsageError) and "WANDB_MODE" not in os.environ
            wandb.teardown()  # the attempt that failed still holds the run's identity
            run = begin("offline")
            if not without_key:
                self.say(f"Weights & Biases goes on offline: {_described(error)}; `wandb sync` uploads it later.")
        self.limit = FINISH_LIMITS["offline" if run.offline else "online"]
        run.define_metric("step")
        run.define_metric("*", step_metric="step")
        return run

    def handle(self, wandb: Any, run: Any, kind: str, content: Any) -> bool:
        """Do what a message says; return whether more may follow."""
        if kind == "log":
            self.position = {"step": content["step"]}
            run.log(content)
        elif kind == "images":
            pictures = {f"figures/{Path(path).stem}": wandb.Image(path) for path in content}
            run.log({**self.position, **pictures})
        else:
            run.summary.update(content["summary"])
            run.finish(exit_code=content["exit_code"])
            wandb.teardown()
            return False
        return True

    def say(self, sentence: str) -> None:
        try:
            self.report.write(sentence + "\n")
            self.report.flush()
        except OSError:  # training is over: nobody listens
            pass


def _described(error: Exception) -> str:
    words = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {words[:300].rstrip('.')}"


def _mirror() -> None:
    lines, report = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)  # wandb's own processes inherit these, and would keep the socket open
    os.dup2(null, 1)
    for number in (signal.SIGTERM, signal.SIGHUP):  # sent to a whole job: the last records come after it
        signal.signal(number, lambda *_: None)
    _Mirror(lines, report).run()


if __name__ == "__main__":
    _mirror()
