"""A wrong recipe never trains: exit code 2, soon, the right line, what to write; no traceback and no run directory."""

from __future__ import annotations

import itertools
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from framework.cli import app
from framework.document import MAX_BYTES

SECONDS = 5.0  # the bound that holds for every wrong recipe

RIGHT = """\
name: right
seed: 0
learner: latent
data: {name: digits, batch_size: 32}
latent_dim: 2
encoder: {name: mlp, hidden: [8]}
decoder: {name: mlp, hidden: [8], likelihood: bernoulli}
prior: {name: standard_normal}
divergences:
  kl: {weight: 1.0}
optimizer: {name: adam, lr: 1.0e-3}
trainer: {max_epochs: 1}
"""


def changed(old: str, new: str) -> str:
    assert RIGHT.count(old) == 1, old
    return RIGHT.replace(old, new)


@dataclass(frozen=True)
class Broken:
    name: str
    text: str | bytes
    place: str  # line:column, or "" where the file as a whole is wrong
    message: str
    found: str = ""
    expected: str = ""
    write: str = ""


TYPOS = (
    Broken(
        "a key of the recipe",
        changed("latent_dim: 2", "latentdim: 2"),
        "5:1",
        "latentdim: neither the recipe nor learner 'latent' has a key 'latentdim'",
        write="latent_dim",
    ),
    Broken(
        "a key that the recipe needs",
        changed("trainer:", "trianer:"),
        "12:1",
        "the recipe has no 'trainer'",
        found="trianer",
        write="trainer",
    ),
    Broken("extends", "extend: base.yaml\n" + RIGHT, "1:1", "has a key 'extend'", write="extends"),
    Broken(
        "an option",
        changed("encoder: {name: mlp, hidden", "encoder: {name: mlp, hiden"),
        "6:22",
        "encoder.hiden: encoder 'mlp' has no option 'hiden'",
        expected="one of activation, categories, dropout, hidden, input_shape, latent_dim, name, posterior, scale",
        write="hidden",
    ),
    Broken(
        "an option of the trainer",
        changed("max_epochs", "max_epoch"),
        "12:11",
        "trainer.max_epoch: trainer has no option 'max_epoch'",
        write="max_epochs",
    ),
    Broken(
        "an option of another part",
        changed("encoder: {name: mlp,", "encoder: {name: mlp, likelihood: bernoulli,"),
        "6:22",
        "encoder.likelihood: encoder 'mlp' has no option 'likelihood'",
    ),
    Broken(
        "an option that only the framework sets",
        changed("lr: 1.0e-3", "parameters: 1"),
        "11:25",
        "optimizer.parameters: optimizer 'adam' has no option 'parameters'",
        expected="one of betas, eps, lr, name, weight_decay",
    ),
    Broken(
        "the name of a part",
        changed("adam", "adm"),
        "11:19",
        "optimizer.name: there is no optimizer 'adm'",
        expected="one of adam, adamw, sgd",
        write="adam",
    ),
    Broken(
        "the name of a part, written short",
        changed("{name: standard_normal}", "standard_norml"),
        "8:8",
        "prior: there is no prior 'standard_norml'",
        write="standard_normal",
    ),
    Broken(
        "a label that is a name",
        changed("kl:", "kll:"),
        "10:3",
        "there is no divergence 'kll'",
        found="kll",
        write="kl",
    ),
    Broken("the learner", changed("latent\n", "latnet\n"), "3:10", "there is no learner 'latnet'", write="latent"),
    Broken(
        "a choice",
        changed("bernoulli", "bernouli"),
        "7:47",
        "decoder.likelihood: a string does not fit",
        expected="one of bernoulli, gaussian, continuous_bernoulli, categorical, discretized_logistic",
        write="bernoulli",
    ),
    Broken(
        "a schedule",
        changed("weight: 1.0", "weight: {name: liner, start: 0, end: 1, steps: 9}"),
        "10:23",
        "divergences.kl.weight.name: there is no schedule 'liner'",
        expected="one of constant, cosine, cyclical, linear",
        write="linear",
    ),
)

