"""What `fw evaluate` has found of examples, as a table for people."""

from __future__ import annotations

import math
from typing import Any

# In this order; a number belongs to the first group that knows how its name begins.
_GROUPS = {
    "likelihood, nats an example": ("nll", "elbo", "reconstruction", "gap", "bits_per_dimension", "squared_error"),
    "information, nats": ("kl_", "mutual_information", "total_correlation"),
    "codes": ("active_units", "mmd_to_prior", "linear_probe", "knn"),
    "samples": ("classifier_",),
}
_AS_IN_TRAINING = "as in training"
_UNITS = {"effective_samples": "samples", "bits_per_dimension": "bits a value", "squared_error": "the data's unit²"}
_NO_NUMBERS = ("run", "weights", "step", "notes", "settings", "figures")
_WIDTH = 42


def table(found: dict[str, Any]) -> list[str]:
    """Return a line for each number, rounded to its standard error, in groups, and one for each setting.

    Args:
        found: what `framework.evaluate.evaluate` returns of a learner of examples.
    """
    groups: dict[str, list[str]] = {name: [] for name in (_AS_IN_TRAINING, *_GROUPS, "others")}
    for name, value in found.items():
        if name not in _NO_NUMBERS and not name.endswith("_standard_error"):
            groups[_group_of(name)].append(_line(name, value, found.get(f"{name}_standard_error")))
    lines = [line for name, members in groups.items() if members for line in (name, *members)]
    if settings := found.get("settings"):
        lines += ["settings (± is one standard error)"]
        lines += [f"  {name:<{_WIDTH}}{value}" for name, value in settings.items()]
    return lines


def _group_of(name: str) -> str:
    if "/" in name:
        return _AS_IN_TRAINING
    return next((group for group, beginnings in _GROUPS.items() if name.startswith(beginnings)), "others")


def _line(name: str, value: float | list[float] | None, error: float | None) -> str:
    if isinstance(value, list):
        number = " ".join(f"{one:.3g}" for one in value)
    elif value is None:
        number = "not finite"
    elif error is not None:
        number = rounded(value, error)
    else:
        number = f"{value:.2g}" if name.endswith("_error") else f"{value:.6g}"
    unit = next((unit for part, unit in _UNITS.items() if part in name), "")
    return f"  {name:<{_WIDTH}}{number} {unit}".rstrip()


def rounded(value: float, error: float) -> str:
    """Return a number and its standard error, both to the error's second digit.

    Example:
        >>> rounded(102.10873, 0.35912), rounded(0.5, 0.0)
        ('102.11 ± 0.36', '0.5 ± 0')
    """
    if not (error > 0 and math.isfinite(error)):
        return f"{value:.6g} ± {error:.2g}"
    # Of the error as it is rounded: 0.0996 is 0.10, and not 0.100.
    decimals = max(0, 1 - math.floor(math.log10(float(f"{error:.1e}"))))
    return f"{value:.{decimals}f} ± {error:.{decimals}f}"
