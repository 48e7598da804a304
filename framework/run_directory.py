"""The run directory: the record of a run, on disk, that a crash at any moment leaves readable."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from framework.checkpoint import LAST, PREVIOUS
from framework.document import dump_document
from framework.files import atomic

_OF_A_GROUP = re.compile(r"seed-\d+")  # the name of a run directory in a group's


def new_identity() -> str:
    """Return an id that no other run or group has: the local time and four random characters."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class RunDirectory:
    """`<root>/<recipe name>/<run id>/`, or `<root>/<recipe name>/<group id>/seed-<n>/`, and the files in it.

    Args:
        path: the directory; it exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.summary = path / "summary.json"
        self.evaluation = path / "evaluation.json"
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"
        self.log = path / "log.txt"

    @classmethod
    def create(cls, root: Path, name: str) -> RunDirectory:
        """Make a new directory below `root`."""
        return cls.at(root / name / new_identity())

    @classmethod
    def at(cls, path: Path) -> RunDirectory:
        """Make a directory of this very path, or of one that is there what it lacks."""
        directory = cls(path)
        directory.checkpoints.mkdir(parents=True, exist_ok=True)
        directory.figures.mkdir(exist_ok=True)
        return directory

    @property
    def id(self) -> str:
        """What no other run is called: the directory's name, after the group's for one of several seeds."""
        name = self.path.resolve().name
        return f"{self.group}-{name}" if self.group else name

    @property
    def group(self) -> str | None:
        """The id of the group that the run is one seed of, or None."""
        path = self.path.resolve()
        return path.parent.name if _OF_A_GROUP.fullmatch(path.name) else None

    def write_recipe(self, plain: Mapping[str, Any]) -> None:
        with atomic(self.recipe) as file:
            file.write(dump_document(plain).encode())

    def write_json(self, path: Path, content: Mapping[str, Any]) -> None:
        with atomic(path) as file:
            file.write((json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())

    def write_environment(self, sessions: Sequence[Mapping[str, Any]]) -> None:
        """Write environment.json: the first session's environment and, under `resumed`, those of the later ones."""
        self.write_json(self.environment, {**sessions[0], "resumed": list(sessions[1:])})

    def sessions(self) -> list[dict[str, Any]]:
        """Return the environments of the run's sessions, the first one's first."""
        first: dict[str, Any] = json.loads(self.environment.read_text(encoding="utf-8"))
        return [first, *first.pop("resumed")]

    def has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint to go on from, whole or not."""
        return any((self.checkpoints / name).exists() for name in (LAST, PREVIOUS))

    def records(self) -> list[dict[str, Any]]:
        """Return the records of metrics.jsonl in their order."""
        if not self.metrics.exists():
            return []
        return [json.loads(line) for line in self.metrics.read_text().splitlines()]


class MetricsFile:
    """metrics.jsonl: one JSON object a line, appended.

    Args:
        path: the file; it is cut to `size` bytes first, which takes off what a killed run wrote after its checkpoint.
        size: bytes to keep.

    Raises:
        OSError: the file is shorter than that, so that records are missing.
    """

    def __init__(self, path: Path, size: int = 0) -> None:
        found = path.stat().st_size if path.exists() else 0
        if found < size:
            raise OSError(f"{path} has lost records: {found} bytes are there, the checkpoint knows {size}")
        self._file = path.open("ab")
        self._file.truncate(size)
        self._file.seek(size)  # `sync` tells the size by the position

    def append(self, record: Mapping[str, Any]) -> None:
        self._file.write((json.dumps(record) + "\n").encode())
        self._file.flush()

    def sync(self) -> int:
        """Make all records durable and return the file's size in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
