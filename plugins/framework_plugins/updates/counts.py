"""What the updates have in common: counts of steps, passes and minibatches, each 1 or more."""

from __future__ import annotations

from framework import OptionError


def check_counts(**counts: int | None) -> None:
    """Check options that are counts.

    Args:
        counts: each option's value by its name; None is no count, and right.

    Raises:
        OptionError: one is below 1.
    """
    for option, count in counts.items():
        if count is not None and count < 1:
            raise OptionError(option, found=count, expected="1 or more")
