"""The final numbers of a group."""

from __future__ import annotations

import json

import pytest

from framework.group_summary import caution, gaps, headline, shown, summarize_group, table

SUMMARIES = {
    0: {
        "seed": 0,
        "step": 9,
        "train/entropy": 0.5,
        "test/return": 100.0,
        "wall_time_seconds": 3.0,
        "fallbacks": ["F."],
    },
    2: {"seed": 2, "step": 9, "train/return": 7.0, "train/entropy": 0.7, "test/return": 300.0, "fallbacks": ["F."]},
}


def test_every_metric_is_described_over_the_runs_that_have_it() -> None:
    summary = summarize_group("group", SUMMARIES, {1: "it failed with exit code 1"})
    assert (summary["id"], summary["seeds"], summary["missing"]) == (
        "group",
        [0, 1, 2],
        {"1": "it failed with exit code 1"},
    )
    assert list(summary["metrics"]) == ["test/return", "train/entropy", "train/return"]
    found = summary["metrics"]["test/return"]
    assert (found["n"], found["mean"], found["without"]) == (2, 200.0, [])
    assert found["standard_deviation"] == pytest.approx(200 / 2**0.5)
    assert found["mean_interval"] == [100.0, 300.0]
    assert summary["metrics"]["train/return"]["without"] == [0]
    assert summary["runs"]["0"] == {"train/entropy": 0.5, "test/return": 100.0}
    assert summary["fallbacks"] == ["F."]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_what_a_table_of_means_would_hide_is_said() -> None:
    assert gaps(summarize_group("group", SUMMARIES, {1: "it failed with exit code 1"})) == [
        "seed 1 is missing: it failed with exit code 1",
        "train/return is over 1 of 2 runs; there is none in seed 0",
        "F.",
    ]


def test_the_alarms_of_runs_are_kept_by_seed_and_said() -> None:
    runs = {seed: {"test/return": 1.0, "fallbacks": [], "warnings": ["W."][:seed]} for seed in (0, 1)}
    summary = summarize_group("group", runs, {})
    assert summary["warnings"] == {"0": [], "1": ["W."]}
    assert gaps(summary) == ["seed 1: W."]


def test_table() -> None:
    lines = table(summarize_group("group", SUMMARIES, {}))
    assert [line.split() for line in lines[1:]] == [
        ["test/return", "200", "141.4", "[100,", "300]", "200", "[100,", "300]", "2"],
        ["train/entropy", "0.6", "0.1414", "[0.5,", "0.7]", "0.6", "[0.5,", "0.7]", "2"],
        ["train/return", "7", "–", "–", "7", "–", "1"],
    ]
    assert len({len(line) for line in lines}) == 1


def test_a_table_leaves_out_what_is_uncertain_within_a_run_and_the_summary_does_not() -> None:
    run = {"train/reward": 1.0, "train/reward_standard_error": 0.1, "fallbacks": []}
    summary = summarize_group("group", {0: run, 1: {**run, "train/reward": 2.0}, 2: {"fallbacks": []}}, {})
    assert summary["metrics"]["train/reward_standard_error"]["mean"] == 0.1
    assert [line.split()[0] for line in table(summary)[1:]] == ["train/reward"]
    assert gaps(summary) == ["train/reward is over 2 of 3 runs; there is none in seed 2"]


@pytest.mark.parametrize(("runs", "said"), [(1, False), (2, True), (4, True), (5, False)])
def test_intervals_of_few_runs_come_with_a_caution(runs: int, said: bool) -> None:
    found = caution(summarize_group("group", {seed: {"test/return": 1.0, "fallbacks": []} for seed in range(runs)}, {}))
    expected = f"the intervals are of {runs} runs: they are too narrow, and miss the truth more often than 1 in 20"
    assert found == (expected if said else "")


def test_headline_is_the_return_or_the_objective_of_the_last_word() -> None:
    assert headline(SUMMARIES[2]) == "test/return 300"
    assert headline({"validation/objective": 9.0, "test/elbo": -8.0, "test/objective": 8.0}) == "test/objective 8"
    assert headline({"train/entropy": 0.5, "test/accuracy": 0.25}) == "test/accuracy 0.25"
    assert headline({"step": 3}) == ""
    bandit = {"train/td_error": 0.1, "train/optimal": 0.9, "train/reward": 1.5}
    assert headline(bandit) == "train/reward 1.5"
    assert headline({"train/td_error": 0.1, "train/optimal": 0.9}) == "train/optimal 0.9"


def test_numbers_are_shown_with_four_digits_or_whole() -> None:
    assert [shown(value) for value in (None, 0.123456, 2369.475, 124503.1, -98.76543)] == [
        "–",
        "0.1235",
        "2369",
        "124,503",
        "-98.77",
    ]