TYPES = (
    Broken(
        "an integer for a list",
        changed("encoder: {name: mlp, hidden: [8]", "encoder: {name: mlp, hidden: 8"),
        "6:30",
        "encoder.hidden: a number does not fit",
        found="8",
        expected="a list, each item an integer",
    ),
    Broken(
        "a string in a list of integers",
        changed("encoder: {name: mlp, hidden: [8]", "encoder: {name: mlp, hidden: [8, wide]"),
        "6:34",
        "encoder.hidden[1]: a string does not fit",
        found="'wide'",
        expected="an integer",
    ),
    Broken(
        "a float for an integer",
        changed("latent_dim: 2", "latent_dim: 2.0"),
        "5:13",
        "latent_dim: a number does not fit",
        found="2.0",
        expected="an integer",
    ),
    Broken(
        "a word for a number",
        changed("1.0e-3", "fast"),
        "11:29",
        "optimizer.lr: there is no schedule 'fast'",
        expected="a finite number, or one of constant, cosine, cyclical, linear",
    ),
    Broken(
        "a quoted number",
        changed("1.0e-3", '"1.0e-3"'),
        "11:29",
        "optimizer.lr: a string does not fit",
        found="'1.0e-3'",
        write="1.0e-3, without quotes",
    ),
    Broken(
        "a truth value for a number",
        changed("weight: 1.0", "weight: true"),
        "10:16",
        "divergences.kl.weight: a truth value does not fit",
        found="true",
        expected="a finite number or a schedule ({name: …})",
    ),
    Broken("a number for the name", changed("name: right", "name: 7"), "1:7", "name: a number does not fit", found="7"),
    Broken(
        "null for a part",
        changed("encoder: {name: mlp, hidden: [8]}", "encoder: null"),
        "6:10",
        "encoder: null does not fit",
        found="null",
        expected="an encoder ({name: …})",
    ),
    Broken(
        "a list for a map",
        changed("divergences:\n  kl: {weight: 1.0}", "divergences: [kl]"),
        "9:1",
        "divergences: a list does not fit",
        found="[kl]",
        expected="a map from labels, each value a divergence with its weight",
    ),
    Broken(
        "a word for the trainer",
        changed("{max_epochs: 1}", "short"),
        "12:10",
        "trainer: a string does not fit",
        expected="a map of its options, {…}",
    ),
    Broken(
        "a weight for a divergence",
        changed("kl: {weight: 1.0}", "kl: 4.0"),
        "10:7",
        "divergences.kl: a divergence is a map",
        found="4.0",
        write="kl: {weight: 4.0}",
    ),
)

MISSING = (
    Broken("the learner", changed("learner: latent\n", ""), "1:1", "the recipe has no 'learner'"),
    Broken(
        "the data",
        changed("data: {name: digits, batch_size: 32}\n", ""),
        "1:1",
        "the recipe has no 'data'",
        expected="data: …",
    ),
    Broken("the trainer", changed("trainer: {max_epochs: 1}\n", ""), "1:1", "the recipe has no 'trainer'"),
    Broken(
        "a part",
        changed("decoder: {name: mlp, hidden: [8], likelihood: bernoulli}\n", ""),
        "1:1",
        "learner 'latent' needs the option 'decoder'",
        expected="decoder: a decoder ({name: …})",
    ),
    Broken(
        "an option",
        changed("encoder: {name: mlp, hidden: [8]}", "encoder: {name: mlp}"),
        "6:1",
        "encoder: encoder 'mlp' needs the option 'hidden'",
        expected="hidden: a list, each item an integer",
    ),
    Broken(
        "an option of a schedule",
        changed("weight: 1.0", "weight: {name: linear, start: 0, end: 1}"),
        "10:8",
        "divergences.kl.weight: schedule 'linear' needs the option 'steps'",
        expected="steps: an integer",
    ),
    Broken(
        "a name",
        changed("{name: mlp, hidden: [8]}", "{hidden: [8]}"),
        "6:1",
        "encoder: an encoder has a name",
        found="no name",
        expected="one of conv, corrupted, mlp, resnet",
    ),
    Broken(
        "a limit",
        changed("max_epochs: 1", "accelerator: cpu"),
        "12:1",
        "trainer.max_epochs: this value is refused",
        found="no limit",
        write="max_steps: 10000",
    ),
)

