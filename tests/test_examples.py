"""The examples of the docstrings run, and print what they say."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {
    ".".join(path.relative_to(base).with_suffix("").parts): path
    for base in (ROOT, ROOT / "plugins")
    for package in ("framework", "framework_plugins")
    for path in sorted((base / package).rglob("*.py"))
}
WITH_EXAMPLES = [name for name, path in SOURCES.items() if ">>> " in path.read_text(encoding="utf-8")]


def test_there_are_examples() -> None:
    assert {"framework.estimators", "framework_plugins.divergences.mmd"} <= set(WITH_EXAMPLES)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_of_a_module(name: str) -> None:
    results = doctest.testmod(importlib.import_module(name))
    skipped = SOURCES[name].read_text(encoding="utf-8").count("# doctest: +SKIP")
    assert results.attempted + skipped > 0
    assert results.failed == 0
