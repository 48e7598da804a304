"""Alarm: what looks at the validations of a run so far, and says what is wrong with what it learns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

History = Sequence[Mapping[str, float]]
# Takes the metrics of the validations so far, the oldest first, each by name without the split, beside the counters
# `step` and `epoch`; returns a sentence that says what is wrong and what to change, or None.
Alarm = Callable[[History], str | None]


class Watch:
    """Sounds the alarms of a learner over the validations of a run, each once in a session.

    A run that goes on hands in the records that it has made before: an alarm that is still true is said again, once.

    Args:
        alarms: the learner's.
        split: the one that the learner is judged on.
        records: of metrics, from before.
    """

    def __init__(self, alarms: Sequence[Alarm], split: str, records: Iterable[Mapping[str, Any]] = ()) -> None:
        self._alarms, self._split = alarms, split
        self._history: list[Mapping[str, float]] = []
        self._said: set[int] = set()
        for record in records:
            self._take(record)

    def look(self, record: Mapping[str, Any]) -> list[str]:
        """Return the sentences that a new record is the first of the session to call for."""
        if not self._take(record):
            return []
        found = {index: said for index, alarm in enumerate(self._alarms) if (said := alarm(self._history)) is not None}
        new = [said for index, said in found.items() if index not in self._said]
        self._said |= found.keys()
        return new

    def standing(self) -> list[str]:
        """Return the sentences that the run as it is now calls for, whether they were said or not."""
        found = [alarm(self._history) for alarm in self._alarms] if self._history else []
        return [said for said in found if said is not None]

    def _take(self, record: Mapping[str, Any]) -> bool:
        """Return whether it is the record of a validation."""
        if record["split"] != self._split:
            return False
        metrics = {name.removeprefix(f"{self._split}/"): value for name, value in record.items() if name != "split"}
        self._history.append(metrics)
        return True