VALUES = (
    Broken("NaN", changed("weight: 1.0", "weight: .nan"), "10:16", "divergences.kl.weight: a number", found=".nan"),
    Broken("infinity", changed("weight: 1.0", "weight: -.inf"), "10:16", "a number does not fit", found="-.inf"),
    Broken(
        "a negative weight",
        changed("weight: 1.0", "weight: -1"),
        "10:16",
        "divergences.kl.weight: this value is refused",
        found="a weight of -1 on 'kl'",
        expected="0 or more: kl may not be rewarded, a negative weight would drive q away from p",
    ),
    Broken(
        "a schedule that becomes negative",
        changed("weight: 1.0", "weight: {name: linear, start: 1, end: -1, steps: 9}"),
        "10:8",
        "divergences.kl.weight: this value is refused",
        found="a weight of -1 on 'kl'",
    ),
    Broken(
        "infovae, lambda",
        changed("kl: {weight: 1.0}", "infovae: {alpha: 0, lambda: 0.5, of: {name: mmd}}"),
        "10:31",
        "divergences.infovae.lambda: this value is refused",
        found="0.5, so that alpha + lambda − 1 = -0.5",
        expected="1 or more: a negative weight rewards a mismatch with the prior",
    ),
    Broken(
        "infovae, alpha",
        changed("kl: {weight: 1.0}", "infovae: {alpha: 2, lambda: 5, of: {name: mmd}}"),
        "10:20",
        "divergences.infovae.alpha: this value is refused",
        found="2",
        expected="1 or less: 1 − alpha is the weight of the KL",
    ),
    Broken(
        "a critic's learning rate",
        changed("kl: {weight: 1.0}", "adversarial: {hidden: [4], optimizer: {name: adam, lr: -1}}"),
        "10:58",
        "divergences.adversarial.optimizer.lr: this value is refused",
        found="-1",
        expected="0 or more, at every step",
    ),
    Broken(
        "devices", changed("1}\n", "1, devices: 0}\n"), "12:35", "trainer.devices: this value is refused", found="0"
    ),
    Broken("no epochs", changed("epochs: 1", "epochs: 0"), "12:23", "trainer.max_epochs: this value", found="0"),
    Broken("a negative seed", changed("seed: 0", "seed: -1"), "2:7", "seed: a seed is 0 or more", found="-1"),
    Broken("a path for the name", changed("name: right", "name: ../x"), "1:7", "also a folder's", found="../x"),
    Broken(
        "a label that names no metric",
        changed("kl:", "kl.a:"),
        "10:3",
        "divergences.kl.a: this label is refused",
        expected="letters, digits, _ -, the first a letter: it names a metric",
    ),
    Broken(
        "a deterministic posterior with kl",
        changed("encoder: {name: mlp,", "encoder: {name: mlp, posterior: deterministic,"),
        "10:3",
        "divergences.kl: this value is refused",
        found="'kl' with a deterministic posterior, which has no density",
        write="encoder.posterior=gaussian",
    ),
    Broken(
        "bernoulli on data outside [0, 1]",
        changed("name: digits,", "name: arrays, path: real.npz,"),
        "7:47",
        "decoder.likelihood: this value is refused",
        expected="a likelihood on the real line, or data scaled to [0, 1]",
        write="likelihood: gaussian",
    ),
    Broken(
        "convolutions on vectors",
        changed("name: digits,", "name: arrays, path: bits.npz,").replace("mlp, hidden: [8]}", "conv, channels: [8]}"),
        "6:1",
        "a convolution needs images of shape (channels, height, width), found (5,)",
    ),
    Broken(
        "data that are not there",
        changed("name: digits,", "name: arrays, path: bit.npz,"),
        "4:28",
        "data.path: this value is refused",
        found="bit.npz",
        write="bits.npz",
    ),
)

