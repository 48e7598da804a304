"""What an evaluation looks like."""

from __future__ import annotations

import pytest

from framework.evaluation_table import rounded, table


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (102.10873, 0.35912, "102.11 ± 0.36"),
        (0.123456, 0.0996, "0.12 ± 0.10"),
        (98_765.4, 1_234.5, "98765 ± 1234"),
        (-3.14159, 9.96, "-3 ± 10"),
        (2.5, 0.0, "2.5 ± 0"),
        (2.5, float("nan"), "2.5 ± nan"),
    ],
)
def test_a_number_is_rounded_to_the_second_digit_of_its_error(value: float, error: float, text: str) -> None:
    assert rounded(value, error) == text


def test_numbers_are_in_groups_and_settings_one_a_line() -> None:
    found = {
        "run": "runs/a",
        "weights": "last.ckpt",
        "step": 3,
        "notes": [],
        "test/objective": 101.25,
        "nll_static": 99.5,
        "nll_static_standard_error": 0.25,
        "nll_static_monte_carlo_error": 0.0123,
        "nll_static_effective_samples": 17.25,
        "mutual_information": None,
        "kl_by_dimension": [0.5, 1.25],
        "active_units": 2,
        "classifier_accuracy": 0.875,
        "settings": {"seed": 0, "mmd_kernel": "imq, widths 2"},
        "figures": [],
    }
    lines = [line.split(maxsplit=1) if line.startswith(" ") else line for line in table(found)]
    assert lines == [
        "as in training",
        ["test/objective", "101.25"],
        "likelihood, nats an example",
        ["nll_static", "99.50 ± 0.25"],
        ["nll_static_monte_carlo_error", "0.012"],
        ["nll_static_effective_samples", "17.25 samples"],
        "information, nats",
        ["mutual_information", "not finite"],
        ["kl_by_dimension", "0.5 1.25"],
        "codes",
        ["active_units", "2"],
        "samples",
        ["classifier_accuracy", "0.875"],
        "settings (± is one standard error)",
        ["seed", "0"],
        ["mmd_kernel", "imq, widths 2"],
    ]
