"""From a checked recipe to objects."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from framework import Divergence, Prior, register_divergence, register_prior
from framework.build import build, build_data
from framework.discovery import load_plugins
from framework.divergence import divergences
from framework.encoder import Encoder
from framework.errors import RecipeError
from framework.schema import load_recipe

RECIPE = """
learner: latent
data: {name: digits, batch_size: 50}
latent_dim: 3
encoder: {name: mlp, hidden: [8]}
decoder: {name: mlp, hidden: [8]}
prior: standard_normal
divergences: {kl: {}}
optimizer: adam
trainer: {max_epochs: 1}
"""
AGENT = """
learner: policy_gradient
environment: {id: CartPole-v1, num_envs: 2}
policy: categorical
baseline: {name: value}
update: {name: ppo, steps: 8, minibatches: 1, passes: 1, normalize_advantages: false}
discount: 0.9
optimizer: adam
evaluation: null
trainer: {max_steps: 1}
"""
load_plugins()


def built(folder: Path, *overrides: str, text: str = RECIPE) -> torch.nn.Module:
    path = folder / "recipe.yaml"
    path.write_text(text)
    recipe = load_recipe(path, overrides)
    return build(recipe, build_data(recipe, folder)).learner


@pytest.mark.usefixtures("own_registries")
def test_context_is_supplied_where_the_recipe_does_not_set_it_even_over_a_default(tmp_path: Path) -> None:
    seen = {}

    @register_divergence("asking")
    class Asking(Divergence):
        def __init__(self, *, dataset_size: int = 7, latent_dim: int | None = None) -> None:
            super().__init__()
            seen.update(dataset_size=dataset_size, latent_dim=latent_dim)

        def forward(self, q, p, z):  # type: ignore[no-untyped-def]
            return z.square().sum(1)

    built(tmp_path, "divergences.asking.weight=1")
    assert seen == {"dataset_size": 1397, "latent_dim": 3}
    built(tmp_path, "divergences.asking={dataset_size: 5}")
    assert seen == {"dataset_size": 5, "latent_dim": 3}


@pytest.mark.usefixtures("own_registries")
def test_a_prior_may_ask_for_the_encoder(tmp_path: Path) -> None:
    asked = []

    @register_prior("asking")
    class Asking(Prior):
        def __init__(self, *, latent_dim: int, input_shape: tuple[int, ...], encoder: Encoder) -> None:
            super().__init__()
            asked.append((latent_dim, input_shape, encoder))
            self.register_buffer("zeros", torch.zeros(latent_dim))

        def forward(self):  # type: ignore[no-untyped-def]
            from framework.distributions import DiagonalGaussian

            return DiagonalGaussian(self.zeros, self.zeros)

    learner = built(tmp_path, "prior=asking")
    assert asked == [(3, (1, 8, 8), learner.encoder)]


def test_adding_a_part_does_not_change_how_the_others_start(tmp_path: Path) -> None:
    plain, more = built(tmp_path), built(tmp_path, "divergences.mmd.weight=1", "prior=gaussian_mixture")
    for one, other in zip(plain.encoder.parameters(), more.encoder.parameters(), strict=True):
        assert torch.equal(one, other)
    for one, other in zip(plain.decoder.parameters(), more.decoder.parameters(), strict=True):
        assert torch.equal(one, other)


def test_another_seed_starts_elsewhere(tmp_path: Path) -> None:
    one, other = (next(built(tmp_path, f"seed={seed}").parameters()) for seed in (0, 1))
    assert not torch.equal(one, other)


def report(folder: Path, *overrides: str) -> str:
    with pytest.raises(RecipeError) as error:
        built(folder, *overrides, text=AGENT)
    (problem,) = error.value.problems
    return str(problem).replace(str(folder), ".")


NEEDED = {
    "adversarial": "hidden: [8], optimizer: adam",
    "beta": "beta: 1.0, of: kl",
    "density_ratio_total_correlation": "hidden: [8], optimizer: adam",
    "infovae": "alpha: 0.5, lambda: 1.0, of: mutual_information",
}
FIT = {"kl"}


@pytest.mark.parametrize("name", divergences.names())
@pytest.mark.parametrize("given", [True, False], ids=["with its options", "alone"])
def test_a_divergence_is_a_penalty_or_is_refused(tmp_path: Path, name: str, given: bool) -> None:
    options = f", {NEEDED[name]}" if given and name in NEEDED else ""
    penalty = f"update.penalty={{name: {name}{options}}}"
    if name in FIT:
        built(tmp_path, penalty, text=AGENT)
        return
    with pytest.raises(RecipeError) as error:
        built(tmp_path, penalty, text=AGENT)
    assert all(problem.path.startswith("update.penalty") for problem in error.value.problems)
    if options:
        assert "needs the option" not in str(error.value)


def test_there_are_divergences_of_both_kinds() -> None:
    assert set(divergences.names()) > FIT
    assert set(NEEDED) < set(divergences.names()) - FIT


def test_an_argument_that_nobody_supplies_is_a_problem_of_the_recipe(tmp_path: Path) -> None:
    assert report(tmp_path, "update.penalty=mmd").endswith(
        "update.penalty: divergence 'mmd' needs 'latent_dim', which is not supplied here\n"
        "   1 | update.penalty=mmd\n"
        "     |                ^^^\n"
        "       found:    learner 'policy_gradient', where nothing has a latent_dim\n"
        "       expected: a divergence that does without, or a learner that has it"
    )


def test_a_composite_is_refused_as_a_penalty_by_the_update(tmp_path: Path) -> None:
    assert "found:    beta\n       expected: a divergence with a value for each decision" in report(
        tmp_path, "update.penalty={name: beta, beta: 1.0, of: kl}"
    )


def test_a_baseline_for_one_run_is_blamed_on_what_makes_several(tmp_path: Path) -> None:
    trunk = "baseline.trunk={name: mlp, hidden: [4]}"
    assert report(tmp_path, trunk, "environment.independent=true").endswith(
        "environment.independent: this value is refused\n"
        "   1 | environment.independent=true\n"
        "     |                         ^^^^\n"
        "       found:    true, by which baseline.replicas is 2 with a trunk\n"
        "       expected: false, or for baseline.replicas 1, or a table: discrete observations and no trunk\n"
        "       write:    independent: false"
    )
