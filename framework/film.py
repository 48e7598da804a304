"""Pictures as a film of bounded size: a GIF, or an MP4."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from framework.errors import Problem, RecipeError
from framework.files import atomic

Picture = NDArray[np.uint8]  # [H, W, 3]

WIDEST = 400  # pixels
MOST = {".gif": 300, ".mp4": 6_000}  # pictures in a file: a GIF shows each for itself, an MP4 what changes
LONGEST_SHOWN = 1000  # milliseconds for a GIF's picture: 300 that look alike become one, and its time fits 16 bits
_TICK = 10  # milliseconds, which a GIF counts in; browsers slow down what is shown for fewer than two of them


class Film:
    """Pictures that come one after the other, thinned out so that there are never more than a file takes.

    When there is no more room every other one goes, and from then on half as many are taken: those that are left are
    evenly spaced in time.

    Args:
        path: where it is written to; its suffix, `.gif` or `.mp4`, is the format.

    Attributes:
        pictures: those taken, at most 400 pixels wide.
        every: one of how many is taken.

    Raises:
        RecipeError: another suffix, or a format whose package is not installed.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.suffix = path, path.suffix.lower()
        if self.suffix not in MOST:
            message = "a film is a GIF or an MP4"
            raise RecipeError([Problem(message, "--out", str(path), "a name that ends in .gif or .mp4")])
        self._encoder = _encoder() if self.suffix == ".mp4" else None
        self.pictures: list[Image.Image] = []
        self.every = 1
        self._offered = 0

    def wants_next(self) -> bool:
        """Count one more picture on; return whether it is to be taken."""
        wanted = self._offered % self.every == 0
        self._offered += 1
        return wanted

    def take(self, picture: Picture) -> None:
        """Take a picture, scaled down to at most 400 pixels of width."""
        image = Image.fromarray(picture)
        if image.width > WIDEST:
            image = image.resize((WIDEST, round(image.height * WIDEST / image.width)), Image.Resampling.BOX)
        self.pictures.append(image)
        if len(self.pictures) > MOST[self.suffix]:
            self.pictures = self.pictures[::2]
            self.every *= 2

    def write(self, pictures_per_second: float) -> float:
        """Write the file, and return how many seconds it lasts. Of pictures that are alike in a row a GIF holds one.

        Args:
            pictures_per_second: in the file; a GIF shows at most 50, each for a whole number of hundredths of a second
                and for no more than one second.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.suffix == ".mp4":
            self._write_mp4(pictures_per_second)
            return len(self.pictures) / pictures_per_second
        duration = min(LONGEST_SHOWN, max(2, round(1000 / pictures_per_second / _TICK)) * _TICK)
        first, *others = self.pictures
        with atomic(self.path) as file:
            first.save(file, format="GIF", save_all=True, append_images=others, duration=duration, loop=0)
        return len(self.pictures) * duration / 1000

    def _write_mp4(self, pictures_per_second: float) -> None:
        temporary = self.path.with_name(f".{self.path.stem}.part.mp4")  # ffmpeg writes to names, and reads the format
        width, height = (size - size % 2 for size in self.pictures[0].size)  # off them, and codes pairs of pixels
        try:
            assert self._encoder is not None
            writer = self._encoder.write_frames(
                str(temporary), (width, height), fps=pictures_per_second, macro_block_size=2, ffmpeg_log_level="error"
            )
            writer.send(None)
            for picture in self.pictures:
                writer.send(picture.crop((0, 0, width, height)).tobytes())
            writer.close()
            temporary.replace(self.path)
        finally:
            temporary.unlink(missing_ok=True)


def _encoder() -> Any:
    try:
        return importlib.import_module("imageio_ffmpeg")
    except ImportError as error:
        message = "an MP4 is written by a package that is not installed"
        found, expected = "no imageio-ffmpeg", "that package, or a GIF: --out NAME.gif"
        raise RecipeError([Problem(message, "--out", found, expected, "pip install imageio-ffmpeg")]) from error
