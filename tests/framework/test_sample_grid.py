"""The picture of samples: its rows, and their names."""

from __future__ import annotations

import pytest
import torch

from framework.labels import spread
from framework.sample_grid import draw_samples


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (torch.tensor([3, 3, 3, 3, 5, 5, 7]), ["3", "3–5", "7"]),
        (torch.full((7,), 4), []),  # nothing to tell apart
        (None, []),
    ],
)
def test_rows_are_named_where_labels_differ(labels: torch.Tensor | None, names: list[str]) -> None:
    (axes,) = draw_samples(torch.rand(7, 1, 4, 4), 3, (0.0, 1.0), "of nothing", labels=labels).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    assert axes.get_ylabel() == ("label" if names else "")
    assert [line - 0.5 for line in axes.get_yticks()] == list(range(len(names)))  # in the middle of their rows
    assert axes.get_title(loc="left") == "of nothing"


def test_labels_that_are_spread_over_a_square_name_each_row() -> None:
    labels = spread(torch.arange(10), 400)
    (axes,) = draw_samples(torch.rand(400, 5), 20, (0.0, 1.0), "", labels=labels).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [str(row // 2) for row in range(20)]