EXTENDS = "extends: other.yaml, to build on another recipe"

NOT_YAML = (
    Broken("the same key twice", RIGHT + "seed: 1\n", "13:1", "the key 'seed' is there twice", found="also on line 2"),
    Broken(
        "the same option twice",
        changed("weight: 1.0", "weight: 1.0, weight: 2.0"),
        "10:21",
        "the key 'weight' is there twice",
        expected="each key once",
    ),
    Broken(
        "a tab", changed("  kl", "\tkl"), "10:1", "not YAML: while scanning for the next token found character '\\t'"
    ),
    Broken(
        "an open bracket", changed("[8]}\n", "[8}\n"), "6:32", "not YAML: while parsing a flow sequence expected ','"
    ),
    Broken("two documents", RIGHT + "---\na: 1\n", "13:1", "not YAML: expected a single document"),
    Broken("an alias of nothing", changed("seed: 0", "seed: *a"), "2:7", "not YAML: found undefined alias"),
    Broken("a list", "- name: right\n", "1:1", "a recipe is a map of keys to values", found="a list"),
    Broken("a word", "right\n", "1:1", "a recipe is a map of keys to values", found="'right'"),
    Broken("nothing", "", "1:1", "a recipe is a map of keys to values", found="nothing"),
    Broken("a comment", "# right\n", "1:1", "a recipe is a map of keys to values", found="nothing"),
    Broken(
        "bytes", b"name: right\nseed: \xff\n", "2:7", "not a text file: byte 18 is not UTF-8", expected="a YAML file"
    ),
    Broken("an image", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "1:1", "not a text file: byte 0 is not UTF-8"),
    Broken(
        "a control character", changed("seed: 0", "seed: \x00"), "2:7", "not YAML: the character 0x0 is not allowed"
    ),
    Broken("a merge key", changed("seed: 0", "<<: {seed: 0}"), "2:1", "a key is a plain word", "<<", "", EXTENDS),
    Broken("a list as a key", changed("seed: 0", "[seed]: 0"), "2:1", "a key is a plain word", "a list or a map"),
    Broken(
        "a Python call",
        changed("name: right", "name: !!python/object/apply:os.system ['touch called']"),
        "1:7",
        "a recipe holds numbers, strings, lists and maps only",
        found="the tag !!python/object/apply:os.system",
    ),
    Broken("a Python name", changed("seed: 0", "seed: !!python/name:os.system"), "2:7", "a recipe holds numbers"),
    Broken("a wrong tag", changed("seed: 0", "seed: !!int zero"), "2:7", "a recipe holds", found="the tag !!int"),
)


def bomb(leaf: str) -> str:
    """At most 215 bytes that stand for more than 40,000 copies of the leaf: each key holds the one before six times."""
    letters = "abcdefgh"
    lines = [f"{letters[0]}: {leaf}"]
    lines += [f"{after}: " + f"${{{before}}}" * 6 for before, after in itertools.pairwise(letters)]
    text = "\n".join(lines)[:215]
    return text[: text.rindex("}") + 1]


LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
BOUNDS = "more than 10,000 values, or nested deeper than 50 levels"

