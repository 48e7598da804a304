"""Counts below 1 are refused, by name; None is no count."""

from __future__ import annotations

import pytest

from framework import OptionError
from framework_plugins.updates.counts import check_counts


def test_counts_from_1_on_and_none_are_right() -> None:
    check_counts(steps=1, passes=None, minibatches=10)


@pytest.mark.parametrize("count", [0, -1])
def test_others_are_refused(count: int) -> None:
    with pytest.raises(OptionError) as caught:
        check_counts(steps=1, passes=count)
    assert str(caught.value) == f"passes: expected 1 or more, found {count}"
