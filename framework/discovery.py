"""Finding plugins: the entry-point group `framework.plugins`, and files named on the command line."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

from framework.errors import PluginError, Problem, RecipeError, nearest

GROUP = "framework.plugins"


@dataclass(frozen=True)
class BrokenPlugin:
    """A plugin that could not be imported; what it would have registered is missing, all else works.

    Args:
        name: the entry point and its distribution, or the file.
        error: the exception in one line, with the place it was raised at.
    """

    name: str
    error: str

    def __str__(self) -> str:
        return f"plugin {self.name} is broken and was left out: {self.error}"


def load_plugins(files: Iterable[Path] = ()) -> list[BrokenPlugin]:
    """Import every installed plugin and the given files; return those that failed.

    Raises:
        RecipeError: a file does not exist.
    """
    importlib.import_module("framework.learners")  # the learners are the framework's own and register like plugins
    broken = []
    for point in sorted(entry_points(group=GROUP), key=lambda point: point.name):
        try:
            point.load()
        except (Exception, SystemExit) as error:  # other people's code: it must not stop what does not need it
            origin = f" of {point.dist.name}" if point.dist else ""
            broken.append(BrokenPlugin(f"{point.name!r}{origin} ({point.value})", _one_line(error)))
    for file in files:
        if not file.is_file():
            folder = file.parent if file.parent.is_dir() else Path()
            name = nearest(file.name, [other.name for other in folder.glob("*.py")])
            raise RecipeError(
                [Problem(f"{file}: there is no such plugin file", write=str(folder / name) if name else "")]
            )
        try:
            _import_file(file)
        except (Exception, SystemExit) as error:  # as above
            broken.append(BrokenPlugin(str(file), _one_line(error)))
    return broken


def _import_file(file: Path) -> None:
    # The resolved path is part of the name: two files may share theirs, and one file is loaded once.
    name = f"framework_plugin_file_{file.stem}_{abs(hash(str(file.resolve()))):x}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise PluginError("a plugin is a Python file, and its name ends in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def _one_line(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    # A PluginError names the place itself; its last frame is the registry's.
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames and not isinstance(error, PluginError) else ""
    if isinstance(error, SyntaxError):
        place = f" ({error.filename}:{error.lineno})"
    return f"{type(error).__name__}: {' '.join(str(error).split())}{place}"