EXPANSIONS = (
    Broken(
        "an interpolation of nothing",
        changed("latent_dim: 2", "latent_dim: ${data.batch}"),
        "5:13",
        "latent_dim: 'data.batch' is not in the recipe",
        found="${data.batch}",
        write="${data.batch_size}",
    ),
    Broken(
        "an interpolation of itself",
        changed("latent_dim: 2", "latent_dim: ${latent_dim}"),
        "5:13",
        "latent_dim: refers to itself",
    ),
    Broken(
        "interpolations in a circle",
        changed("seed: 0", "seed: ${latent_dim}").replace("latent_dim: 2", "latent_dim: ${seed}"),
        "2:7",
        "seed: refers to itself",
    ),
    Broken(
        "an interpolation of what it is in",
        changed("encoder: {name: mlp, hidden: [8]}", "encoder: {name: mlp, hidden: '${encoder}'}"),
        "6:30",
        "encoder.hidden: refers to itself",
    ),
    Broken(
        "a resolver",
        changed("name: right", "name: ${oc.env:HOME}"),
        "1:7",
        "name: recipes interpolate with ${key.path} alone: no resolvers, no escapes, none inside another",
        found="${oc.env:HOME}",
        expected="${key.path} of a value in this recipe",
    ),
    Broken(
        "an interpolation in another", changed("seed: 0", "seed: ${${name}}"), "2:7", "seed: recipes interpolate with"
    ),
    Broken("an escape", changed("seed: 0", "seed: \\${name}"), "2:7", "seed: recipes interpolate with"),
    Broken("an open interpolation", changed("seed: 0", "seed: '${name'"), "2:7", "seed: recipes interpolate with"),
    Broken(
        "an interpolation in braces without quotes",
        changed("batch_size: 32", "batch_size: ${seed}"),
        "4:35",
        "not YAML: while parsing a flow mapping",
        write='"${…}", in quotes inside { } or [ ]',
    ),
    Broken("a bomb of 215 bytes", bomb("xxxxxxxxxx"), "5:4", "e: expands to more than 20,000 values or characters"),
    Broken("a bomb of 215 bytes, empty", bomb("''"), "6:4", "f: expands to more than 20,000 values or characters"),
    Broken(
        "a long chain",
        "".join(f"a{link}: ${{a{link + 1}}}\n" for link in range(300)) + "a300: x\n",
        "1:5",
        "a0: refers to references, or holds values, more than 50 levels deep",
    ),
    Broken("a billion laughs", LAUGHS, "5:1", f"{BOUNDS}, once every alias is written out"),
    Broken("an alias in itself", "a: &a [*a]\n", "1:4", "an alias inside the value that it stands for"),
    Broken("many values", "a: [" + "1," * 131_000 + "]\n", "1:39999", BOUNDS),
    Broken("many levels", "a: " + "[" * 100_000, "1:54", BOUNDS),
    Broken("many levels, in blocks", "".join(" " * level + "a:\n" for level in range(400)), "51:51", BOUNDS),
    Broken("a large file", "#" * (MAX_BYTES + 1), "", "a recipe is at most 262,144 bytes long, this file is longer"),
)

ALL = {
    f"{kind}: {broken.name}": broken
    for kind, cases in {
        "typo": TYPOS,
        "type": TYPES,
        "missing": MISSING,
        "value": VALUES,
        "not YAML": NOT_YAML,
        "expansion": EXPANSIONS,
    }.items()
    for broken in cases
}


def test_there_are_at_least_thirty_broken_recipes() -> None:
    assert len(ALL) == sum(map(len, (TYPOS, TYPES, MISSING, VALUES, NOT_YAML, EXPANSIONS))) >= 30


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/a-secret-of-the-environment")
    return tmp_path


def refused(*arguments: str) -> str:
    """Run `fw` on a recipe that is wrong and return its report, which it has to give soon."""
    started = time.perf_counter()
    result = CliRunner().invoke(app, arguments)
    seconds = time.perf_counter() - started
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert seconds < SECONDS
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert "a-secret-of-the-environment" not in result.stderr
    assert "nothing was trained." in result.stderr
    assert not Path("runs").exists()
    return result.stderr


def test_the_recipe_that_the_others_are_made_of_is_right() -> None:
    Path("recipe.yaml").write_text(RIGHT)
    result = CliRunner().invoke(app, ["check", "recipe.yaml"])
    assert (result.exit_code, result.stdout) == (0, "recipe.yaml: right (right)\n"), result.output


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("broken", ALL.values(), ids=ALL)
def test_a_broken_recipe_is_refused_with_its_place_and_what_to_write(broken: Broken, command: str) -> None:
    generator = np.random.default_rng(0)
    np.savez("bits.npz", x=generator.integers(0, 2, (400, 5), dtype=np.uint8))
    np.savez("real.npz", x=generator.normal(size=(400, 5)).astype(np.float32))
    Path("recipe.yaml").write_bytes(broken.text if isinstance(broken.text, bytes) else broken.text.encode())
    report = refused(command, "recipe.yaml")
    place = f"recipe.yaml:{broken.place}: " if broken.place else "recipe.yaml: "
    first = next(line for line in report.splitlines() if broken.message in line)
    assert first.startswith(place), report
    assert report.count("recipe.yaml:") == 1, report
    assert "1 problem found; nothing was trained." in report
    for name, value in (("found", broken.found), ("expected", broken.expected), ("write", broken.write)):
        if value:
            assert f"{name + ':':<10}{value}\n" in report, report
    assert ("write:" in report) == bool(broken.write), report
    assert not Path("called").exists()


