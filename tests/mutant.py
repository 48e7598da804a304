"""Runs tests on mutated sources: `python tests/mutant.py INDEX…`, a line a mutation, its index and what came of it.

Each mutation has a process of its own, forked from one that has imported what is slow to import and nothing of the
framework; it reads the one file with the fault in it, and no compiled copy of it. No file is changed.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import signal
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300  # for one mutation: what goes on for ever is ended, and not taken for a test that failed
UNREAD = 70  # the code where the tests have never imported the file


def mutations() -> ModuleType:
    """Return the list, without a package that would import more."""
    spec = importlib.util.spec_from_file_location("mutations", ROOT / "tests" / "mutations.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutations"] = module
    spec.loader.exec_module(module)
    return module


def infect(path: Path, right: str, wrong: str) -> list[str]:
    """Have the next import of a file read another text; return a list that will hold the names it was read by."""
    readings: list[str] = []
    loader = importlib.machinery.SourceFileLoader
    read, stats = loader.get_data, loader.path_stats

    def get_data(self: Any, name: str) -> bytes:
        data = read(self, name)
        if Path(name) != path:
            return data
        readings.append(name)
        text = data.decode("utf-8")
        assert text.count(right) == 1, f"{path}: the text is there {text.count(right)} times"
        return text.replace(right, wrong).encode("utf-8")

    def path_stats(self: Any, name: str) -> Any:
        if Path(name) == path:
            raise OSError("no compiled copy")  # import then compiles the text
        return stats(self, name)

    loader.get_data, loader.path_stats = get_data, path_stats  # type: ignore[method-assign]
    return readings


def outcome_of(mutation: Any) -> int:
    """Return pytest's exit code for a mutation's tests: 1 is a test that failed."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    import pytest

    signal.alarm(SECONDS)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    readings = infect(ROOT / mutation.path, mutation.right, mutation.wrong)
    os.chdir(ROOT)
    code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *mutation.tests.split()])
    os._exit(code if readings else UNREAD)


def main() -> None:
    import pytest  # noqa: F401  (these take seconds, and are not what is mutated)
    import scipy.stats  # noqa: F401
    import torch  # noqa: F401

    assert not any(name.split(".")[0] in ("framework", "framework_plugins") for name in sys.modules)
    module = mutations()
    known = [*module.MUTATIONS, module.UNCHANGED]
    for index in map(int, sys.argv[1:]):
        print(index, outcome_of(known[index]), flush=True)


if __name__ == "__main__":
    main()
