"""Finding plugins; one that is broken is named, and does not stop what does not need it."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from framework import discovery
from framework.discovery import GROUP, BrokenPlugin, load_plugins
from framework.divergence import divergences
from framework.errors import RecipeError

pytestmark = pytest.mark.usefixtures("own_registries")

PLUGIN = """\
from framework import Divergence, register_divergence


@register_divergence("nothing")
class Nothing(Divergence):
    def forward(self, q, p, z):
        return z.sum(-1) * 0
"""


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    file = tmp_path / "plugin.py"
    file.write_text(PLUGIN)
    return file


def test_the_built_in_plugins_come_by_their_entry_point() -> None:
    assert load_plugins() == []
    assert {"kl", "mmd", "beta", "infovae"} <= set(divergences.names())
    assert divergences["kl"].file.endswith("framework_plugins/divergences/kl.py")


def test_a_file_registers_its_parts(plugin: Path) -> None:
    assert load_plugins([plugin]) == []
    assert divergences["nothing"].place == f"{plugin}:4"


def test_a_file_is_loaded_once_by_whatever_path(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_plugins([plugin])
    first = divergences["nothing"].factory
    monkeypatch.chdir(plugin.parent)
    assert load_plugins([plugin, Path("plugin.py"), Path("./plugin.py")]) == []
    assert divergences["nothing"].factory is first


def test_two_files_of_one_name_are_two_plugins(plugin: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "plugin.py"
    other.parent.mkdir()
    other.write_text(PLUGIN.replace("nothing", "nil"))
    assert load_plugins([plugin, other]) == []
    assert {"nothing", "nil"} <= set(divergences.names())


def test_a_clash_of_names_breaks_the_plugin_and_names_both_places(plugin: Path) -> None:
    plugin.write_text(PLUGIN.replace('"nothing"', '"kl"'))
    kl = divergences["kl"]
    assert load_plugins([plugin]) == [
        BrokenPlugin(
            str(plugin),
            f"PluginError: two divergences are called 'kl': one at {kl.place}, one at {plugin}:4. Rename one of them.",
        )
    ]
    assert divergences["kl"] is kl


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("\nimport no_such_package\n", r"ModuleNotFoundError: No module named 'no_such_package' \({file}:2\)"),
        ("a = 1\ndef f(:\n", r"SyntaxError: .* \({file}:2\)"),
        ("raise ValueError('two\\nlines')\n", r"ValueError: two lines \({file}:1\)"),
        ("import sys\nsys.exit(0)\n", r"SystemExit: 0 \({file}:2\)"),
        (
            "from framework import register_prior\n\n@register_prior('p')\nclass P:\n    pass\n",
            r"PluginError: {file}:3: P is registered as a prior and is not one\. Expected a subclass of Prior\.",
        ),
    ],
    ids=["import", "syntax", "exception", "exit", "no such part"],
)
def test_a_broken_file_is_named_with_the_place_and_the_others_are_loaded(
    plugin: Path, tmp_path: Path, text: str, error: str
) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(text)
    (broken,) = load_plugins([bad, plugin])
    assert broken.name == str(bad)
    assert re.fullmatch(error.replace("{file}", re.escape(str(bad))), broken.error), broken.error
    assert str(broken) == f"plugin {bad} is broken and was left out: {broken.error}"
    assert "nothing" in divergences


def test_a_broken_entry_point_is_named_with_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    points = [EntryPoint("other", "no_such_plugin", GROUP)]
    monkeypatch.setattr(discovery, "entry_points", lambda *, group: points if group == GROUP else [])
    (broken,) = load_plugins()
    assert broken.name == "'other' (no_such_plugin)"
    assert broken.error.startswith("ModuleNotFoundError: No module named 'no_such_plugin'")


def test_a_file_that_is_not_there_is_refused_with_the_one_that_is(plugin: Path) -> None:
    missing = plugin.with_name("plugn.py")
    with pytest.raises(RecipeError) as caught:
        load_plugins([missing])
    assert f"{missing}: there is no such plugin file\n       write:    {plugin}\n" in str(caught.value)


def test_a_file_that_is_no_python_is_named(tmp_path: Path) -> None:
    (tmp_path / "plugin.txt").write_text(PLUGIN)
    (broken,) = load_plugins([tmp_path / "plugin.txt"])
    assert broken.error == "PluginError: a plugin is a Python file, and its name ends in .py"