def test_the_caret_points_at_the_word() -> None:
    Path("recipe.yaml").write_text(changed("bernoulli", "bernouli"))
    assert refused("check", "recipe.yaml") == (
        "recipe.yaml:7:47: decoder.likelihood: a string does not fit\n"
        "   7 | decoder: {name: mlp, hidden: [8], likelihood: bernouli}\n"
        "     |                                               ^^^^^^^^\n"
        "       found:    'bernouli'\n"
        "       expected: one of bernoulli, gaussian, continuous_bernoulli, categorical, discretized_logistic\n"
        "       write:    bernoulli\n"
        "\n"
        "1 problem found; nothing was trained.\n"
    )


def test_everything_that_is_wrong_is_in_one_report() -> None:
    text = RIGHT
    for old, new in (
        ("latent_dim", "latentdim"),
        ("hidden: [8]}", "hiden: [8]}"),
        ("bernoulli", "bernouli"),
        ("weight: 1.0", "weight: heavy"),
        ("adam", "adm"),
        ("trainer:", "trianer:"),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    Path("recipe.yaml").write_text(text)
    report = refused("check", "recipe.yaml")
    places = [line.split(": ")[0] for line in report.splitlines() if line.startswith("recipe.yaml:")]
    lines = [int(place.split(":")[1]) for place in places]
    assert lines == [5, 6, 7, 10, 11, 12]
    assert "6 problems found; nothing was trained." in report


def test_everything_that_does_not_go_together_is_in_one_report() -> None:
    text = (
        changed("1}\n", "1, devices: 0}\n")
        .replace("weight: 1.0", "weight: -1")
        .replace("batch_size: 32", "batch_size: 0")
    )
    Path("recipe.yaml").write_text(text)
    assert "data.batch_size: this value is refused" in refused("check", "recipe.yaml")
    Path("recipe.yaml").write_text(text.replace("batch_size: 0", "batch_size: 32"))
    report = refused("check", "recipe.yaml")
    assert "divergences.kl.weight: this value is refused" in report
    assert "trainer.devices: this value is refused" in report


def test_a_missing_recipe_is_named_with_the_one_that_is_there() -> None:
    Path("recipe.yaml").write_text(RIGHT)
    report = refused("check", "recpie.yaml")
    assert "recpie.yaml: cannot be read: No such file or directory\n       write:    recipe.yaml\n" in report


def test_a_directory_is_no_recipe() -> None:
    Path("recipe.yaml").mkdir()
    assert "recipe.yaml: cannot be read: Is a directory\n" in refused("run", "recipe.yaml")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"recipe.yaml": "extends: bse.yaml\n", "base.yaml": RIGHT},
            "recipe.yaml:1:10: extends: there is no such file\n   1 | extends: bse.yaml\n     |          ^^^^^^^^\n"
            "       found:    bse.yaml\n       write:    base.yaml\n",
        ),
        ({"recipe.yaml": "extends: recipe.yaml\n"}, "recipe.yaml:1:10: extends: a recipe that extends itself\n"),
        (
            {"recipe.yaml": "name: a\nextends: base.yaml\n", "base.yaml": "name: b\n\nextends: ./recipe.yaml\n"},
            "base.yaml:3:10: extends: a recipe that extends itself\n",
        ),
        ({"recipe.yaml": "extends: {a: b}\n"}, "recipe.yaml:1:10: extends: not a file name\n"),
        ({"recipe.yaml": "extends: base.yaml\n", "base.yaml": "a: 1\na: 2\n"}, "base.yaml:2:1: the key 'a' is there"),
        (
            {"recipe.yaml": "extends: [base.yaml, base.yaml]\n", "base.yaml": "- a\n"},
            "base.yaml:1:1: a recipe is a map",
        ),
        (
            {
                **{f"{level}.yaml": f"extends: [{level + 1}.yaml, {level + 1}.yaml]\n" for level in range(30)},
                "30.yaml": RIGHT,
                "recipe.yaml": "extends: 0.yaml\n",
            },
            "extends: a recipe is put together from at most 100 files\n",
        ),
    ],
    ids=["missing", "itself", "a circle", "a map", "a broken base", "a base that is a list", "each twice, 30 deep"],
)
def test_a_recipe_that_extends_what_it_cannot_is_refused(files: dict[str, str], message: str) -> None:
    for name, text in files.items():
        Path(name).write_text(text)
    assert message in refused("check", "recipe.yaml")


