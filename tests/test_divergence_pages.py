"""The pages of divergences are what their docstrings say."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest

from framework.discovery import load_plugins
from framework.registry import Entry, registries

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = ROOT / "scripts" / "divergence_pages.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    load_plugins()
    spec = importlib.util.spec_from_file_location("divergence_pages", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entry(name: str) -> Entry:
    return registries()["divergence"][name]


def test_the_committed_pages_are_what_the_docstrings_make(script: ModuleType) -> None:
    wanted = script.pages()
    assert {"divergences.md", "divergences/kl.md", "divergences/mmd.md", "divergences/infovae.md"} <= wanted.keys()
    found = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs" / "divergences").glob("*.md")}
    action = "write them anew: .venv/bin/python scripts/divergence_pages.py"
    assert found == wanted.keys() - {"divergences.md"}, action
    different = [name for name, text in wanted.items() if (ROOT / "docs" / name).read_text(encoding="utf-8") != text]
    assert different == [], action


def test_every_divergence_says_what_it_is_tested_against_and_from_where_it_is(script: ModuleType) -> None:
    for name, text in script.pages().items():
        if name != "divergences.md":
            for heading in ("## Tested against", "## Reference"):
                said = text.split(heading)[1].split("\n## ")[0].strip()
                assert len(said) > 20, f"{name} lacks {heading!r}: the docstring's sections are Oracle and Reference"
            assert "https://" in text.split("## Reference")[1], name


def test_a_docstring_is_taken_apart(script: ModuleType) -> None:
    documentation = (
        "One line.\n\n    x = y\n\nMore: of it.\n\nArgs:\n    a: first,\n        and more.\n    lambda_: last.\n\n"
        "Oracle: by hand,\n    twice.\n\nReference: A, 2014; B,\n    2015."
    )
    assert script.sections(documentation) == {
        "": "One line.\n\n    x = y\n\nMore: of it.",
        "Args": "a: first,\n    and more.\nlambda_: last.",
        "Oracle": "by hand,\ntwice.",
        "Reference": "A, 2014; B,\n2015.",
    }


def test_a_page_has_formula_options_oracle_and_papers(script: ModuleType) -> None:
    text = script.page(entry("infovae"))
    assert text.startswith("# `infovae`\n\n(1 − α) · E_x KL(q(z|x)‖p) + (α + λ − 1) · D(q(z)‖p).\n\n")
    assert "| `lambda` | a finite number | required | λ ≥ 1 − α, without unit; written `lambda` in a recipe. |" in text
    assert "\n## Tested against\n\nequation 6 by hand" in text
    assert '\n- Zhao, Song & Ermon, "InfoVAE", AAAI 2019, equation 6, https://arxiv.org/abs/1706.02262\n' in text
    assert text.endswith(
        "tests: [tests/plugins/divergences/test_infovae.py](../../tests/plugins/divergences/test_infovae.py).\n"
    )


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("kl", "One value an example"),
        ("kl", "Evaluates the posterior's density"),
        ("kl", "In the mean over x it is I(x;z) + KL(q(z)‖p)"),
        ("kl", "## Options\n\nNone."),
        ("mmd", "One value for the whole batch"),
        ("mmd", "| `kernel` | one of rbf, imq | default imq |"),
        ("mutual_information", "May be rewarded"),
        ("adversarial", "Has a critic"),
        ("beta", "A composite"),
    ],
)
def test_a_page_says_what_a_divergence_declares(script: ModuleType, name: str, said: str) -> None:
    assert said in script.page(entry(name))


def test_signs_of_tables_are_escaped(script: ModuleType) -> None:
    index = cast(str, script.pages()["divergences.md"])
    assert "| [`beta`](divergences/beta.md) | β · D, or γ · \\|D − C\\| with a capacity C (γ is β then). |" in index
