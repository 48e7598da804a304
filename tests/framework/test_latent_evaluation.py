"""A latent-variable model judged: every number of a linear-Gaussian model against its closed form."""

from __future__ import annotations

import functools
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from framework.cli import app
from framework.data import Facts, Split
from framework.divergence import Term
from framework.errors import RecipeError
from framework.evaluate import _set_aside, describe, evaluate
from framework.evaluation_table import rounded
from framework.latent_evaluation import evaluate_latent
from framework.learners.latent import Latent
from framework.waiting import at_once
from framework_plugins.divergences.kl import KL
from framework_plugins.optimizers.adam import adam
from tests.framework.linear_gaussian import (
    LinearGaussianDecoder,
    LinearGaussianEncoder,
    LinearGaussianPrior,
    LinearPosterior,
    linear_gaussian,
)
from tests.framework.small_runs import DIGITS, trained

COUNT = 2_000


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A classifier of samples that is hardly trained, and no pictures."""
    monkeypatch.setattr("framework.sample_quality.STEPS", 50)
    monkeypatch.setattr("framework.latent_figures.draw_evaluation", lambda *_, **__: [])


def oracle() -> LinearPosterior:
    return linear_gaussian(seed=0).best_diagonal_posterior()


def learner(posterior: LinearPosterior) -> Latent:
    model = posterior.model
    latent = Latent(
        facts=Facts((model.pixels,), COUNT, "real"),
        latent_dim=model.latents,
        encoder=LinearGaussianEncoder(posterior),
        decoder=LinearGaussianDecoder(model),
        prior=LinearGaussianPrior(model.latents),
        divergences={"kl": Term(KL())},
        optimizer=functools.partial(adam, lr=1e-3),
    )
    return latent.double().eval()


def judged(split: Split, train: Split | None = None, **options: Any) -> dict[str, Any]:
    """Judge a set of examples; the training set is of the same ones unless another is given."""
    arguments = {"batch_size": 100, "samples": 200, "seed": 0, "track": at_once} | options
    facts = Facts(tuple(split.inputs.shape[1:]), len(split), "real")
    return evaluate_latent(learner(oracle()), split, train or Split(split.inputs, split.labels), facts, **arguments)


def test_every_number_of_a_linear_gaussian_model_is_right() -> None:
    posterior = oracle()
    x = posterior.model.sample(COUNT, seed=1)
    found = judged(Split(x))
    # Of these very examples: what is left is the error of the draws.
    exact = {
        "nll": -posterior.model.log_prob(x).mean(),
        "elbo": posterior.elbo_of(x).mean(),
        "reconstruction": posterior.reconstruction_of(x).mean(),
        "kl_posterior_prior": posterior.kl_of(x).mean(),
        "squared_error": (x - posterior.distribution(x).mean @ posterior.model.weight.T - posterior.model.bias)
        .square()
        .mean(),
    }
    for name, truth in exact.items():
        assert found[name] == pytest.approx(float(truth), abs=0.02 if "kl" not in name else 1e-6), name
    assert abs(found["nll"] - float(exact["nll"])) < 3 * found["nll_monte_carlo_error"] + 1e-3  # and its bias
    assert found["gap"] == pytest.approx(-found["elbo"] - found["nll"])
    assert found["gap"] == pytest.approx(float(-exact["elbo"] - exact["nll"]), abs=0.02)
    # Of the population: within the error over the examples.
    population = {
        "nll": -posterior.model.log_prob(posterior.model.sample(200_000, seed=2)).mean(),
        "elbo": posterior.elbo(),
        "mutual_information": posterior.mutual_information(),
        "kl_aggregate_prior": posterior.aggregate_kl(),
        "kl_aggregate_prior_by_difference": posterior.aggregate_kl(),
        "total_correlation": posterior.total_correlation(),
        "kl_dimension_wise": posterior.marginal_kl().sum(),
    }
    # A mixture of N stands for the population's, and log q(z) is too large by about E q(z|x)/q(z) / 2N: a component is
    # its own neighbour. Here that is 0.05 nats.
    q = posterior.distribution(x)
    torch.manual_seed(0)
    z = q.sample()
    slack = float((q.log_prob(z) - posterior.aggregate.log_prob(z)).exp().mean()) / COUNT
    assert slack < 0.15
    for name, truth in population.items():
        assert abs(found[name] - float(truth)) < 3 * found[f"{name}_standard_error"] + slack, name
    assert found["active_units"] == posterior.model.latents
    assert found["kl_by_dimension"] == pytest.approx(
        (0.5 * (posterior.distribution(x).mean.square() + posterior.variance - posterior.variance.log() - 1))
        .mean(0)
        .tolist()
    )
    assert found["notes"] == ["no probes, no sample quality: the data have no labels"]
    assert found["settings"]["samples"] == 200


def test_it_is_repeatable_and_the_seed_is_of_the_draws() -> None:
    x = oracle().model.sample(300, seed=1)
    assert judged(Split(x)) == judged(Split(x))
    other = judged(Split(x), seed=1)
    assert other["nll"] != judged(Split(x))["nll"]
    assert other["squared_error"] == judged(Split(x))["squared_error"]


def test_labels_bring_probes_and_sample_quality() -> None:
    posterior = oracle()
    x = posterior.model.sample(600, seed=1)
    side = posterior.distribution(x).mean[:, 0] > 0
    found = judged(Split(x, side.long()))
    assert found["linear_probe_accuracy"] > 0.97
    assert found["knn_accuracy"] > 0.9
    assert found["classifier_frechet_of_training_examples"] == pytest.approx(0, abs=1e-6)  # the same examples
    assert found["classifier_frechet"] > 0
    assert found["notes"] == []
    assert found["settings"]["new_examples"] == "600 means of p(x|z)"
    assert judged(Split(x, torch.zeros(600, dtype=torch.int64)))["notes"] == [
        "no probes, no sample quality: all labels are the same"
    ]


def test_the_training_set_has_no_numbers_of_classifiers_that_were_fitted_to_it() -> None:
    split = Split(oracle().model.sample(40, seed=1), torch.arange(40) % 2)
    found = judged(split, split)
    assert found["notes"] == ["no probes, no sample quality: their classifiers have seen the training examples"]
    assert "mmd_to_prior" in found
    assert not {name for name in found if name.startswith(("linear", "knn", "classifier"))}


def test_a_mutual_information_at_its_ceiling_is_said() -> None:
    x = oracle().model.sample(6, seed=1)
    found = judged(Split(x))
    assert "log 6 = 1.79 nats: of the population it may be larger" in " ".join(found["notes"])
    assert "no codes, no probes, no sample quality: they take 20 examples at least" in found["notes"]


def test_what_is_not_finite_is_left_empty_and_said() -> None:
    x = oracle().model.sample(40, seed=1)
    x[0] = 1e200  # its square is too large for float64
    found = judged(Split(x))
    assert found["nll"] is None
    assert any(note.startswith("not finite: nll, ") for note in found["notes"])
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("how", "names", "notes"),
    [
        ("dynamic", {"nll_dynamic", "elbo_dynamic", "reconstruction_dynamic", "gap_dynamic"}, []),
        ("threshold", {"nll_threshold", "elbo_threshold", "reconstruction_threshold", "gap_threshold"}, []),
        (
            "none",
            set(),
            [
                "no nll, no elbo: the pixels are grey, and a Bernoulli likelihood of grey pixels is a cross-entropy "
                "and no likelihood"
            ],
        ),
    ],
)
def test_likelihoods_carry_the_binarisation_and_grey_pixels_have_none(
    tmp_path: Path, how: str, names: set[str], notes: list[str]
) -> None:
    run = trained(tmp_path, DIGITS, f"data.binarize={how}")
    found = evaluate(run, samples=10)
    likelihoods = ("nll", "elbo", "reconstruction", "gap")
    assert {name for name in found if name.startswith(likelihoods) and not name.endswith(("error", "samples"))} == names
    assert {"mutual_information", "squared_error", "linear_probe_accuracy"} <= found.keys()
    assert [note for note in found["notes"] if note.startswith("no ")] == notes


def test_a_deterministic_encoder_has_codes_and_no_densities(tmp_path: Path) -> None:
    recipe = DIGITS.replace("divergences: {kl: {}}", "divergences: {mmd: {}}")
    found = evaluate(trained(tmp_path, recipe, "encoder.posterior=deterministic"), samples=10)
    assert "no nll, no elbo, no information: the posterior is deterministic and has no density" in found["notes"]
    assert not {name for name in found if name.startswith(("nll", "elbo", "mutual", "kl_", "total"))}
    assert {"mmd_to_prior", "active_units", "knn_accuracy", "classifier_frechet"} <= found.keys()


@pytest.mark.parametrize(
    "overrides",
    [
        ["conditional=true"],
        ["prior={name: gaussian_mixture, components: 3}"],
        ["trainer.precision=64"],
    ],
    ids=str,
)
def test_models_of_other_parts_are_judged(tmp_path: Path, overrides: list[str]) -> None:
    found = evaluate(trained(tmp_path, DIGITS, *overrides), samples=20)
    assert 0 < found["gap_dynamic"] < 10
    assert found["nll_dynamic"] == pytest.approx(-found["elbo_dynamic"] - found["gap_dynamic"])
    assert found["elbo_dynamic"] == pytest.approx(
        found["test/elbo_dynamic"], abs=2
    )  # one sample an example against twenty
    assert found["mutual_information"] < math.log(200)
    conditional = "the model is conditional: every likelihood is of x given its label"
    assert (conditional in found["notes"]) == (overrides == ["conditional=true"])
    told = "the codes were told the label: probe accuracies and information are of (x, y)"
    assert (told in found["notes"]) == (overrides == ["conditional=true"])


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("digits"), DIGITS)


def test_the_command_writes_what_it_prints(digits: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(digits), "--data", "validation", "--samples", "7", "--json"])
    assert result.exit_code == 0, result.output
    *lines, last = result.stdout.splitlines()
    found = json.loads(last)
    written = digits / "evaluation-validation.json"
    assert json.loads(written.read_text()) == found
    assert "\n".join(lines) == describe(found)
    value, error = found["nll_dynamic"], found["nll_dynamic_standard_error"]
    assert f"  {'nll_dynamic':<42}{rounded(value, error)}" in lines
    start = lines.index("settings (± is one standard error)")
    assert {f"  {'seed':<42}0", f"  {'data':<42}validation", f"  {'samples':<42}7"} < set(lines[start + 1 :])
    assert lines[-1] == f"{written}: these numbers"  # no picture was drawn
    assert {"validation/objective_dynamic", "validation/elbo_dynamic", "validation/kl"} <= found.keys()


def test_figures_are_drawn_into_the_run(digits: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = {}

    def draw(learner: Latent, examples: Tensor, labels: Tensor | None, folder: Path, *, kind: str) -> list[Path]:
        assert labels is not None
        assert folder.is_dir()
        seen.update(examples=examples.shape, labels=labels.shape, kind=kind)
        return [folder / "samples.png", folder / "latents.png"]

    monkeypatch.setattr("framework.latent_figures.draw_evaluation", draw)
    found = evaluate(digits, samples=2)
    assert found["figures"] == [str(digits / "figures" / name) for name in ("samples.png", "latents.png")]
    assert seen == {"examples": (200, 1, 8, 8), "labels": (200,), "kind": "test"}
    assert describe(found).splitlines()[-2:] == [
        f"{digits / 'evaluation.json'}: these numbers",
        f"{digits / 'figures'}: samples.png latents.png",
    ]


def test_other_settings_take_the_place_of_none(digits: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(digits, run, ignore=shutil.ignore_patterns("evaluation*"))
    first = evaluate(run, samples=3)
    assert evaluate(run, samples=3) == first
    assert [file.name for file in run.glob("evaluation*")] == ["evaluation.json"]  # nothing was lost by the second
    second = evaluate(run, samples=2)
    (kept,) = set(run.glob("evaluation*")) - {run / "evaluation.json"}
    assert re.fullmatch(r"evaluation-\d{8}-\d{6}\.json", kept.name)
    assert json.loads(kept.read_text()) == first
    assert json.loads((run / "evaluation.json").read_text()) == second
    assert second["notes"][-1] == f"the numbers of other settings or weights were there; they are kept: {kept}"


@pytest.mark.parametrize("key", ["weights", "step", "settings"])
def test_what_tells_two_evaluations_apart(key: str, tmp_path: Path) -> None:
    result = {"weights": "last.ckpt", "step": 3, "settings": {"samples": 2}, "notes": []}
    file = tmp_path / "evaluation.json"
    file.write_text(json.dumps(result))
    assert _set_aside(file, {**result, "notes": ["another"]}) is None
    kept = _set_aside(file, {**result, key: "another"})
    assert kept is not None
    assert json.loads(kept.read_text()) == result
    assert not file.exists()


def test_another_set_takes_the_place_of_none(digits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds: list[str] = []

    def draw(*given: Any, kind: str) -> list[Path]:
        kinds.append(kind)
        return [given[-1] / "samples.png"]

    monkeypatch.setattr("framework.latent_figures.draw_evaluation", draw)
    for name in ("mine", "test"):
        np.save(tmp_path / f"{name}.npy", np.eye(8, dtype=bool)[None].repeat(3, 0))
    sets = {
        "test": ("evaluation.json", "figures"),
        "validation": ("evaluation-validation.json", "figures/validation"),
        "train": ("evaluation-train.json", "figures/train"),
        str(tmp_path / "mine.npy"): ("evaluation-mine.json", "figures/mine"),
        str(tmp_path / "test.npy"): ("evaluation-file-test.json", "figures/file-test"),
    }
    for data, (_, figures) in sets.items():
        assert evaluate(digits, data=data, samples=1)["figures"] == [str(digits / figures / "samples.png")]
    for data, (file, _) in sets.items():
        assert json.loads((digits / file).read_text())["settings"]["data"] == data
    assert kinds == ["test", "validation", "training", "mine.npy", "test.npy"]


def test_a_file_of_ones_own_is_judged_under_a_name_of_its_own(digits: Path, tmp_path: Path) -> None:
    bits = (np.random.default_rng(0).random((40, 8, 8)) < 0.3).astype(np.uint8)
    np.savez(tmp_path / "mine.npz", x=bits, y=np.arange(40) % 10)
    found = evaluate(digits, data=str(tmp_path / "mine.npz"), samples=5)
    assert {"nll_file", "file/objective_file", "linear_probe_accuracy"} <= found.keys()
    assert "nll_dynamic" not in found
    assert found["settings"]["data"] == str(tmp_path / "mine.npz")
    np.save(tmp_path / "mine.npy", bits.astype(bool))
    again = evaluate(digits, data=str(tmp_path / "mine.npy"), samples=5)
    assert again["nll_file"] == found["nll_file"]
    assert "no probes, no sample quality: the data have no labels" in again["notes"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((5, 7, 8), np.uint8)}, r"another shape\n +found: +x \[5, 7, 8\]\n +expected: +\[N, 1, 8, 8\]"),
        ({"x": np.zeros((0, 8, 8), np.uint8)}, r"another shape\n +found: +x \[0, 1, 8, 8\]"),
        (
            {"x": np.zeros((5, 8, 8), np.int64)},
            r"another kind\n +found: +x int64\n +expected: +uint8, bool or floating",
        ),
        ({"x": np.full((5, 8, 8), 0.4)}, r"zeros and ones\n +found: +x from 0.4 to 0.4, with others between"),
        ({"x": np.full((5, 8, 8), np.nan)}, r"not finite\n +found: +x\n +expected: +finite numbers"),
        ({"z": np.zeros((5, 8, 8))}, r"no examples in the file\n +found: +z\n +expected: +x, or x_test"),
        (
            {"x_test": np.zeros((5, 8, 8)), "y_test": np.zeros(4, np.int64)},
            r"no labels of the examples\n +found: +y_te",
        ),
        (
            {"x": np.zeros((5, 8, 8, 1))},
            r"another shape\n.*\n +expected: .*\n +write: +x\.transpose\(0, 3, 1, 2\)",
        ),
        ({"x": np.array([{}])}, r"the file cannot be read: Object arrays cannot be loaded"),
    ],
)
def test_a_file_that_does_not_suit_is_refused(
    digits: Path, tmp_path: Path, arrays: dict[str, np.ndarray[Any, Any]], message: str
) -> None:
    np.savez(tmp_path / "mine.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=message):
        evaluate(digits, data=str(tmp_path / "mine.npz"))


def test_a_file_whose_name_is_nearly_right_is_named(digits: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "digits.npy", np.zeros((5, 8, 8)))
    near = str(tmp_path / "digits.npy")
    with pytest.raises(RecipeError, match=rf"no such file\n.*\n.*\n +write: +{near}"):
        evaluate(digits, data=str(tmp_path / "digit.npy"))


def test_a_file_that_is_no_array_is_not_taken_for_a_pickle(digits: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# Readme")
    message = r"--data: this is no \.npy or \.npz file\n +found: +.*README.md\n +expected: +a file that numpy\.save or"
    with pytest.raises(RecipeError, match=message) as raised:
        evaluate(digits, data=str(tmp_path / "README.md"))
    assert "allow_pickle" not in str(raised.value)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, r"mine\.npz has no y\n +found: +x\n +expected: +whole numbers from 0 to 9, .*\n +write: +numpy\.savez"),
        (
            np.arange(5) + 6,
            r"mine\.npz has labels of no class\n +found: +y from 6 to 10\n +expected: +whole numbers fro",
        ),
    ],
)
def test_a_conditional_model_needs_labels_that_it_knows(
    tmp_path: Path, labels: np.ndarray[Any, Any] | None, message: str
) -> None:
    run = trained(tmp_path, DIGITS, "conditional=true")
    arrays = {"x": np.zeros((5, 8, 8), bool)} | ({} if labels is None else {"y": labels})
    np.savez(tmp_path / "mine.npz", **arrays)  # type: ignore[arg-type]
    result = CliRunner().invoke(app, ["evaluate", str(run), "--data", str(tmp_path / "mine.npz")])
    assert result.exit_code == 2
    assert re.search(message, result.stderr)


@pytest.mark.parametrize(
    ("samples", "effective", "said"), [(500, 9.9, True), (500, 10.0, False), (8, 3.9, True), (8, 4.0, False)]
)
def test_a_likelihood_that_hangs_on_few_samples_is_said(
    monkeypatch: pytest.MonkeyPatch, samples: int, effective: float, said: bool
) -> None:
    numbers = {"nll": 1.0, "nll_effective_samples": effective}
    monkeypatch.setattr("framework.latent_evaluation.likelihood_numbers", lambda *_, **__: numbers)
    notes = judged(Split(oracle().model.sample(20, seed=1)), samples=samples)["notes"]
    note = (
        f"nll is too large by an unknown amount: of {samples} samples {effective:.1f} bear the weight, in the median "
        "over the examples: raise --samples"
    )
    assert (note in notes) == said


@pytest.mark.parametrize("likelihood", ["categorical", "discretized_logistic"])
def test_bytes_have_bits_per_dimension(tmp_path: Path, likelihood: str) -> None:
    found = evaluate(trained(tmp_path, DIGITS, "data.binarize=none", f"decoder.likelihood={likelihood}"), samples=3)
    assert found["bits_per_dimension"] == pytest.approx(found["nll"] / (64 * math.log(2)))
    error = found["nll_standard_error"] / (64 * math.log(2))
    assert found["bits_per_dimension_standard_error"] == pytest.approx(error)
    assert "bits a value" in describe(found)
