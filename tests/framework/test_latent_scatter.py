"""Codes among samples of the prior."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex
from sklearn.decomposition import PCA

from framework.canvas import PALETTE
from framework.latent_scatter import draw_scatter, project


def test_projection_is_that_of_principal_components() -> None:
    generator = np.random.default_rng(0)
    means = generator.normal(size=(200, 6)) @ generator.normal(size=(6, 6)) + 3
    prior = generator.normal(size=(50, 6))
    points, background, names = project(means, prior)
    oracle = PCA(n_components=2).fit(means)
    signs = np.sign((points * oracle.transform(means)).sum(0))  # a direction's sign is arbitrary
    # sklearn takes singular values, we take eigenvalues of the scatter matrix: half the digits agree
    np.testing.assert_allclose(points, oracle.transform(means) * signs, atol=1e-8)
    np.testing.assert_allclose(background, oracle.transform(prior) * signs, atol=1e-8)
    first, second = oracle.explained_variance_ratio_
    assert names == [
        f"principal component 1 ({first:.0%} of the variance)",
        f"principal component 2 ({second:.0%} of the variance)",
    ]


@pytest.mark.parametrize("labels", [None, [4, 2, 2]])
def test_codes_are_drawn_where_they_are_in_the_colour_of_their_label(labels: list[int] | None) -> None:
    means = np.array([[0.0, 1.0], [2.0, 3.0], [-1.0, 0.5]])
    figure = draw_scatter(means, np.zeros((5, 2)), None if labels is None else np.array(labels))
    _, codes = figure.axes[0].collections  # the prior's samples lie below
    np.testing.assert_array_equal(codes.get_offsets(), means)
    colours = [to_hex(colour) for colour in np.asarray(codes.get_facecolor())[:, :3]]
    first, second = PALETTE[:2]
    assert colours == ([first] * len(colours) if labels is None else [second, first, first])
