"""Several processes train the model that one process would: the same weights, the same numbers, one record of them.

Six divergences share the start of one group of processes, forked from a warm parent, and its time limit.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import framework_plugins  # noqa: F401  (registers the parts)
from framework.divergence import divergences
from tests.framework.comparison import assert_same, run_in
from tests.framework.processes import on_ranks
from tests.framework.ranks import go_on, train_each

STEPS = 100
# After a hundred steps of Adam, on weights of size 1: roundings of sums in another order, and what steps make of them.
TOLERANCE = {64: 1e-12, 32: 1e-5}
CRITIC = "hidden: [8], optimizer: {name: adam, lr: 0.001}"
OBJECTIVES = {
    "kl": "kl: {}",
    "kl with a capacity": "beta: {beta: 2, capacity: {name: linear, start: 0, end: 5, steps: 80}, of: {name: kl}}",
    "mmd": "mmd: {weight: 100}",
    "mmd in closed form": "mmd: {weight: 100, kernel: rbf, estimate: closed_form}",
    "mutual_information": "{kl: {}, mutual_information: {weight: -0.5}}",
    "infovae": "infovae: {alpha: 0.5, lambda: 10, of: {name: mmd}}",
    "adversarial": f"adversarial: {{{CRITIC}}}",
    "wae_gan": f"adversarial: {{{CRITIC}, known_prior: true}}",
    "spectral_norm": f"adversarial: {{{CRITIC}, spectral_norm: true}}",
    "gradient_penalty": f"adversarial: {{{CRITIC}, gradient_penalty: 10.0}}",
    "density_ratio_total_correlation": f"{{kl: {{}}, density_ratio_total_correlation: {{{CRITIC}, weight: 5}}}}",
    "total_correlation": "{kl: {}, total_correlation: {weight: 5}}",
    "covariance": "{kl: {}, covariance: {weight: 10, kind: ii}}",
    "sliced_wasserstein": "sliced_wasserstein: {weight: 10}",
    "sinkhorn": "sinkhorn: {weight: 1}",
    "jensen_shannon": "{kl: {}, jensen_shannon: {weight: 10}}",
    "two critics": (
        f"{{first: {{name: adversarial, {CRITIC}}}, second: {{name: density_ratio_total_correlation, {CRITIC}}}}}"
    ),
}
RECIPE = """
name: {NAME}
learner: latent
data: {name: digits, batch_size: 64, binarize: dynamic}
latent_dim: 3
encoder: {name: mlp, hidden: [16], dropout: 0.2}
decoder: {name: mlp, hidden: [16], dropout: 0.1}
prior: {name: standard_normal}
divergences: {DIVERGENCES}
optimizer: {name: adam, lr: 0.002}
trainer: {max_steps: {STEPS}, log_every: 10, checkpoint_every: 15, accelerator: cpu}
"""


def recipe(folder: Path, label: str) -> Path:
    terms = OBJECTIVES[label]
    terms = terms if terms.startswith("{") else f"{{{terms}}}"
    text = RECIPE.replace("{NAME}", label.replace(" ", "-")).replace("{DIVERGENCES}", terms)
    path = folder / f"{label}.yaml"
    path.write_text(text.replace("{STEPS}", str(STEPS)))
    return path


def run_of(root: Path, label: str) -> Path:
    return run_in(root, label.replace(" ", "-"))


MAIN = (
    "kl",
    "kl with a capacity",
    "mmd",
    "mutual_information",
    "infovae",
    "adversarial",
    "density_ratio_total_correlation",
    "total_correlation",
    "covariance",
    "sliced_wasserstein",
    "sinkhorn",
    "jensen_shannon",
)


@pytest.fixture(scope="module", params=[64, 32])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, dict[int, Path]]:
    """The runs of every objective, by number of processes."""
    folder = tmp_path_factory.mktemp(f"precision-{request.param}")
    recipes = [recipe(folder, label) for label in (OBJECTIVES if request.param == 64 else MAIN)]
    roots = {}
    for count in (1, 2, 4):
        roots[count] = folder / str(count)
        for first in range(0, len(recipes), 6):
            some = recipes[first : first + 6]
            on_ranks(count, train_each, some, roots[count], [f"trainer.precision={request.param}"])
    return request.param, roots


@pytest.mark.parametrize("labels", [tuple(OBJECTIVES), MAIN], ids=["float64", "float32"])
def test_every_divergence_is_trained_here(labels: tuple[str, ...]) -> None:
    named = " ".join(OBJECTIVES[label] for label in labels)
    assert [name for name in divergences.names() if name not in named] == []


@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("label", list(OBJECTIVES))
def test_several_processes_train_the_same_model(trained: tuple[int, dict[int, Path]], label: str, count: int) -> None:
    precision, roots = trained
    if precision == 32 and label not in MAIN:
        pytest.skip("variants are trained in float64 alone")
    assert_same(run_of(roots[count], label), run_of(roots[1], label), TOLERANCE[precision])


def test_several_processes_train_the_same_conditional_model(tmp_path: Path) -> None:
    path = recipe(tmp_path, "kl")
    for count in (1, 2):
        on_ranks(count, train_each, [path], tmp_path / str(count), ["trainer.precision=64", "conditional=true"])
    assert_same(run_of(tmp_path / "2", "kl"), run_of(tmp_path / "1", "kl"), TOLERANCE[64])


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2)])
@pytest.mark.parametrize("label", ["infovae", "adversarial"])
def test_a_run_that_is_killed_goes_on_with_another_number_of_processes(
    tmp_path: Path, label: str, before: int, after: int
) -> None:
    path, precision = recipe(tmp_path, label), ["trainer.precision=64"]
    on_ranks(1, train_each, [path], tmp_path / "unbroken", precision)
    on_ranks(before, train_each, [path], tmp_path / "killed", precision, 47, killed=range(before))
    run = run_of(tmp_path / "killed", label)
    assert not (run / "summary.json").exists()
    on_ranks(after, go_on, run)
    assert_same(run, run_of(tmp_path / "unbroken", label), TOLERANCE[64])
