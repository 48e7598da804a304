"""The tests notice every fault of `tests.mutations`: without that, what they guard would be anybody's guess."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations import MUTATIONS, UNCHANGED

ROOT = Path(__file__).resolve().parent.parent
PASSED, FAILED = 0, 1  # pytest's codes; tests that could not be run, or were not found, have others


@pytest.fixture(scope="module")
def outcomes() -> dict[int, int]:
    """What the tests of each mutation came to, by its index."""
    numbers = [str(index) for index in range(len([*MUTATIONS, UNCHANGED]))]
    halves = [
        subprocess.Popen(
            [sys.executable, "tests/mutant.py", *numbers[half::2]], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for half in (0, 1)
    ]
    lines = [line for process in halves for line in process.communicate()[0].splitlines()]
    return {int(index): int(code) for index, code in (line.split() for line in lines)}


def test_there_are_thirty_faults_or_more_each_in_a_text_that_is_there_once() -> None:
    assert len(MUTATIONS) >= 30
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
    for mutation in MUTATIONS:
        assert (ROOT / mutation.path).read_text(encoding="utf-8").count(mutation.right) == 1, mutation.name


@pytest.mark.parametrize("index", range(len(MUTATIONS)), ids=[mutation.name for mutation in MUTATIONS])
def test_the_tests_catch(outcomes: dict[int, int], index: int) -> None:
    assert outcomes[index] == FAILED, f"{MUTATIONS[index].tests} let it through"


def test_what_is_not_changed_is_let_through(outcomes: dict[int, int]) -> None:
    assert outcomes[len(MUTATIONS)] == PASSED, "what fails is not the fault's doing"
