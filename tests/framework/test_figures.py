"""The pictures of a run: which there are, that they show the right numbers, and that drawing leaves no trace."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from framework import Counters, Dataset, Facts, Optimizer, Source, Split, figures
from framework.examples import Examples
from framework.figures import draw
from framework.learner import ExampleLearner, Loss
from tests.framework.small_learners import make_learner


def make_dataset(shape: tuple[int, ...], *, size: int = 40, labels: int | None = 3) -> Dataset:
    generator = torch.Generator().manual_seed(0)
    inputs = 5 * torch.rand(size, *shape, generator=generator) - 2
    classes = None if labels is None else torch.arange(size) % labels
    split = Split(inputs, classes)
    return Dataset(Facts(shape, size, "real"), Source("random numbers", "nowhere"), split, split, split)


def drawn(learner: ExampleLearner, dataset: Dataset, folder: Path) -> list[Path]:
    examples = Examples(learner=learner, dataset=dataset, batch_size=4, seed=0, validate_every=1, dtype=None)
    return draw(learner, examples, folder)


def size_of(picture: Path) -> tuple[int, int]:
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n")
    return int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")


@pytest.mark.parametrize("latent_dim", [1, 2, 16])
def test_latent_learner_has_its_pictures(tmp_path: Path, latent_dim: int) -> None:
    dataset = make_dataset((1, 8, 8))
    paths = drawn(make_learner(dataset.facts.input_shape, latent_dim), dataset, tmp_path)
    names = ["reconstructions", "prior_samples", "latent_scatter", *(["manifold"] if latent_dim == 2 else [])]
    assert [path.name for path in paths] == [f"{name}.png" for name in names]
    assert sorted(tmp_path.iterdir()) == sorted(paths)  # and no temporary file is left
    for path in paths:
        assert min(size_of(path)) > 400


@pytest.mark.parametrize(
    ("shape", "size", "labels", "latent_dim"),
    [
        ((1, 28, 20), 40, None, 1),
        ((1, 28, 20), 40, None, 5),
        ((3, 5, 7), 40, 30, 1),
        ((3, 5, 7), 40, 30, 2),
        ((2, 4, 4), 40, 3, 2),  # two channels: neither grey nor colour
        ((6, 4), 40, 3, 5),
        ((24,), 40, 3, 2),
        ((1,), 3, 3, 5),
        ((3, 200, 300), 1, 1, 5),
        ((1, 1, 40), 40, 3, 5),
    ],
)
def test_any_data_can_be_drawn(
    tmp_path: Path, shape: tuple[int, ...], size: int, labels: int | None, latent_dim: int
) -> None:
    dataset = make_dataset(shape, size=size, labels=labels)
    assert len(drawn(make_learner(dataset.facts.input_shape, latent_dim), dataset, tmp_path)) == 3 + (latent_dim == 2)


def test_posteriors_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    dataset = make_dataset((4,))
    dataset.test.inputs[:3] = math.nan
    assert (tmp_path / "latent_scatter.png") in drawn(make_learner(dataset.facts.input_shape, 5), dataset, tmp_path)
    dataset.test.inputs[:] = math.nan
    assert (tmp_path / "latent_scatter.png") not in drawn(make_learner(dataset.facts.input_shape, 5), dataset, tmp_path)


def test_same_pictures_whatever_was_drawn_from_the_generator_before(tmp_path: Path) -> None:
    dataset = make_dataset((1, 8, 8))
    learner = make_learner(dataset.facts.input_shape, 2)
    pictures = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        pictures.append([path.read_bytes() for path in drawn(learner, dataset, tmp_path)])
    assert pictures[0] == pictures[1]


def test_draws_in_evaluation_mode_and_leaves_every_module_as_it_was(tmp_path: Path) -> None:
    dataset = make_dataset((1, 8, 8))
    learner = make_learner(dataset.facts.input_shape, 2)
    learner.train()
    learner.prior.eval()  # a module whose mode differs from the learner's
    before = [module.training for module in learner.modules()]
    modes: set[bool] = set()
    learner.encoder.register_forward_hook(lambda module, *_: modes.add(module.training))
    drawn(learner, dataset, tmp_path)
    assert modes == {False}
    assert [module.training for module in learner.modules()] == before
    assert all(parameter.grad is None for parameter in learner.parameters())


class Nothing(ExampleLearner):
    """A kind of learner that has no pictures."""

    def losses(self, batch: Tensor, counters: Counters, keys: Callable[[str], None]) -> Iterator[Loss]:
        raise AssertionError("drawing asks for pictures alone")

    def evaluate(self, batch: Tensor, keys: Callable[[str], None]) -> dict[str, Tensor]:
        raise AssertionError("drawing asks for pictures alone")

    def optimizers(self) -> dict[str, Optimizer]:
        raise AssertionError("drawing asks for pictures alone")


def test_learner_without_pictures(tmp_path: Path) -> None:
    assert drawn(Nothing(), make_dataset((4,)), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_draws_without_pyplot() -> None:
    program = "import sys, framework.figures; sys.exit('matplotlib.pyplot' in sys.modules)"
    source = str(Path(figures.__file__).parents[1])
    assert subprocess.run([sys.executable, "-c", program], cwd=source, check=False).returncode == 0


def test_reconstructions_are_below_their_inputs() -> None:
    inputs = torch.linspace(0, 1, 14)[:, None, None, None].expand(14, 1, 2, 2)
    figure = figures._reconstructions(inputs, 1 - inputs, (0.0, 1.0))
    first, second = (np.asarray(axes.images[0].get_array()) for axes in figure.axes)
    side = first.shape[0] // 2
    middles = np.arange(12) * side + side // 2
    np.testing.assert_allclose(first[side // 2, middles], inputs[:12, 0, 0, 0], atol=1e-7)  # float32 inputs
    np.testing.assert_allclose(first[side + side // 2, middles], 1 - inputs[:12, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(second[side // 2, middles[:2]], inputs[12:, 0, 0, 0], atol=1e-7)
    np.testing.assert_allclose(second[side + side // 2, middles[:2]], 1 - inputs[12:, 0, 0, 0], atol=1e-7)
