"""CIFAR-10: its two published forms, packed and unpacked, a download, and an .npz of the user's own."""

from __future__ import annotations

import functools
import gzip
import io
import os
import tarfile
import threading
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch

from framework.data import DataError, Dataset, Facts, data
from framework.errors import OptionError
from framework.randomness import Keys
from framework_plugins.data import cifar10_files
from framework_plugins.data.cifar10 import CIFAR10
from tests.plugins.data.cifar10_archives import (
    IMAGES,
    LABELS,
    PIXELS,
    archived,
    binary_batches,
    publish,
    python_batches,
    unpacked,
)

BINARY, PYTHON = "cifar-10-batches-bin", "cifar-10-batches-py"
WHERE: dict[str, Callable[[Path], None]] = {
    "binary archive": lambda at: write(at / "cifar-10-binary.tar.gz", archived(BINARY, binary_batches())),
    "binary folder": lambda at: unpacked(at / BINARY, binary_batches()),
    "python archive": lambda at: write(at / "cifar-10-python.tar.gz", archived(PYTHON, python_batches())),
    "python folder": lambda at: unpacked(at / PYTHON, python_batches()),
}


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def loaded(folder: Path) -> Dataset:
    return CIFAR10(batch_size=8, data_directory=folder).load()


def refused(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        loaded(folder)
    return str(caught.value)


def check(dataset: Dataset) -> None:
    """Check that a data set is the tiny one: 18 / 2 / 4 images."""
    x, y = PIXELS[:5].reshape(-1, 3, 32, 32), LABELS[:5].reshape(-1)
    for of, images, labels in [
        (dataset.train, x[:18], y[:18]),
        (dataset.validation, x[18:], y[18:]),
        (dataset.test, PIXELS[5], LABELS[5]),
    ]:
        examples = of.examples(slice(None), Keys(0, "test", 0))
        assert examples.dtype == torch.float32
        assert np.array_equal(examples.numpy(), images.astype(np.float32) / 255)
        assert of.labels is not None
        assert of.labels.tolist() == labels.tolist()
    assert dataset.facts == Facts((3, 32, 32), 18, "unit_interval", classes=10)
    assert dataset.source.description == "CIFAR-10, 18 / 2 / 4 images"


def test_facts_need_no_data_and_are_those_of_what_was_published() -> None:
    assert data["cifar10"].factory is CIFAR10
    part = CIFAR10(batch_size=128, data_directory=Path("nowhere"))
    assert part.facts() == Facts((3, 32, 32), 45_000, "unit_interval", classes=10)
    assert [file.size for file in cifar10_files.BATCHES] == [10_000 * 3_073] * 6


@pytest.mark.parametrize("inside", ["", "cifar10"])
@pytest.mark.parametrize("where", WHERE)
def test_it_is_found_in_each_form(where: str, inside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch)
    WHERE[where](tmp_path / inside)
    dataset = loaded(tmp_path)
    check(dataset)
    assert Path(dataset.source.location).parent == tmp_path / inside
    assert len(dataset.source.sha256) == 6
    assert dataset.source.notes == ()


def test_it_is_downloaded_verified_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = publish(monkeypatch)
    write(tmp_path / "mirror" / "cifar-10-binary.tar.gz", archive)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "mirror"))
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(cifar10_files, "MIRRORS", (f"http://127.0.0.1:{server.server_port}",))
        check(loaded(tmp_path / "data"))
        server.shutdown()
    kept = tmp_path / "data" / "cifar10" / "cifar-10-binary.tar.gz"
    assert kept.read_bytes() == archive
    check(loaded(tmp_path / "data"))


def test_where_it_cannot_be_had_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch)
    monkeypatch.setattr(cifar10_files, "MIRRORS", ("file:///nowhere",))
    assert refused(tmp_path) == (
        "CIFAR-10 cannot be had: cifar-10-binary.tar.gz or cifar-10-batches-bin or cifar-10-python.tar.gz or "
        f"cifar-10-batches-py is not in {tmp_path}/cifar10 or {tmp_path}; file:///nowhere/cifar-10-binary.tar.gz "
        "failed (No such file or directory). Put cifar-10-binary.tar.gz into "
        f"{tmp_path}/cifar10, or name the folder that holds cifar10/ with FW_DATA_DIR or --data-dir, or write "
        "data.path=FILE for a .npz of your own."
    )


