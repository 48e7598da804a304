"""Schedule: a weight, a capacity or a learning rate as a pure function of how far training has come."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from framework.registry import Registry

PROBES = 200  # steps, evenly from the first to the last, at which a schedule is looked at to see how low it goes


@dataclass(frozen=True)
class Counters:
    """How far training has come; kept by the framework, saved in checkpoints, never by a part.

    Args:
        optimizer_steps: optimiser steps taken (minibatches seen, of the global batch).
        samples: examples seen.
        epoch: full passes over the training set, or rollouts.
        env_steps: steps taken in environments, all together; those that are learnt from.
        episodes: episodes that have ended in them.
    """

    optimizer_steps: int = 0
    samples: int = 0
    epoch: int = 0
    env_steps: int = 0
    episodes: int = 0


class Schedule(ABC):
    """A number that depends on the counters and on nothing else, so that a resumed run continues it exactly.

    Attributes:
        final: the number that the schedule ends at; models are judged by it.
        steps: the optimiser step from which on it stays there.
    """

    final: float
    steps: int

    @abstractmethod
    def value(self, counters: Counters) -> float:
        """Return the number at these counters."""


schedules: Registry[Schedule] = Registry("schedule", Schedule)
register_schedule = schedules.register


def value_at(number: float | Schedule, counters: Counters) -> float:
    """Return a number, or a schedule's value at the counters."""
    return number.value(counters) if isinstance(number, Schedule) else number


def final_value(number: float | Schedule) -> float:
    """Return a number, or what a schedule ends at."""
    return number.final if isinstance(number, Schedule) else number


class Scaled(Schedule):
    """A schedule times a number: the weight of a term inside a composite that has a weight of its own."""

    def __init__(self, schedule: Schedule, factor: float | Schedule) -> None:
        self.schedule, self.factor = schedule, factor
        self.final = schedule.final * final_value(factor)
        self.steps = max(schedule.steps, factor.steps if isinstance(factor, Schedule) else 0)

    def value(self, counters: Counters) -> float:
        return self.schedule.value(counters) * value_at(self.factor, counters)


def lowest(number: float | Schedule) -> float:
    """Return a number, or the lowest value of a schedule, looked at from its first step to its last."""
    if not isinstance(number, Schedule):
        return number
    steps = {round(number.steps * probe / PROBES) for probe in range(PROBES + 1)}
    return min(number.final, *(number.value(Counters(optimizer_steps=step)) for step in steps))


def scale(number: float | Schedule, factor: float | Schedule) -> float | Schedule:
    """Return number · factor, as a schedule when one of them is."""
    if isinstance(number, Schedule):
        return Scaled(number, factor)
    if isinstance(factor, Schedule):
        return Scaled(factor, number)
    return number * factor
