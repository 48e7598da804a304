"""Films of bounded size."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from framework import film
from framework.errors import RecipeError
from framework.film import Film, Picture


def picture(number: int, width: int = 8, height: int = 6) -> Picture:
    """A picture that no other number has."""
    one = np.zeros((height, width, 3), dtype=np.uint8)
    one[:, :, 0], one[0, 0, 1] = number % 256, number // 256
    return one


def shot(path: Path, count: int, **size: int) -> Film:
    made = Film(path)
    for number in range(count):
        if made.wants_next():
            made.take(picture(number, **size))
    return made


def test_a_short_film_has_every_picture(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "a.gif"
    made = shot(path, 12)
    assert made.every == 1
    assert made.write(50) == pytest.approx(0.24)
    with Image.open(path) as gif:
        assert (gif.n_frames, gif.size, gif.info["duration"], gif.info["loop"]) == (12, (8, 6), 20, 0)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(("count", "every"), [(300, 1), (301, 2), (600, 2), (602, 4), (5_000, 32)])
def test_a_long_film_is_thinned_out_evenly(tmp_path: Path, count: int, every: int) -> None:
    made = shot(tmp_path / "a.gif", count)
    assert made.every == every
    assert len(made.pictures) <= 300
    shown = [int(np.asarray(one)[0, 0, 1]) * 256 + int(np.asarray(one)[1, 1, 0]) for one in made.pictures]
    assert shown == list(range(0, count, every))


def test_wide_pictures_are_scaled_down_and_others_are_not(tmp_path: Path) -> None:
    assert shot(tmp_path / "a.gif", 1, width=600, height=400).pictures[0].size == (400, 267)
    assert shot(tmp_path / "a.gif", 1, width=400, height=900).pictures[0].size == (400, 900)


def test_a_gif_is_no_faster_than_browsers_show(tmp_path: Path) -> None:
    assert shot(tmp_path / "a.gif", 10).write(1000) == pytest.approx(0.2)
    assert shot(tmp_path / "a.gif", 10).write(4) == pytest.approx(2.5)


def test_pictures_that_all_look_alike_are_shown_for_no_more_than_a_second_each(tmp_path: Path) -> None:
    made = Film(tmp_path / "a.gif")
    for _ in range(5_000):
        if made.wants_next():
            made.take(picture(0))
    assert made.every == 32
    # A GIF holds one picture of them, whose time in hundredths of a second has 16 bits: 157 · 8 s would be too much.
    assert made.write(4 / made.every) == len(made.pictures) == 157
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.info["duration"] == 157_000
    assert film.MOST[".gif"] * film.LONGEST_SHOWN < 10 * 2**16


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"--out: a film is a GIF or an MP4\n.*a\.avi\n.*ends in \.gif or \.mp4"):
        Film(tmp_path / "a.avi")


def test_an_mp4_needs_a_package_and_the_error_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    message = r"an MP4 is written by a package that is not installed\n.*\n +expected: +that package, or a GIF"
    with pytest.raises(RecipeError, match=message) as caught:
        Film(tmp_path / "a.mp4")
    assert "write:    pip install imageio-ffmpeg" in str(caught.value)


def test_an_mp4_is_of_even_size_and_appears_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []

    class Encoder(ModuleType):
        @staticmethod
        def write_frames(name: str, size: tuple[int, int], **options: object):  # type: ignore[no-untyped-def]
            assert size == (400, 266)
            assert options["fps"] == 25
            try:
                while True:
                    sent.append((yield))
            except GeneratorExit:
                Path(name).write_bytes(b"film")

    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", Encoder("imageio_ffmpeg"))
    made = shot(tmp_path / "a.mp4", 3, width=600, height=400)
    assert made.write(25) == pytest.approx(3 / 25)
    assert [len(one) for one in sent[:3]] == [3 * 400 * 266] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_an_mp4_is_what_an_encoder_makes_of_it(tmp_path: Path) -> None:
    encoder = pytest.importorskip("imageio_ffmpeg")
    made = shot(tmp_path / "a.mp4", 30, width=64, height=48)
    made.write(10)
    assert encoder.count_frames_and_secs(str(tmp_path / "a.mp4")) == (30, 3.0)


def test_a_gif_holds_fewer_pictures_than_an_mp4() -> None:
    assert film.MOST[".gif"] < film.MOST[".mp4"]