def test_what_is_damaged_is_passed_over_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = publish(monkeypatch)
    damaged, whole = tmp_path / "cifar10" / "cifar-10-binary.tar.gz", tmp_path / "cifar-10-binary.tar.gz"
    write(damaged, archive[:-2000])
    write(whole, archive)
    dataset = loaded(tmp_path)
    check(dataset)
    assert dataset.source.location == str(whole)
    assert dataset.source.notes == (
        f"{damaged} is a damaged archive (Compressed file ended before the end-of-stream marker was reached).",
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda files: files.pop("data_batch_3.bin"),
            "not the published archive: it has no data_batch_3.bin of 12,292 bytes",
        ),
        (
            lambda files: files.update({"test_batch.bin": files["test_batch.bin"] + b"\0"}),
            "not the published archive: it has no test_batch.bin of 12,292 bytes",
        ),
        (
            lambda files: files.update({"data_batch_1.bin": files["data_batch_2.bin"]}),
            "not the published file: sha256 ",
        ),
        (
            lambda files: files.update(bomb=bytes(2**22)),
            "not the published archive: more than 1,122,328 unpacked bytes",
        ),
    ],
    ids=["missing", "longer", "other", "bomb"],
)
def test_an_archive_of_other_content_is_refused(
    change: Callable[[dict[str, bytes]], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch)
    files = binary_batches()
    change(files)
    write(tmp_path / "cifar-10-binary.tar.gz", archived(BINARY, files))
    assert refused(tmp_path).startswith(f"CIFAR-10 cannot be had: {tmp_path}/cifar-10-binary.tar.gz is {message}")


def test_a_link_in_an_archive_leads_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch)
    for name, content in binary_batches().items():
        write(tmp_path / "secret" / name, content)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name in binary_batches():
            link = tarfile.TarInfo(f"{BINARY}/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret" / name)
            archive.addfile(link)
    write(tmp_path / "cifar-10-binary.tar.gz", stream.getvalue())
    assert "it has no data_batch_1.bin" in refused(tmp_path)


def test_a_pickle_that_is_not_the_published_one_is_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(monkeypatch)
    files = python_batches()
    files["data_batch_2"] = b"cposix\nmkdir\n(S'" + str(tmp_path / "made").encode() + b"'\ntR."
    unpacked(tmp_path / PYTHON, files)
    assert f"{tmp_path}/{PYTHON} is not whole: " in refused(tmp_path)
    assert not (tmp_path / "made").exists()


def test_an_unpacked_folder_that_lacks_a_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch)
    files = binary_batches()
    del files["data_batch_4.bin"]
    unpacked(tmp_path / BINARY, files)
    assert refused(tmp_path).startswith(
        f"CIFAR-10 cannot be had: {tmp_path}/{BINARY} is not whole: it has no data_batch_4.bin; "
    )


