"""A group's directory, and what its runs are called."""

from __future__ import annotations

import re
from pathlib import Path

from framework.group_directory import GroupDirectory
from framework.run_directory import RunDirectory


def test_runs_of_two_groups_have_ids_of_their_own(tmp_path: Path) -> None:
    one, other = (GroupDirectory.create(tmp_path, "recipe") for _ in range(2))
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{4}", one.id)
    assert one.path.parent == tmp_path / "recipe"
    run = RunDirectory.at(one.run(3).path)
    assert (run.id, run.group) == (f"{one.id}-seed-3", one.id)
    assert run.id != other.run(3).id


def test_a_run_of_no_group_has_none(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path, "seed-recipe")
    assert (run.id, run.group) == (run.path.name, None)


def test_a_run_directory_that_is_there_keeps_what_is_in_it(tmp_path: Path) -> None:
    for _ in range(2):
        run = RunDirectory.at(tmp_path / "seed-0")
        assert run.checkpoints.is_dir()
        assert run.figures.is_dir()
        run.log.touch()
    assert run.log.exists()


def test_seeds_are_those_with_a_directory_in_their_order(tmp_path: Path) -> None:
    group = GroupDirectory.create(tmp_path, "recipe")
    for seed in (10, 9):
        RunDirectory.at(group.run(seed).path)
    group.stderr(11).touch()
    assert group.seeds() == [9, 10]
    group.run(9).write_json(group.run(9).summary, {"test/return": 1.0})
    assert (group.summary_of(9), group.summary_of(10)) == ({"test/return": 1.0}, None)
