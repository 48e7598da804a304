"""The VAE against a published task: what a Keras program reconstructs after one, two and three epochs.

The task of a university course: 500 images of MNIST, grey, batches of 50, two layers of 500 in encoder and decoder,
Adam at 1e-3, a Bernoulli cross-entropy averaged over pixels. Published are its running means over each epoch. The
programs start from other weights (Glorot's there, torch's own here), which thirty steps do not forget: hence a tenth.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from framework import run as running
from framework.data import DataError
from framework.prepare import prepare
from framework.randomness import Keys
from framework_plugins.data.mnist import MNIST

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
PUBLISHED = {2: (0.511, 0.283, 0.260), 100: (0.460, 0.274, 0.263)}  # by the number of latents


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 500 training images, and a hundred for each of the other two sets."""
    folder = Path(os.environ.get("FW_DATA_DIR", "no-data"))
    try:
        train = MNIST(batch_size=50, binarize="none", fallback="forbid", data_directory=folder).load().train
    except DataError:
        pytest.skip("MNIST is not in the data directory: set FW_DATA_DIR to a folder that holds mnist/")
    x = train.examples(slice(0, 700), Keys(0, "data", 0)).squeeze(1).numpy()
    path = tmp_path_factory.mktemp("course") / "images.npz"
    np.savez(path, x_train=x[:500], x_validation=x[500:600], x_test=x[600:])
    return path


@pytest.mark.parametrize("latent_dim", list(PUBLISHED))
def test_the_first_epochs_of_the_course_task(
    latent_dim: int, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "draw", lambda *arguments: [])
    overrides = [
        f"data={{name: arrays, batch_size: 50, path: {images}}}",
        "trainer.max_epochs=3",
    ]
    recipe = RECIPES / f"vae_{latent_dim}d_mnist.yaml"
    outcome = running.run(prepare(recipe, overrides, [], tmp_path), tmp_path, Console(quiet=True))
    assert outcome.directory is not None
    records = [json.loads(line) for line in (outcome.directory / "metrics.jsonl").read_text().splitlines()]
    found = [record["train/reconstruction"] / 784 for record in records if "train/reconstruction" in record]
    assert found == pytest.approx(PUBLISHED[latent_dim], rel=0.1)
