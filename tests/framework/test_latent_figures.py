"""The pictures of a latent learner that is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import norm
from torch import Tensor

from framework import latent_figures
from framework.coding import evaluating
from framework.latent_figures import draw_evaluation
from framework.learners.latent import Latent
from framework.tiles import span_of
from tests.framework.small_learners import make_learner

ALL = ["samples", "manifold", "interpolation_grid", "interpolations", "traversals", "best_worst", "latents"]


def make_examples(shape: tuple[int, ...], size: int = 40) -> Tensor:
    return 5 * torch.rand(size, *shape, generator=torch.Generator().manual_seed(0)) - 2


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, Figure]:
    """What is drawn, by name; nothing is written."""
    drawn: dict[str, Figure] = {}

    def keep(figure: Figure, path: Path) -> Path:
        drawn[path.stem] = figure
        return path

    monkeypatch.setattr(latent_figures, "save", keep)
    return drawn


def shown(figure: Figure, rows: int, columns: int, panel: int = 0) -> NDArray[np.float64]:
    """The pixels of each tile of 4 × 4 examples, [rows, columns, 4, 4]."""
    picture = np.asarray(figure.axes[panel].images[0].get_array()).squeeze()
    side = picture.shape[0] // rows
    seam = (side - 96) // 2  # a tile's 4 pixels are enlarged to 96
    tiles = picture.reshape(rows, side, columns, side)[:, seam:-seam, :, seam:-seam]
    return tiles[:, 12::24, :, 12::24].transpose(0, 2, 1, 3)


def expected(learner: Latent, z: Tensor, examples: Tensor, labels: Tensor | None = None) -> NDArray[np.float64]:
    """What a decoder makes of latents [N, D], in shades from 0 to 1, [N, 4, 4]."""
    with torch.no_grad():
        x = learner.generate(z.float(), labels)
    low, high = span_of(examples)
    return ((x[:, 0] - low) / (high - low)).clamp(0, 1).double().numpy()


def test_a_plane_has_all_pictures(tmp_path: Path) -> None:
    examples = make_examples((1, 4, 4))
    paths = draw_evaluation(make_learner((1, 4, 4), 2), examples, torch.arange(40) % 3, tmp_path)
    assert [path.name for path in paths] == [f"{name}.png" for name in ALL]
    assert sorted(tmp_path.iterdir()) == sorted(paths)  # and no temporary file is left
    for path in paths:
        with Image.open(path) as picture:
            assert min(picture.size) > 250


def test_the_plane_is_decoded_at_the_quantiles_and_on_the_square(figures: dict[str, Figure], tmp_path: Path) -> None:
    learner, examples = make_learner((1, 4, 4), 2), make_examples((1, 4, 4))
    draw_evaluation(learner, examples, None, tmp_path)
    for name, coordinates in (
        ("manifold", norm.ppf((np.arange(20) + 0.5) / 20)),
        ("interpolation_grid", np.linspace(-2, 2, 20)),
    ):
        tiles = shown(figures[name], 20, 20)
        for row, column in ((0, 0), (3, 11), (19, 19), (19, 0)):
            z = torch.tensor([[coordinates[column], coordinates[19 - row]]])  # z₁ to the right, z₂ upwards
            # float32, in a batch of another size
            np.testing.assert_allclose(tiles[row, column], expected(learner, z, examples)[0], atol=1e-5)


def test_a_grid_of_many_dimensions_has_examples_of_four_labels_at_its_corners(
    figures: dict[str, Figure], tmp_path: Path
) -> None:
    learner, examples = make_learner((1, 4, 4), 100), make_examples((1, 4, 4))
    labels = torch.tensor([5, 5, 0, 5, 1, 0, 2, 3] + 32 * [0])
    draw_evaluation(learner, examples, labels, tmp_path)
    assert list(figures) == [name for name in ALL if name != "manifold"]
    with torch.no_grad():
        codes = learner.posterior(examples).mean[[0, 2, 4, 6]]  # the first of each label, in the order of the examples
    tiles = shown(figures["interpolation_grid"], 20, 20)
    corners = tiles[[0, 0, 19, 19], [0, 19, 0, 19]]
    np.testing.assert_allclose(corners, expected(learner, codes, examples), atol=1e-5)
    s, t = 7 / 19, 4 / 19  # downwards and to the right
    weights = torch.tensor([(1 - s) * (1 - t), (1 - s) * t, s * (1 - t), s * t])
    np.testing.assert_allclose(tiles[7, 4], expected(learner, weights[None] @ codes, examples)[0], atol=1e-5)


def test_samples_are_twenty_by_twenty_of_the_prior(figures: dict[str, Figure], tmp_path: Path) -> None:
    learner, examples = make_learner((1, 4, 4), 3), make_examples((1, 4, 4))
    drawn: list[Tensor] = []
    learner.decoder.register_forward_hook(lambda module, inputs, p: drawn.append(inputs[0]))
    draw_evaluation(learner, examples, None, tmp_path)
    z = torch.cat(drawn[2:4])  # after the examples; of both, one alone, then the rest
    assert z.shape == (400, 3)
    assert z.mean(0).abs().max() < 5 / 20  # five standard errors of N(0, I)
    tiles = shown(figures["samples"], 20, 20).reshape(400, 4, 4)
    np.testing.assert_allclose(tiles, expected(learner, z, examples), atol=1e-5)


def test_the_best_and_the_worst_are_found_among_all_examples(figures: dict[str, Figure], tmp_path: Path) -> None:
    learner, examples = make_learner((1, 4, 4), 3), make_examples((1, 4, 4))
    draw_evaluation(learner, examples, None, tmp_path)
    with torch.no_grad():
        code = learner.posterior(examples).mean
        order = (-learner.likelihood(code).log_prob(examples)).argsort()
    for panel, rows in enumerate((order[:12], order.flip(0)[:12])):
        tiles = shown(figures["best_worst"], 2, 12, panel)
        low, high = span_of(examples)
        np.testing.assert_allclose(tiles[0], (examples[rows, 0] - low) / (high - low), atol=1e-5)
        np.testing.assert_allclose(tiles[1], expected(learner, code[rows], examples), atol=1e-5)


def test_traversals_change_the_first_examples_code(figures: dict[str, Figure], tmp_path: Path) -> None:
    learner, examples = make_learner((1, 4, 4), 3), make_examples((1, 4, 4))
    draw_evaluation(learner, examples, None, tmp_path)
    with torch.no_grad():
        q = learner.posterior(examples)
    kl = 0.5 * (q.mean**2 + q.variance - q.variance.log() - 1).mean(0)
    latent = int(kl.argmax())
    z = q.mean[:1].repeat(11, 1)
    z[:, latent] = torch.linspace(-3, 3, 11)
    np.testing.assert_allclose(shown(figures["traversals"], 3, 11)[0], expected(learner, z, examples), atol=1e-5)
    name = figures["traversals"].axes[0].get_yticklabels()[0].get_text()
    assert name == f"z{'₁₂₃'[latent]}  KL {kl[latent]:.2f}"


@pytest.mark.parametrize(
    ("shape", "posterior", "latent_dim", "absent"),
    [
        ((3, 4, 4), "gaussian", 1, {"manifold"}),
        ((6,), "gaussian", 2, set()),
        ((4, 4), "deterministic", 2, set()),
        ((1, 4, 4), "bernoulli", 2, {"manifold", "interpolation_grid", "interpolations"}),
        ((1, 4, 4), "bernoulli", 12, {"manifold", "interpolation_grid", "interpolations"}),
        ((1, 4, 4), "categorical", 6, {"manifold", "interpolation_grid", "interpolations"}),
    ],
)
def test_any_learner_can_be_drawn(
    figures: dict[str, Figure],
    tmp_path: Path,
    shape: tuple[int, ...],
    posterior: Any,
    latent_dim: int,
    absent: set[str],
) -> None:
    draw_evaluation(make_learner(shape, latent_dim, posterior=posterior), make_examples(shape), None, tmp_path)
    assert list(figures) == [name for name in ALL if name not in absent]
    for figure in figures.values():
        figure.draw_without_rendering()


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("classes", [None, 3])
def test_few_examples_can_be_drawn(figures: dict[str, Figure], tmp_path: Path, size: int, classes: int | None) -> None:
    learner = make_learner((1, 4, 4), 5, classes=classes)
    draw_evaluation(learner, make_examples((1, 4, 4), size), torch.arange(size) % 2, tmp_path)
    absent = {"manifold"}
    if size < (2 if classes is None else 3):  # no two, or no two of one label
        absent.add("interpolations")
    assert list(figures) == [name for name in ALL if name not in absent]


def test_a_conditional_learner_is_told_the_labels(figures: dict[str, Figure], tmp_path: Path) -> None:
    learner, examples, labels = make_learner((1, 4, 4), 3, classes=4), make_examples((1, 4, 4)), torch.arange(40) % 4
    draw_evaluation(learner, examples, labels, tmp_path)
    with torch.no_grad():
        code = learner.posterior(examples, labels).mean
    ends = torch.tensor([[0, 4], [1, 5], [2, 6], [3, 7]])  # the first two of each label
    tiles = shown(figures["interpolations"], 4, 13)
    for column, rows in ((1, ends[:, 0]), (11, ends[:, 1])):
        np.testing.assert_allclose(tiles[:, column], expected(learner, code[rows], examples, labels[rows]), atol=1e-5)
    corners = shown(figures["interpolation_grid"], 20, 20)[[0, 0, 19, 19], [0, 19, 0, 19]]
    rows = torch.tensor([0, 4, 8, 12])
    np.testing.assert_allclose(corners, expected(learner, code[rows], examples, labels[rows]), atol=1e-5)
    named = [label.get_text() for label in figures["samples"].axes[0].get_yticklabels()]
    assert named == [str(row // 5) for row in range(20)]


def test_what_is_not_finite_has_no_place(figures: dict[str, Figure], tmp_path: Path) -> None:
    examples = make_examples((6,))
    examples[3:] = torch.nan
    draw_evaluation(make_learner((6,), 5), examples, None, tmp_path)
    assert len(figures["latents"].axes[0].collections[1].get_offsets()) == 3
    assert len(figures["best_worst"].axes[0].get_xticklabels()) == 1
    figures.clear()
    examples[:] = torch.nan
    draw_evaluation(make_learner((6,), 5), examples, None, tmp_path)
    assert not {"latents", "best_worst"} & figures.keys()


def test_the_same_pictures_and_every_module_as_it_was(figures: dict[str, Figure], tmp_path: Path) -> None:
    learner, examples = make_learner((1, 4, 4), 2), make_examples((1, 4, 4))
    learner.train()
    learner.prior.eval()  # a module whose mode differs from the learner's
    before = [module.training for module in learner.modules()]
    pictures = []
    for seed in (1, 2):
        torch.manual_seed(seed)  # what was drawn before is of no account
        draw_evaluation(learner, examples, None, tmp_path)
        pictures.append(shown(figures["samples"], 20, 20))
    assert np.array_equal(*pictures)
    assert [module.training for module in learner.modules()] == before
    assert all(parameter.grad is None for parameter in learner.parameters())
    with evaluating(learner):
        assert not any(module.training for module in learner.modules())


def test_titles_name_the_examples(tmp_path: Path, figures: dict[str, Figure]) -> None:
    draw_evaluation(make_learner((1, 4, 4), 3), make_examples((1, 4, 4)), None, tmp_path, kind="mine$.npy")
    titles = {name: figure.axes[0].get_title(loc="left") for name, figure in figures.items()}
    about = {name for name, title in titles.items() if r"mine\$.npy example" in title}
    assert about == {"interpolation_grid", "interpolations", "traversals", "best_worst", "latents"}
    assert not any("test" in title for title in titles.values())
