"""Samples of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

import framework
from framework.cli import app
from framework.errors import RecipeError
from framework.learners.latent import Latent
from framework.loading import load_run
from framework.randomness import Keys
from framework.sample import Sampled, sample
from tests.framework.small_runs import CORRIDOR, DIGITS, contents, trained


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("digits"), DIGITS, "trainer.max_epochs=1")


@pytest.fixture(scope="module")
def learner(digits: Path) -> Latent:
    found = framework.load(digits)
    assert isinstance(found, Latent)
    return found


def fw(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def arrays(sampled: Sampled) -> dict[str, torch.Tensor]:
    with np.load(sampled.arrays, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def pixels(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def test_the_arrays_are_the_latents_and_what_they_are_decoded_to(digits: Path, learner: Latent, tmp_path: Path) -> None:
    sampled = sample(digits, number=600, out=tmp_path / "new" / "folder")  # more than go through a network at a time
    assert sampled.arrays == tmp_path / "new" / "folder" / "samples.npz"
    found = arrays(sampled)
    assert sorted(found) == ["x", "z"]
    assert found["z"].shape == (600, 2)
    with torch.no_grad():
        torch.testing.assert_close(found["x"], learner.generate(found["z"]))  # batches of other sizes: float32
    # five standard errors of 600 samples of N(0, I)
    assert found["z"].mean(0).abs().max() < 5 / 600**0.5
    assert (found["z"].var(0) - 1).abs().max() < 5 * (2 / 600) ** 0.5


def test_the_run_keeps_its_samples_and_is_else_left_as_it_was(digits: Path) -> None:
    before = contents(digits)
    sampled = sample(digits, number=3)
    assert sampled.figure == digits / "samples" / "samples.png"
    after = contents(digits)
    assert {path for path in after if path not in before} == {str(sampled.figure), str(sampled.arrays)}
    assert {path: after[path] for path in before} == before


def test_it_is_the_same_again_and_another_with_another_seed(digits: Path, tmp_path: Path) -> None:
    options: list[dict[str, Any]] = [{}, {"source": "aggregate"}, {"around": 2}, {"draws": True}]
    seen = set()
    for number, option in enumerate(options):
        for seed in (1, 1, 2):
            torch.manual_seed(len(seen))  # what was drawn before is of no account
            one = sample(digits, number=5, seed=seed, out=tmp_path / f"{number}", **option)
            seen.add((number, one.arrays.read_bytes(), one.figure.read_bytes()))
        assert len(seen) == 2 * (number + 1)


def test_draws_are_of_the_likelihood(digits: Path, tmp_path: Path) -> None:
    means, draws = (arrays(sample(digits, number=400, draws=drawn, out=tmp_path)) for drawn in (False, True))
    assert torch.equal(means["z"], draws["z"])
    assert set(draws["x"].unique().tolist()) == {0.0, 1.0}
    error = (means["x"] * (1 - means["x"])).sum().sqrt()  # the standard deviation of the sum of independent bits
    assert (draws["x"] - means["x"]).sum().abs() < 5 * error


def test_around_an_input_latents_are_of_its_posterior(digits: Path, learner: Latent, tmp_path: Path) -> None:
    found = arrays(sample(digits, number=500, around=7, out=tmp_path))
    loaded = load_run(digits, with_data=True)
    assert loaded.dataset is not None
    x = loaded.dataset.test.examples(slice(7, 8), Keys(0, "", 0))
    assert torch.equal(found["input"], x)
    with torch.no_grad():
        q = learner.posterior(x)
    # five standard errors of 500 samples
    assert ((found["z"].mean(0) - q.mean[0]).abs() < 5 * q.stddev[0] / 500**0.5).all()
    assert ((found["z"].var(0) / q.variance[0] - 1).abs() < 5 * (2 / 500) ** 0.5).all()


def test_the_input_comes_first_in_the_picture(digits: Path, tmp_path: Path) -> None:
    around, alone = (sample(digits, number=2, around=0, seed=seed, out=tmp_path / f"{seed}").figure for seed in (0, 1))
    first, second = (pixels(path) for path in (around, alone))
    same = (first == second).all(axis=(0, 2)).nonzero()[0]  # columns of pixels
    other = (first != second).any(axis=(0, 2)).nonzero()[0]
    assert (same < other[0]).sum() > 80  # a tile and more: the input is drawn once


def test_of_the_aggregate_posterior_samples_have_the_moments_of_the_codes(digits: Path, tmp_path: Path) -> None:
    found = arrays(sample(digits, number=4_000, source="aggregate", components=3, out=tmp_path))
    loaded = load_run(digits, with_data=True)
    assert loaded.dataset is not None
    learner, train = loaded.built.learner, loaded.dataset.train
    assert isinstance(learner, Latent)
    with torch.no_grad():
        q = learner.posterior(train.examples(slice(None), Keys(0, "", 0)))
    mean, variance = q.mean.mean(0), q.mean.var(0) + q.variance.mean(0)  # of 1/N Σ q(z|x): the law of total variance
    # five standard errors of N codes and as many of the samples; the digits' grey pixels are drawn anew
    error = 5 * (1 / len(train) + 1 / 4_000) ** 0.5
    assert ((found["z"].mean(0) - mean).abs() < error * variance.sqrt()).all()
    assert ((found["z"].var(0) / variance - 1).abs() < 2**0.5 * error).all()


def test_a_picture_shows_so_many_at_most(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("framework.sample.MOST_SHOWN", 8)
    few, many = (pixels(sample(digits, number=number, out=tmp_path).figure) for number in (8, 9))
    assert few.shape == many.shape  # a row
    assert pixels(sample(digits, number=8, around=0, out=tmp_path).figure).shape[0] > few.shape[0]  # and the input


def test_latents_without_a_density_and_discrete_ones(tmp_path: Path) -> None:
    run = trained(
        tmp_path, DIGITS, "encoder.posterior=deterministic", "divergences.kl.name=mmd", "trainer.max_epochs=1"
    )
    around = arrays(sample(run, number=3, around=0, out=tmp_path))
    assert (around["z"] == around["z"][0]).all()  # all mass on one point
    assert arrays(sample(run, number=30, source="aggregate", out=tmp_path))["z"].shape == (30, 2)
    run = trained(
        tmp_path,
        DIGITS,
        "encoder.posterior=bernoulli",
        "prior={name: bernoulli}",
        "estimator=straight_through",
        "trainer.max_epochs=1",
    )
    for option in ({}, {"around": 1}):
        z = arrays(sample(run, number=40, out=tmp_path, **option))["z"]  # type: ignore[arg-type]
        assert set(z.unique().tolist()) <= {0.0, 1.0}
    message = r"--from: no aggregate posterior\n +found: +discrete latents\n +expected: +latents that a mixture of Ga"
    with pytest.raises(RecipeError, match=message):
        sample(run, source="aggregate")


def test_a_conditional_learner_is_told_the_labels(tmp_path: Path) -> None:
    run = trained(tmp_path, DIGITS, "conditional=true", "trainer.max_epochs=1")
    learner = framework.load(run)
    assert isinstance(learner, Latent)
    each = arrays(sample(run, number=20, out=tmp_path))
    assert each["labels"].tolist() == [label for label in range(10) for _ in range(2)]
    seven = arrays(sample(run, number=20, label=7, out=tmp_path))
    assert seven["labels"].tolist() == [7] * 20
    assert torch.equal(each["z"], seven["z"])
    with torch.no_grad():
        for found in (each, seven):
            torch.testing.assert_close(found["x"], learner.generate(found["z"], found["labels"]))  # float32, batches
    assert not torch.equal(each["x"][:14], seven["x"][:14])
    loaded = load_run(run, with_data=True)
    assert loaded.dataset is not None
    assert loaded.dataset.test.labels is not None
    own = loaded.dataset.test.labels[5].item()
    around = arrays(sample(run, number=3, around=5, out=tmp_path))
    assert around["labels"].tolist() == [own] * 3
    other = arrays(sample(run, number=3, around=5, label=(int(own) + 1) % 10, out=tmp_path))
    assert torch.equal(around["z"], other["z"])  # of the input as it is, decoded as another
    assert not torch.equal(around["x"], other["x"])
    assert sample(run, number=3, source="aggregate", label=1, out=tmp_path).source.endswith("posterior, label 1")
    with pytest.raises(RecipeError, match=r"--label: this value is refused\n +found: +10\n +expected: +0 to 9"):
        sample(run, label=10)


def test_a_run_that_makes_no_examples_is_refused(tmp_path: Path) -> None:
    run = trained(tmp_path, CORRIDOR)
    message = r"nothing to sample\n +found: +learner policy_gradient\n +expected: +learner latent, which has a prior"
    with pytest.raises(RecipeError, match=message):
        sample(run)
    assert not (run / "samples").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"number": 0}, r"--number: this value is refused\n +found: +0\n +expected: +1 or more"),
        ({"around": -1}, r"--around: there is no such example\n +found: +-1\n +expected: +0 to \d+, a row of the test"),
        ({"around": 10_000}, r"--around: there is no such example\n +found: +10000\n"),
        ({"around": 0, "source": "aggregate"}, r"two places to draw latents from\n +found: +--around and --from aggr"),
        (
            {"label": 3},
            r"--label: this value is refused\n +found: +3\n +expected: +no such option: this run's learner is",
        ),
        ({"components": 3}, r"--components: only the .* mixture\n +found: +3\n +expected: .*\n +write: +--from aggreg"),
        ({"components": 0, "source": "aggregate"}, r"--components: .* cannot be fitted\n +found: +0\n +expected: +1 t"),
    ],
)
def test_options_that_do_not_suit_are_refused(digits: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        sample(digits, **options)


def test_the_command_says_what_was_written(digits: Path, tmp_path: Path) -> None:
    result = fw("sample", str(digits), "--around", "3", "--number", "4", "--draw", "--out", str(tmp_path), "--json")
    assert result.exit_code == 0, result.output
    first, second, last = result.stdout.splitlines()
    figure, file = tmp_path / "samples.png", tmp_path / "samples.npz"
    assert first == f"{figure}: 4 draws of p(x|z), z from the posterior of test example 3, last.ckpt"
    assert second == f"{file}: the same as arrays"
    assert json.loads(last) == {
        "figure": str(figure),
        "arrays": str(file),
        "number": 4,
        "source": "the posterior of test example 3",
        "draws": True,
        "weights": "last.ckpt",
        "notes": [],
    }
    assert fw("sample", str(digits), "--from", "aggregate", "--components", "2", "--out", str(tmp_path)).exit_code == 0
    assert fw("sample", str(digits), "--around", "99999").exit_code == 2
    assert fw("sample", str(digits), "--from", "nowhere").exit_code == 2
