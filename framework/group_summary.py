"""The final numbers of a group: those of its runs, and what they say together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from framework.statistics import CONFIDENCE, RESAMPLES, describe

SPLITS = ("test", "evaluation", "validation", "train", "throughput")
HEADLINES = ("return", "objective", "reward", "optimal")  # what tells most about a run, the first that it has
ERROR = "_standard_error"  # what the name of a number that is one within a run ends with
FEW = 5  # runs, below which a bootstrap's interval misses the truth much more often than it says


def summarize_group(
    identity: str, summaries: Mapping[int, Mapping[str, Any]], missing: Mapping[int, str]
) -> dict[str, Any]:
    """Return what a group's summary.json holds.

    Args:
        identity: of the group.
        summaries: the content of the summary.json of every run that is finished, by its seed.
        missing: why there is none, for the other seeds.

    Returns:
        Every metric is described over the finished runs that have it; `without` names those that have it not, such as
        a return over training where no episode ended in time.
    """
    runs = {seed: _metrics(summary) for seed, summary in summaries.items()}
    names = sorted(dict.fromkeys(name for metrics in runs.values() for name in metrics), key=_rank)
    return {
        "id": identity,
        "finished": datetime.now().astimezone().isoformat(timespec="seconds"),
        "seeds": sorted([*summaries, *missing]),
        "missing": {str(seed): reason for seed, reason in sorted(missing.items())},
        "confidence": CONFIDENCE,
        "resamples": RESAMPLES,
        "metrics": {
            name: {
                **describe([metrics[name] for metrics in runs.values() if name in metrics]),
                "without": [seed for seed, metrics in runs.items() if name not in metrics],
            }
            for name in names
        },
        "runs": {str(seed): metrics for seed, metrics in runs.items()},
        "fallbacks": list(dict.fromkeys(one for summary in summaries.values() for one in summary["fallbacks"])),
        "warnings": {str(seed): summary.get("warnings", []) for seed, summary in summaries.items()},
    }


def headline(summary: Mapping[str, Any]) -> str:
    """Return the number that tells most about a run, as "test/return 487.2", or "" where a summary has no metric."""
    metrics = _metrics(summary)
    wanted = [f"{split}/{name}" for split in SPLITS for name in HEADLINES]
    names = [name for name in (*wanted, *sorted(metrics, key=_rank)) if name in metrics]
    return f"{names[0]} {shown(metrics[names[0]])}" if names else ""


def table(summary: Mapping[str, Any]) -> list[str]:
    """Return a group's metrics as the lines of a table; what is uncertain within a run is in summary.json."""
    rows = [["", "mean", "std", "95 % of mean", "IQM", "95 % of IQM", "n"]]
    for name, found in _shown_metrics(summary):
        rows.append(
            [
                name,
                shown(found["mean"]),
                shown(found["standard_deviation"]),
                _interval(found["mean_interval"]),
                shown(found["interquartile_mean"]),
                _interval(found["interquartile_mean_interval"]),
                str(found["n"]),
            ]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]


def gaps(summary: Mapping[str, Any]) -> list[str]:
    """Return a sentence for everything that a table of means would hide."""
    found = [f"seed {seed} is missing: {reason}" for seed, reason in summary["missing"].items()]
    for name, metric in _shown_metrics(summary):
        if metric["without"]:
            count, seeds = metric["n"] + len(metric["without"]), ", ".join(map(str, metric["without"]))
            found.append(f"{name} is over {metric['n']} of {count} runs; there is none in seed {seeds}")
    found += [f"seed {seed}: {one}" for seed, warnings in summary["warnings"].items() for one in warnings]
    return [*found, *summary["fallbacks"]]


def caution(summary: Mapping[str, Any]) -> str:
    """Return what to know of the intervals of few runs, or "" where there are none or enough runs."""
    counts = [found["n"] for _, found in _shown_metrics(summary)]
    if not 1 < max(counts, default=0) < FEW:
        return ""
    return f"the intervals are of {max(counts)} runs: they are too narrow, and miss the truth more often than 1 in 20"


def shown(value: float | None) -> str:
    """Return a number with four digits, or all that it has before the point."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e12 else f"{value:.4g}"


def _interval(ends: Iterable[float] | None) -> str:
    return "–" if ends is None else f"[{', '.join(map(shown, ends))}]"


def _shown_metrics(summary: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, found) for name, found in summary["metrics"].items() if not name.endswith(ERROR)]


def _metrics(summary: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: value
        for name, value in summary.items()
        if name.split("/")[0] in SPLITS and "/" in name and isinstance(value, int | float)
    }


def _rank(name: str) -> int:
    """Return a metric's place by its split; sorting keeps the order of the others."""
    return SPLITS.index(name.split("/")[0])
