"""The bars of variances."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from framework.variance import Comparison, Estimator
from framework.variance_figure import draw_variances


@pytest.mark.parametrize("variances", [[4e5, 1e5, 2e3], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
def test_it_is_drawn_whatever_the_variances_are(tmp_path: Path, variances: list[float]) -> None:
    estimators = [
        Estimator(name, one, one / variances[0] if variances[0] else None, 1.0, None)
        for name, one in zip(("none", "moving_average", "value"), variances, strict=True)
    ]
    comparison = Comparison(estimators, "none", 10, 5, 2, 1.0, 3, 11, 3.7, [])
    path = draw_variances(comparison, "a recipe after 0 environment steps", tmp_path / "folder" / "a.png")
    assert path == tmp_path / "folder" / "a.png"
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width == 1024
        blue = (np.asarray(image.convert("RGB")) == (0x3F, 0x90, 0xDA)).all(-1)
    assert blue.any() == any(variances[1:])
