"""From a checked recipe to objects."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from framework import Divergence, Prior, register_divergence, register_prior
from framework.build import build, build_data
from framework.encoder import Encoder
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


def built(folder: Path, *overrides: str) -> torch.nn.Module:
    path = folder / "recipe.yaml"
    path.write_text(RECIPE)
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