class TestOwnFile:
    """With `path`."""

    X, Y = np.arange(20 * 3072).reshape(20, 32, 32, 3).astype(np.uint8), np.arange(20) % 10

    def arrays(self, **changes: np.ndarray) -> dict[str, np.ndarray]:
        arrays = {"x_train": self.X, "y_train": self.Y[:, None], "x_test": self.X[:3], "y_test": self.Y[:3]}
        return {**arrays, **changes}

    def saved(self, folder: Path, arrays: dict[str, np.ndarray]) -> Path:
        np.savez(folder / "own.npz", **arrays)  # type: ignore[arg-type]
        return folder / "own.npz"

    def test_colours_come_first_and_the_last_tenth_is_for_validation(self, tmp_path: Path) -> None:
        self.saved(tmp_path, self.arrays())
        part = CIFAR10(batch_size=18, path="own.npz", data_directory=tmp_path)
        dataset = part.load()
        assert part.facts() == dataset.facts == Facts((3, 32, 32), 18, "unit_interval", classes=10)
        assert [len(of) for of in (dataset.train, dataset.validation, dataset.test)] == [18, 2, 3]
        x = dataset.validation.examples(slice(None), Keys(0, "test", 0))
        assert np.array_equal(x[1, 2].numpy(), self.X[19, :, :, 2].astype(np.float32) / 255)
        assert dataset.validation.labels is not None
        assert dataset.validation.labels.tolist() == [8, 9]
        assert dataset.source.description == "own.npz, 18 / 2 / 3 images"
        assert dataset.source.location == str(tmp_path / "own.npz")
        assert dataset.source.notes == ("own.npz is unverified: its images were not compared with the published ones.",)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            (
                {"x_train": X.transpose(0, 3, 1, 2)},
                "x_train is uint8 of shape [20, 3, 32, 32]; expected uint8 of shape [N, 32, 32, 3], colours last",
            ),
            (
                {"x_test": X[:3] / 255},
                "x_test is float64 of shape [3, 32, 32, 3]; expected uint8 of shape [N, 32, 32, 3], colours last",
            ),
            (
                {"y_train": Y[:19]},
                "y_train is int64 of shape [19]; expected integers of shape [20], one for each row of x_train",
            ),
            ({"y_test": Y[8:11] + 1}, "y_test holds 10; expected classes, 0 to 9"),
            (
                {"x_train": X[:9], "y_train": Y[:9]},
                "x_train has 9 images; expected at least 10, the last tenth of which is for validation",
            ),
        ],
        ids=["order", "floats", "labels", "classes", "few"],
    )
    def test_what_cannot_be_used_is_named(self, changes: dict[str, np.ndarray], message: str, tmp_path: Path) -> None:
        path = str(self.saved(tmp_path, self.arrays(**changes)))
        with pytest.raises(DataError) as caught:
            CIFAR10(batch_size=1, path=path, data_directory=tmp_path).facts()
        assert str(caught.value) == f"{path}: {message}"

    def test_a_missing_array_is_named(self, tmp_path: Path) -> None:
        arrays = self.arrays()
        del arrays["y_test"]
        path = str(self.saved(tmp_path, arrays))
        with pytest.raises(DataError) as caught:
            CIFAR10(batch_size=1, path=path, data_directory=tmp_path).load()
        assert str(caught.value) == (
            f"{path}: there is no array y_test; expected x_train, y_train, x_test and y_test; found x_test, x_train, "
            "y_train"
        )

    def test_options_that_cannot_be_are_refused(self, tmp_path: Path) -> None:
        self.saved(tmp_path, self.arrays())
        for options, message in [
            ({"batch_size": 0}, "batch_size: expected 1 to 45,000, the number of training images, found 0"),
            ({"batch_size": 45_001}, "batch_size: expected 1 to 45,000, the number of training images, found 45001"),
            ({"path": "own.npz", "batch_size": 0}, "batch_size: expected at least 1, found 0"),
            ({"path": "own.npy"}, "path: expected the path of a .npz file, found own.npy"),
            ({"path": "won.npz"}, "path: expected a file that exists, found won.npz; write own.npz"),
            (
                {"path": "own.npz", "batch_size": 19},
                "batch_size: expected 1 to 18, the number of training examples in own.npz, found 19",
            ),
        ]:
            with pytest.raises(OptionError) as caught:
                CIFAR10(**{"batch_size": 1, "data_directory": tmp_path, **options}).facts()  # type: ignore[arg-type]
            assert message == str(caught.value)

    def test_the_subset_of_real_images(self) -> None:
        configured = Path(os.environ.get("FW_DATA_DIR", ""))
        if not (configured / "cifar10_subset").is_dir():
            pytest.skip("needs a part of CIFAR-10: set FW_DATA_DIR to a folder that holds cifar10_subset/")
        part = CIFAR10(batch_size=128, path="cifar10_subset/cifar10_15k.npz", data_directory=configured)
        dataset = part.load()
        assert [len(of) for of in (dataset.train, dataset.validation, dataset.test)] == [10_800, 1_200, 3_000]
        pixels = torch.cat([dataset.train.inputs, dataset.validation.inputs]).double() / 255
        # The published mean and standard deviation of the 50,000; of a balanced fifth of them to two digits.
        expected = torch.tensor([[0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]], dtype=torch.float64)
        found = torch.stack([pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))])
        torch.testing.assert_close(found, expected, rtol=0, atol=5e-3)
        assert dataset.test.labels is not None
        assert dataset.test.labels.bincount().tolist() == [300] * 10


def test_a_gzip_file_that_is_no_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch)
    write(tmp_path / "cifar-10-binary.tar.gz", gzip.compress(b"nothing" * IMAGES))
    assert f"{tmp_path}/cifar-10-binary.tar.gz is a damaged archive (" in refused(tmp_path)
