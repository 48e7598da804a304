#!/usr/bin/env python
"""Write docs/divergences.md and a page for each divergence, docs/divergences/<name>.md, from the docstrings.

    .venv/bin/python scripts/divergence_pages.py

Pages that no divergence has any more are deleted. A test compares what is committed with what this writes.
"""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path

from framework.adversarial import AdversarialDivergence
from framework.discovery import load_plugins
from framework.divergence import CompositeDivergence, Divergence
from framework.registry import Entry, registries
from framework.show import options_in_words

ROOT = Path(__file__).resolve().parent.parent
SECTIONS = ("Args", "Attributes", "Returns", "Raises", "Example", "Oracle", "Reference")
OURS = "framework_plugins."  # where the divergences are defined that come with the framework
INTRODUCTION = """\
# Divergences

What a recipe's `divergences` can name: each with its formula, its options, what its estimate is worth, and what it is
tested against. The pages are made from the docstrings, which `fw show NAME` prints too.
"""


def pages() -> dict[str, str]:
    """Return what each file is to hold, by its path below docs/: the index, and a page a divergence."""
    entries = [entry for entry in registries()["divergence"] if entry.factory.__module__.startswith(OURS)]
    rows = ["| divergence | |", "|---|---|"]
    rows += [f"| [`{entry.name}`](divergences/{entry.name}.md) | {_cell(_summary(entry))} |" for entry in entries]
    found = {"divergences.md": "\n".join([INTRODUCTION, *rows, ""])}
    return found | {f"divergences/{entry.name}.md": page(entry) for entry in entries}


def page(entry: Entry) -> str:
    """Return the page of one divergence."""
    parts = sections(inspect.getdoc(entry.factory) or "")
    name = entry.name
    code, test = (f"{folder}/divergences/{file}.py" for folder, file in _homes(entry))
    blocks = [f"# `{name}`", parts[""], *_properties(entry), "## Options", *_options(entry, parts.get("Args", ""))]
    if "Raises" in parts:
        blocks.append(f"Refused: {parts['Raises'].removeprefix('OptionError: ')}")
    if "Example" in parts:
        blocks += ["## Example", f"```pycon\n{parts['Example']}\n```"]
    blocks += ["## Tested against", parts.get("Oracle", "")]
    papers = [" ".join(paper.split()) for paper in parts.get("Reference", "").split(";")]
    blocks += ["## Reference", "\n".join(f"- {paper.rstrip('.')}" for paper in papers)]
    blocks.append(f"Source: [{code}](../../{code}); tests: [{test}](../../{test}).")
    return "\n\n".join(blocks) + "\n"


def sections(documentation: str) -> dict[str, str]:
    """Return a docstring's sections by name, without their indentation; what comes before them by the empty name."""
    pieces = re.split(rf"^({'|'.join(SECTIONS)}):[ \n]", documentation, flags=re.MULTILINE)
    found = {"": pieces[0].strip()}
    for name, text in zip(pieces[1::2], pieces[2::2], strict=True):
        # A section begins on its name's own line, or is indented below it.
        first, _, rest = text.partition("\n")
        found[name] = inspect.cleandoc(f"{first}\n{rest}" if first else rest).strip()
    return found


def _properties(entry: Entry) -> list[str]:
    """Return what follows from what a divergence declares, as one list."""
    kind = entry.factory
    assert isinstance(kind, type)
    if issubclass(kind, CompositeDivergence):
        return ["- A composite: an objective rewrites it into its terms, once."]
    assert issubclass(kind, Divergence)
    lines = [
        "- One value for the whole batch, which it sees on several processes too; no microbatches."
        if kind.aggregate
        else "- One value an example, averaged over the batch."
    ]
    if kind.needs_density:
        lines.append("- Evaluates the posterior's density, which a deterministic encoder's does not have.")
    if issubclass(kind, AdversarialDivergence):
        lines.append("- Has a critic, with an optimiser of its own ([adversarial models](../adversarial.md)).")
    if kind.rewardable:
        lines.append("- May be rewarded, by a negative weight.")
    if kind.decomposition:
        terms = (
            f"{quantity}" if share == 1 else f"{share:g} · {quantity}" for quantity, share in kind.decomposition.items()
        )
        lines.append(f"- In the mean over x it is {' + '.join(terms)}, as `fw show RECIPE` counts.")
    return ["\n".join(lines)]


def _options(entry: Entry, documentation: str) -> list[str]:
    """Return the table of a divergence's options."""
    meanings = {
        name.removesuffix("_"): " ".join(text.split())
        for name, text in re.findall(r"^(\w+): (.*?)(?=^\w+: |\Z)", documentation, re.MULTILINE | re.DOTALL)
    }
    options = options_in_words(entry)
    if not options:
        return ["None."]
    rows = ["| option | values | | meaning |", "|---|---|---|---|"]
    for name, values, *default in options:
        rows.append(f"| `{name}` | {_cell(values)} | {_cell(*default)} | {_cell(meanings[name])} |")
    return ["\n".join(rows)]


def _homes(entry: Entry) -> list[tuple[str, str]]:
    file = Path(entry.file).stem
    return [("plugins/framework_plugins", file), ("tests/plugins", f"test_{file}")]


def _summary(entry: Entry) -> str:
    return (inspect.getdoc(entry.factory) or "").split("\n")[0]


def _cell(text: str = "") -> str:
    return text.replace("|", "\\|")


def main() -> None:
    if broken := load_plugins():
        sys.exit("\n".join(map(str, broken)))  # their pages would be deleted
    wanted = pages()
    folder = ROOT / "docs" / "divergences"
    folder.mkdir(exist_ok=True)
    for stale in {path.name for path in folder.glob("*.md")} - {Path(name).name for name in wanted}:
        (folder / stale).unlink()
    for name, text in wanted.items():
        (ROOT / "docs" / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
