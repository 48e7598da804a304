"""The bars of variances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from framework.variance import Comparison, Estimator
from framework.variance_figure import draw_variances


def compared(variances: list[float]) -> Comparison:
    estimators = [
        Estimator(name, one, one / variances[0] if variances[0] else None, 1.0, None)
        for name, one in zip(("none", "moving_average", "value"), variances, strict=True)
    ]
    return Comparison(estimators, "none", 10, 5, 2, 1.0, 3, 11, 3.7, [])


def test_bars_are_as_long_as_their_shares_from_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Figure] = []

    def save(figure: Figure, path: Path) -> Path:
        figures.append(figure)
        return path

    monkeypatch.setattr("framework.variance_figure.save", save)
    draw_variances(compared([4e5, 1.24e5, 5e5]), "a recipe", tmp_path / "a.png")
    (axes,) = figures[0].axes
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [bar.get_x() for bar in bars] == [0, 0, 0]
    assert [bar.get_width() for bar in bars] == pytest.approx([100, 31, 125])
    assert [text.get_text() for text in axes.texts][:3] == ["100 %", "31 %", "125 %"]
    assert axes.get_xscale() == "linear"
    start, end = axes.get_xlim()
    assert start == 0
    assert end > 125  # no bar is cut
    assert axes.get_xlabel() == "variance, % of that without a baseline (10 estimates of 2 whole episodes)"


@pytest.mark.parametrize("variances", [[4e5, 1e5, 2e3], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
def test_it_is_drawn_whatever_the_variances_are(tmp_path: Path, variances: list[float]) -> None:
    path = draw_variances(compared(variances), "a recipe after 0 environment steps", tmp_path / "folder" / "a.png")
    assert path == tmp_path / "folder" / "a.png"
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width == 1024
        blue = (np.asarray(image.convert("RGB")) == (0x3F, 0x90, 0xDA)).all(-1)
    assert blue.any() == any(variances[1:])