@pytest.mark.parametrize(
    ("override", "message", "write"),
    [
        ("trainer.max_epochs", "command line:1:1: not an override", "trainer.max_epochs=5"),
        ("=5", "command line:1:1: not an override", "trainer.max_epochs=5"),
        ("trainer..max_epochs=5", "command line:1:1: not an override", "trainer.max_epochs=5"),
        ("trainer.max_epoch=5", "command line:1:9: trainer.max_epoch: trainer has no option 'max_epoch'", "max_epochs"),
        ("trainr.max_epochs=5", "command line:1:1: trainr: neither the recipe nor learner 'latent' has", "trainer"),
        ("trainer.max_epochs=five", "command line:1:20: trainer.max_epochs: a string does not fit", ""),
        ("latent_dim.a=5", "command line:1:1: latent_dim: a map does not fit", ""),
        ("encoder.hidden=[8", "command line:1:18: not YAML: while parsing a flow sequence expected ',' or ']'", ""),
        ("latent_dim=2 # two", "command line:1:14: a comment, which would be dropped", "'2 # two', in quotes"),
        ("extends=base.yaml", "command line:1:1: only a file can extend another", ""),
        ("a." * 50 + "b=1", "command line:1:1: a path of more than 50 keys", ""),
    ],
)
def test_a_wrong_override_is_refused(override: str, message: str, write: str) -> None:
    Path("recipe.yaml").write_text(RIGHT)
    report = refused("run", "recipe.yaml", override)
    assert message in report
    assert (f"write:    {write}\n" in report) if write else ("write:" not in report)


def test_a_report_of_a_wrong_recipe_stays_readable_when_its_line_is_a_whole_file() -> None:
    Path("recipe.yaml").write_text("{" + ", ".join(f"key{number}: 1" for number in range(3_000)) + "}\n")
    report = refused("check", "recipe.yaml")
    assert max(map(len, report.splitlines())) < 300


def processor_seconds() -> float:
    """The time of the child processes, which does not depend on how busy the machine is."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize(
    "name", ["typo: an option", "not YAML: bytes", "not YAML: a Python call", "expansion: a bomb of 215 bytes"]
)
def test_the_installed_command_refuses_a_broken_recipe_in_time(name: str) -> None:
    broken = ALL[name]
    Path("recipe.yaml").write_bytes(broken.text if isinstance(broken.text, bytes) else broken.text.encode())
    command = [sys.executable, "-c", "from framework.cli import main; main()", "run", "recipe.yaml"]
    before = processor_seconds()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert processor_seconds() - before < SECONDS
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert f"recipe.yaml:{broken.place}: " in done.stderr
    assert broken.message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in Path().iterdir()) == ["recipe.yaml"]


@pytest.mark.parametrize("leaf", ["xxxxxxxxxx", "''"])
def test_the_bombs_have_at_most_215_bytes(leaf: str) -> None:
    assert len(bomb(leaf).encode()) <= 215
