"""The directory of a group: runs of one recipe that differ in their seeds, and what they say together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from framework.document import dump_document
from framework.files import atomic
from framework.run_directory import RunDirectory, new_identity


class GroupDirectory:
    """`<root>/<recipe name>/<group id>/`: a run directory `seed-<n>/` for each seed, and the group's own files.

    Args:
        path: the directory; it exists.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe = path / "recipe.yaml"  # resolved, with the first seed
        self.summary = path / "summary.json"
        self.figure = path / "group.png"

    @classmethod
    def create(cls, root: Path, name: str) -> GroupDirectory:
        """Make a new directory below `root`."""
        directory = cls(root / name / new_identity())
        directory.path.mkdir(parents=True)
        return directory

    @property
    def id(self) -> str:
        return self.path.resolve().name

    def run(self, seed: int) -> RunDirectory:
        """Return where the run of a seed is, or will be."""
        return RunDirectory(self.path / f"seed-{seed}")

    def stderr(self, seed: int) -> Path:
        """Return where what the process of a seed writes to stderr is kept."""
        return self.path / f"seed-{seed}.stderr.txt"

    def seeds(self) -> list[int]:
        """Return the seeds that have a directory, in their order."""
        return sorted(int(path.name.removeprefix("seed-")) for path in self.path.glob("seed-*") if path.is_dir())

    def summary_of(self, seed: int) -> dict[str, Any] | None:
        """Return the final numbers of a seed's run, or None while it is not finished."""
        path = self.run(seed).summary
        if not path.is_file():
            return None
        summary: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return summary

    def write_recipe(self, plain: Mapping[str, Any]) -> None:
        with atomic(self.recipe) as file:
            file.write(dump_document(plain).encode())

    def write_summary(self, content: Mapping[str, Any]) -> None:
        with atomic(self.summary) as file:
            file.write((json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())
