"""Fashion-MNIST: found, split, downloaded and verified; nothing takes its place."""

from __future__ import annotations

import functools
import gzip
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from framework.data import DataError, Facts, data
from framework.download import Published
from framework.errors import OptionError
from framework.randomness import Keys
from framework_plugins.data import fashion_mnist, idx_files
from framework_plugins.data.binarize import EVALUATION_NOTE
from framework_plugins.data.fashion_mnist import FashionMNIST
from framework_plugins.data.mnist_files import IDX_FILES as MNIST_FILES

HEADERS = (16, 8, 16, 8)


@pytest.fixture
def full_data() -> Path:
    """The data directory that has Fashion-MNIST."""
    configured = os.environ.get("FW_DATA_DIR", "")
    if not (Path(configured) / "fashion_mnist").is_dir():
        pytest.skip("needs Fashion-MNIST: set FW_DATA_DIR to a folder that holds fashion_mnist/")
    return Path(configured)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that a server of this machine offers as the mirror, with blank files of the right sizes in it."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    blank: list[Published] = []
    for file, header in zip(fashion_mnist.IDX_FILES, HEADERS, strict=True):
        content = bytes(header) + bytes(file.size - header - 1) + b"\x07"
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(content, compresslevel=1))
        blank.append(Published(file.name, hashlib.sha256(content).hexdigest(), file.size))
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setattr(fashion_mnist, "MIRRORS", (f"http://127.0.0.1:{server.server_port}",))
        monkeypatch.setattr(fashion_mnist, "IDX_FILES", tuple(blank))
        yield folder
        server.shutdown()


def test_facts_need_no_data() -> None:
    nowhere = Path("nowhere")
    assert data["fashion_mnist"].factory is FashionMNIST
    for how, values in [("none", "unit_interval"), ("threshold", "binary"), ("dynamic", "binary")]:
        part = FashionMNIST(batch_size=128, binarize=how, data_directory=nowhere)  # type: ignore[arg-type]
        binarization = None if how == "none" else how
        assert part.facts() == Facts((1, 28, 28), 50_000, values, binarization, 10)  # type: ignore[arg-type]


@pytest.mark.parametrize("batch_size", [0, 50_001])
def test_a_minibatch_that_cannot_be_is_refused(batch_size: int) -> None:
    with pytest.raises(OptionError) as caught:
        FashionMNIST(batch_size=batch_size, data_directory=Path("nowhere"))
    assert str(caught.value) == (f"batch_size: expected 1 to 50,000, the number of training images, found {batch_size}")


def test_the_published_files_are_split_as_mnists_are(full_data: Path, tmp_path: Path) -> None:
    (tmp_path / "FashionMNIST").mkdir()
    (tmp_path / "FashionMNIST" / "raw").symlink_to((full_data / "fashion_mnist").absolute())
    dataset = FashionMNIST(batch_size=128, data_directory=tmp_path).load()  # verified, in torchvision's folder
    folder = full_data / "fashion_mnist"
    x, y, test_x, test_y = (
        np.frombuffer(gzip.decompress((folder / f"{file.name}.gz").read_bytes()), np.uint8, offset=header)
        for file, header in zip(fashion_mnist.IDX_FILES, HEADERS, strict=True)
    )
    x, test_x = x.reshape(-1, 1, 28, 28), test_x.reshape(-1, 1, 28, 28)
    for of, images, labels in [
        (dataset.train, x[:50_000], y[:50_000]),
        (dataset.validation, x[50_000:], y[50_000:]),
        (dataset.test, test_x, test_y),
    ]:
        assert np.array_equal(of.inputs.numpy(), images)
        assert of.labels is not None
        assert np.array_equal(of.labels.numpy(), labels)
    # The mean and the standard deviation that are published for the training file.
    assert (round(x.mean() / 255, 4), round(x.std() / 255, 4)) == (0.2860, 0.3530)
    assert np.bincount(y).tolist() == [6_000] * 10
    assert dataset.facts == Facts((1, 28, 28), 50_000, "unit_interval", classes=10)
    assert dataset.source.description == "Fashion-MNIST, 50,000 / 10,000 / 10,000 images"
    assert dataset.source.location == str(tmp_path / "FashionMNIST" / "raw")
    assert dataset.source.notes == dataset.source.fallbacks == ()


def test_it_is_downloaded_verified_and_kept(mirror: Path, tmp_path: Path) -> None:
    dataset = FashionMNIST(batch_size=128, binarize="dynamic", data_directory=tmp_path / "data").load()
    assert [len(of) for of in (dataset.train, dataset.validation, dataset.test)] == [50_000, 10_000, 10_000]
    assert dataset.source.location == str(tmp_path / "data" / "fashion_mnist")
    assert dataset.source.notes == (EVALUATION_NOTE,)
    assert int(dataset.validation.labels[-1]) == 7  # type: ignore[index]
    kept = tmp_path / "data" / "fashion_mnist" / "t10k-labels-idx1-ubyte.gz"
    assert kept.read_bytes() == (mirror / kept.name).read_bytes()
    one, other = (dataset.test.examples(slice(10), Keys(seed, "test", 0)) for seed in (0, 1))
    assert torch.equal(one, other)


def test_where_it_cannot_be_had_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fashion_mnist, "MIRRORS", (url,))
    damaged = tmp_path / "fashion_mnist" / "train-images-idx3-ubyte"
    damaged.parent.mkdir()
    damaged.write_bytes(b"not Fashion-MNIST")
    with pytest.raises(DataError) as caught:
        FashionMNIST(batch_size=128, data_directory=tmp_path).load()
    assert str(caught.value) == (
        f"Fashion-MNIST cannot be had: {damaged} is not the published file: 17 unpacked bytes where 47,040,016 were "
        f"expected; {url}/train-images-idx3-ubyte.gz failed (Connection refused). Put train-images-idx3-ubyte.gz, "
        "train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, "
        f"t10k-labels-idx1-ubyte.gz into {tmp_path}/fashion_mnist, or name the folder that holds fashion_mnist/ with "
        "FW_DATA_DIR or --data-dir."
    )


def test_mnist_is_not_taken_for_it() -> None:
    ours, theirs = ({file.sha256 for file in files} for files in (fashion_mnist.IDX_FILES, MNIST_FILES))
    assert len(ours | theirs) == 8
    assert [file.size for file in MNIST_FILES] == [47_040_016, 60_008, 7_840_016, 10_008]
    assert idx_files.idx_files(*(file.sha256 for file in MNIST_FILES)) == MNIST_FILES
