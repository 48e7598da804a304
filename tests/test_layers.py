"""Who imports whom, and what is never written: read from the sources, without importing any of them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORK = sorted((ROOT / "framework").rglob("*.py"))
STUB = ROOT / "framework" / "__init__.pyi"
PLUGINS = sorted((ROOT / "plugins" / "framework_plugins").rglob("*.py"))
SOURCES = FRAMEWORK + PLUGINS

ABSTRACTIONS = (
    "encoder",
    "decoder",
    "prior",
    "divergence",
    "schedule",
    "optimizer",
    "learner",
    "data",
    "policy",
    "trunk",
    "baseline",
    "update",
)
# What puts recipes and runs together; no part knows of it.
MACHINERY = {
    f"framework.{name}"
    for name in (
        "agent_trial",
        "build",
        "checkpoint",
        "cli",
        "evaluate",
        "exit_codes",
        "film",
        "frozen",
        "group_curves",
        "group_directory",
        "group_summary",
        "loading",
        "module",
        "position",
        "prepare",
        "progress",
        "recipe",
        "resume",
        "run",
        "run_directory",
        "sample",
        "schema",
        "seeds",
        "show",
        "summary",
        "supervisor",
        "tracking",
        "trial",
        "surrogate",
        "variance",
        "variance_baselines",
        "variance_figure",
        "variance_reference",
        "watch",
    )
}
HEAVY = {"torch", "pytorch_lightning", "wandb", "numpy", "matplotlib", "omegaconf", "yaml"}


@dataclass(frozen=True)
class Import:
    module: str  # "framework.networks"; for `from framework import Encoder`, where that name is from
    name: str  # what is taken out of it, "" for the module itself
    on_load: bool  # when the file is imported, not inside a function or for a type checker
    line: int


def name_of(path: Path) -> str:
    base = ROOT if path in FRAMEWORK else ROOT / "plugins"
    parts = path.relative_to(base).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in SOURCES}


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def public_names() -> dict[str, str]:
    """The module that each name of `framework` is from."""
    stub = ast.parse((ROOT / "framework" / "__init__.pyi").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: f"framework.{node.module}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def statements(node: ast.AST, on_load: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        lazy = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        typing = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        yield child, on_load
        yield from statements(child, on_load and not lazy and not typing)


def imports_in(tree: ast.Module) -> list[Import]:
    found = []
    for node, on_load in statements(tree):
        if isinstance(node, ast.Import):
            found += [Import(alias.name, "", on_load, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, f"line {node.lineno}: a relative import"
            assert node.level == 0, f"line {node.lineno}: a relative import"
            for alias in node.names:
                if f"{node.module}.{alias.name}" in MODULES:
                    found.append(Import(f"{node.module}.{alias.name}", "", on_load, node.lineno))
                elif node.module == "framework":
                    found.append(Import(public_names()[alias.name], alias.name, on_load, node.lineno))
                else:
                    found.append(Import(node.module, alias.name, on_load, node.lineno))
    return found


@cache
def imports_of(path: Path) -> list[Import]:
    return imports_in(tree_of(path))


def reached(start: str, *, on_load: bool) -> dict[str, set[str]]:
    """The modules of ours that a module imports, directly or not, each with the packages that it imports."""
    found: dict[str, set[str]] = {}
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module in found or module not in MODULES:
            continue
        taken = {one.module for one in imports_of(MODULES[module]) if one.on_load or not on_load}
        found[module] = {name.split(".")[0] for name in taken}
        parents = {module.rsplit(".", level)[0] for level in range(1, module.count(".") + 1)}
        waiting += sorted(taken | parents)
    return found


def is_private(one: Import) -> bool:
    words = (*one.module.split("."), one.name)
    return any(word.startswith("_") and not word.startswith("__") for word in words)


def place(path: Path, line: int) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def test_the_sources_are_found() -> None:
    assert len(FRAMEWORK) > 25
    assert len(PLUGINS) > 15
    assert {"framework.cli", "framework.learners.latent", "framework_plugins.divergences.kl"} <= MODULES.keys()
    assert public_names()["Divergence"] == "framework.divergence"


def test_imports_are_found_wherever_they_are() -> None:
    source = (
        "import a.b\nif TYPE_CHECKING:\n  import c\ndef f():\n  from framework import Encoder\nclass C:\n  import d\n"
    )
    assert imports_in(ast.parse(source)) == [
        Import("a.b", "", True, 1),
        Import("c", "", False, 3),
        Import("framework.encoder", "Encoder", False, 5),
        Import("d", "", True, 7),
    ]


@pytest.mark.parametrize("path", FRAMEWORK, ids=name_of)
def test_the_framework_imports_no_plugin(path: Path) -> None:
    assert [place(path, one.line) for one in imports_of(path) if one.module.startswith("framework_plugins")] == []


def test_only_the_module_and_the_run_import_lightning() -> None:
    users = {
        name_of(path)
        for path in SOURCES
        for one in imports_of(path)
        if one.module.split(".")[0] in ("pytorch_lightning", "lightning", "lightning_fabric")
    }
    assert "framework.module" in users
    assert users <= {"framework.module", "framework.run"}


def test_nothing_that_is_imported_with_the_run_imports_lightning() -> None:
    everything = reached("framework.run", on_load=True)
    assert "framework.build" in everything
    assert [module for module, taken in everything.items() if "pytorch_lightning" in taken] == []


def test_the_command_line_starts_without_what_is_heavy() -> None:
    everything = reached("framework.cli", on_load=True)
    assert "framework.errors" in everything
    assert {module: taken & HEAVY for module, taken in everything.items() if taken & HEAVY} == {}


def test_nothing_imports_the_command_line() -> None:
    users = [path.name for path in SOURCES for one in imports_of(path) if one.module == "framework.cli"]
    assert users == ["__main__.py"]  # which is the command line


@pytest.mark.parametrize("abstraction", ABSTRACTIONS)
def test_an_abstraction_does_not_know_what_is_made_of_it(abstraction: str) -> None:
    everything = set(reached(f"framework.{abstraction}", on_load=False))
    assert f"framework.{abstraction}" in everything
    assert everything & (MACHINERY | {"framework.objective", "framework.learners"}) == set()


@pytest.mark.parametrize("path", [path for path in FRAMEWORK if path.parent.name == "learners"], ids=name_of)
def test_a_learner_does_not_know_what_runs_it(path: Path) -> None:
    assert set(reached(name_of(path), on_load=False)) & MACHINERY == set()


# The homes of the public names, and modules of functions that plugins share.
FOR_PLUGINS = {f"framework.{home}" for home in re.findall(r"^from \.(\w+) import", STUB.read_text(), re.MULTILINE)} | {
    "framework.networks",
    "framework.residual_networks",
    "framework.mmd_of_samples",
    "framework.precision",
    "framework.randomness",
    "framework.download",
}


@pytest.mark.parametrize("path", PLUGINS, ids=name_of)
def test_a_plugin_uses_what_is_public(path: Path) -> None:
    imports = imports_of(path)
    private = [place(path, one.line) for one in imports if is_private(one)]
    assert private == [], "a name with an underscore belongs to its module"
    ours = [one for one in imports if one.module.split(".")[0] == "framework"]
    assert [place(path, one.line) for one in ours if one.module not in FOR_PLUGINS] == []


@pytest.mark.parametrize("path", FRAMEWORK, ids=name_of)
def test_a_module_of_the_framework_keeps_its_private_names(path: Path) -> None:
    ours = [one for one in imports_of(path) if one.module.startswith("framework")]
    assert [place(path, one.line) for one in ours if is_private(one)] == []


def keyword(call: ast.Call, name: str) -> object:
    """The constant that a call passes by keyword, or None."""
    for given in call.keywords:
        if given.arg == name:
            return given.value.value if isinstance(given.value, ast.Constant) else ast.unparse(given.value)
    return None


def unchecked_distributions(tree: ast.Module) -> tuple[int, list[int]]:
    """How many distributions a file builds, and the lines of those that would check their arguments at every step."""
    known = {
        alias.asname or alias.name
        for node, _ in statements(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("torch.distributions")
        for alias in node.names
        if alias.name[0].isupper() and not alias.name.endswith("Transform") and alias.name != "Distribution"
    }
    calls = [node for node, _ in statements(tree) if isinstance(node, ast.Call)]
    built = [
        call
        for call in calls
        if (isinstance(call.func, ast.Name) and call.func.id in known)
        or (
            isinstance(call.func, ast.Attribute)
            and "distributions." in ast.unparse(call.func)
            and call.func.attr[0].isupper()
        )
    ]
    for node, _ in statements(tree):
        if isinstance(node, ast.ClassDef) and {"Distribution", *known} & {ast.unparse(base) for base in node.bases}:
            inside = [call for call, _ in statements(node) if isinstance(call, ast.Call)]
            built += [call for call in inside if ast.unparse(call.func) == "super().__init__"]
    return len(built), [call.lineno for call in built if keyword(call, "validate_args") is not False]


def test_no_distribution_checks_its_arguments() -> None:
    found = {path: unchecked_distributions(tree_of(path)) for path in SOURCES}
    assert sum(count for count, _ in found.values()) >= 5
    assert [place(path, line) for path, (_, lines) in found.items() for line in lines] == []


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("from torch.distributions import Normal\nNormal(0, 1)\n", [2]),
        ("from torch.distributions import Normal as N\ndef f():\n    return N(0, 1, validate_args=True)\n", [3]),
        ("import torch\ntorch.distributions.Normal(0, 1)\n", [2]),
        ("from torch import distributions\ndistributions.Normal(0, 1, validate_args=False)\n", []),
        ("from torch.distributions import Distribution\nclass D(Distribution):\n    def __init__(self):\n"
         "        super().__init__()\n", [4]),
    ],
)  # fmt: skip
def test_a_distribution_that_checks_its_arguments_is_found(source: str, lines: list[int]) -> None:
    assert unchecked_distributions(ast.parse(source)) == (1, lines)


def unsafe(tree: ast.Module) -> list[int]:
    """The lines that could run what a file says: unpickling, evaluating, YAML's own objects."""
    found = []
    for node, _ in statements(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
            if names & {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}:
                found.append(node.lineno)
        if isinstance(node, ast.Call):
            call = ast.unparse(node.func)
            refused = (
                (call == "torch.load" and keyword(node, "weights_only") is not True)
                or (call in ("np.load", "numpy.load") and keyword(node, "allow_pickle") is not False)
                or keyword(node, "allow_pickle") not in (None, False)
                or call in ("eval", "exec", "os.system", "yaml.load", "yaml.unsafe_load", "yaml.full_load")
                or keyword(node, "shell") not in (None, False)
            )
            if refused:
                found.append(node.lineno)
    return found


def test_nothing_that_is_read_runs_code() -> None:
    loads = [
        ast.unparse(node) for path in SOURCES for node, _ in statements(tree_of(path)) if isinstance(node, ast.Call)
    ]
    assert any(call.startswith("torch.load(") for call in loads)
    assert any(call.startswith("np.load(") for call in loads)
    assert [place(path, line) for path in SOURCES for line in unsafe(tree_of(path))] == []


@pytest.mark.parametrize(
    "source",
    [
        "torch.load(file)",
        "torch.load(file, weights_only=False)",
        "np.load(file)",
        "np.load(file, allow_pickle=True)",
        "np.lib.format.read_array(file, allow_pickle=allowed)",
        "import pickle",
        "from pickle import loads",
        "def f():\n    import dill",
        "eval(text)",
        "yaml.load(text, Loader=yaml.Loader)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_what_could_run_code_is_found(source: str) -> None:
    assert len(unsafe(ast.parse(source))) == 1


@pytest.mark.parametrize(
    "source", ["torch.load(f, weights_only=True)", "np.load(f, allow_pickle=False)", "yaml.compose(f)"]
)
def test_what_runs_no_code_is_left_alone(source: str) -> None:
    assert unsafe(ast.parse(source)) == []
