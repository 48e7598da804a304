"""The pictures of a run that acted: what a table of values or a tabular policy says, and a bandit's two curves.

Importing this module teaches `framework.figures.draw` the learners that act.

Legend: N independent runs, S states, A actions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv
from gymnasium.envs.toy_text.frozen_lake import FrozenLakeEnv
from gymnasium.spaces import Discrete
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from framework.action_distributions import CategoricalLogits
from framework.canvas import FAINT, INK, PALETTE, new_figure, save, style, write_title
from framework.dynamic_programming import action_values
from framework.environment import Environment
from framework.experience import Experience
from framework.figures import draw
from framework.learners.action_value import ActionValue
from framework.learners.policy_gradient import PolicyGradient
from framework.learners.value_iteration import ValueIteration

CONFIDENCE = 1.96  # standard errors to each side: 95 % of a normal distribution
MOST_STATES = 64  # of a policy's picture; more would be too small to read
CELL = 0.62  # inches, the side of a state on a grid
ENDS = {"G": "goal", "H": "hole", "C": "cliff"}  # states that are never acted in
GOAL, ABYSS = "#e4e7ea", "#4a4f57"  # their colours
LIGHT = 0.6  # of the colour scale, above which a colour is so light that dark print stands out from it

Array = NDArray[np.float64]
Step = tuple[int, int]  # to the right, downwards


@dataclass(frozen=True)
class Grid:
    """A world of states in rows and columns, row by row.

    Args:
        names: [rows, columns], a letter of each state: S start, G goal, H hole, C cliff; anything else is floor.
        steps: where each action leads to.
    """

    names: NDArray[np.str_]
    steps: tuple[Step, ...]


def draw_bandit(records: Sequence[Mapping[str, Any]], folder: Path) -> Path | None:
    """Draw a bandit's average reward and its share of optimal actions, `bandit.png`, with 95 % confidence bands.

    Args:
        records: the lines of metrics.jsonl.
        folder: where the file goes; it exists.

    Returns:
        The file, or None where the environment did not tell which action was optimal.

    Reference: Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, figure 2.2,
        http://incompleteideas.net/book/the-book-2nd.html.
    """
    steps = [record for record in records if {"train/reward", "train/optimal"} <= record.keys()]
    if not steps:
        return None
    figure = new_figure(8.0, 3.2)
    panels = figure.subplots(1, 2)
    for axes, name in zip(panels, ("reward", "optimal"), strict=True):
        draw_average(axes, steps, name, color=PALETTE[0])
        axes.set_xlabel("optimiser steps")
    style_bandit(panels[0], panels[1])
    return save(figure, folder / "bandit.png")


def draw_average(axes: Axes, records: Sequence[Mapping[str, Any]], name: str, *, color: str, label: str = "") -> None:
    """Draw a metric in training, a mean over independent runs, with a band of 1.96 standard errors to each side.

    Args:
        axes: where.
        records: those that have the metric; one without a standard error has no band.
        name: the metric's.
        color: of the line and its band.
        label: what a legend calls it.
    """
    steps = np.array([record["step"] for record in records], np.float64)
    means = np.array([record[f"train/{name}"] for record in records], np.float64)
    errors = np.array([record.get(f"train/{name}_standard_error", math.nan) for record in records], np.float64)
    low, high = means - CONFIDENCE * errors, means + CONFIDENCE * errors
    axes.fill_between(steps, low, high, color=color, alpha=0.25, linewidth=0)
    axes.plot(steps, means, color=color, linewidth=0.8, label=label)


def style_bandit(reward: Axes, optimal: Axes) -> None:
    """Give the two panels of a bandit their titles and scales."""
    for axes, title in ((reward, "average reward"), (optimal, "% optimal action")):
        style(axes)
        axes.grid(axis="y", color="#eceef0", linewidth=0.8)
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.xaxis.set_major_formatter("{x:,.0f}")
    optimal.set_ylim(0, 1)
    optimal.yaxis.set_major_formatter(PercentFormatter(1.0))


@draw.register
def draw_optimum(learner: ValueIteration, experience: Experience, folder: Path) -> list[Path]:
    """Draw what value iteration has come to, `values.png`."""
    values = learner.values.cpu()
    table = action_values(learner.mdp, values).numpy()  # [S, A]
    subtitle = f"after value iteration, γ = {learner.mdp.discount:g}"
    return [_draw_values(learner.environment, values.numpy(), table, subtitle, folder)]


@draw.register
def draw_table(learner: ActionValue, experience: Experience, folder: Path) -> list[Path]:
    """Draw a table of action values, `values.png`; of a bandit's one state there is nothing to see."""
    runs, states, _ = learner.values.shape
    if states == 1:
        return []
    table = learner.values.double().mean(0).cpu().numpy()  # [S, A]
    of = f", the mean table of {runs} runs" if runs > 1 else ""
    return [_draw_values(learner.environment, table.max(1), table, f"v(s) = max Q(s, a), {learner.target}{of}", folder)]


@draw.register
@torch.no_grad()
def draw_policy(learner: PolicyGradient, experience: Experience, folder: Path) -> list[Path]:
    """Draw π(a|s) of a few states that are numbers, `policy.png`; of independent runs the mean.

    Of bandits there is none: each run has arms of its own, and the mean over them would say nothing.
    """
    space: Any = learner.environment.observation_space
    if not isinstance(space, Discrete) or int(space.n) > MOST_STATES or learner.trunk is not None:
        return []
    device = next(learner.parameters()).device
    states = torch.arange(int(space.n), device=device) + int(space.start)  # [S]
    # A part with a set of parameters for each run gets the runs in the last dimension of the batch.
    policy = learner.policy(states[:, None].expand(-1, learner.policy.replicas))  # batch [S, N]
    if not isinstance(policy, CategoricalLogits):
        return []
    if learner.policy.replicas > 1 and len(states) == 1 and policy.probs.shape[-1] > 2:
        return []
    probabilities = policy.probs.double().mean(1).cpu().numpy()  # [S, A]
    return [save(_policy(probabilities, learner.policy.replicas), folder / "policy.png")]


def grid_of(environment: Environment) -> Grid | None:
    """Return how an environment's states lie, or None where they are no grid that is known."""
    one = environment.make_one()
    try:
        world: Any = one.unwrapped
        if isinstance(world, FrozenLakeEnv):
            return Grid(np.array(world.desc.astype(str)), ((-1, 0), (0, 1), (1, 0), (0, -1)))
        if isinstance(world, CliffWalkingEnv):
            names = np.full(world.shape, " ")
            names[-1] = ["S", *"C" * (len(names[-1]) - 2), "G"]
            return Grid(names, ((0, -1), (1, 0), (0, 1), (-1, 0)))
        return None
    finally:
        one.close()


def _draw_values(environment: Environment, values: Array, table: Array, subtitle: str, folder: Path) -> Path:
    """Draw v [S] and the greedy actions of a table [S, A]."""
    grid = grid_of(environment)
    if grid is None or grid.names.size != len(values):
        return save(_bars(values, subtitle), folder / "values.png")
    return save(_world(grid, values, table.argmax(1), subtitle), folder / "values.png")


def _world(grid: Grid, values: Array, best: NDArray[np.int64], subtitle: str) -> Figure:
    rows, columns = grid.names.shape
    figure = new_figure(max(4.4, CELL * columns + 1.3), CELL * rows + 0.9)
    axes = figure.subplots()
    acted = ~np.isin(grid.names, list(ENDS))  # [rows, columns]
    shown = np.where(acted, values.reshape(rows, columns), math.nan)
    picture = axes.imshow(shown, cmap="viridis")
    low, high = np.nanmin(shown), np.nanmax(shown)
    largest = max(abs(low), abs(high))
    digits = 2 if largest < 10 else 1 if largest < 100 else 0
    for (row, column), name in np.ndenumerate(grid.names):
        if acted[row, column]:
            color = INK if shown[row, column] > low + LIGHT * (high - low) else "white"
            number = f"{shown[row, column]:.{digits}f}".replace("-", "−")
            axes.text(column, row + 0.33, number, ha="center", va="center", fontsize=7, color=color)
            _arrow(axes, (column, row - 0.12), grid.steps[best[row * columns + column]], color)
        else:
            _end(axes, row, column, name)
        if name == "S":
            axes.text(column - 0.42, row - 0.3, name, ha="left", va="center", fontsize=7, weight="bold", color=color)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(picture, shrink=0.8)
    bar.set_label("v(s)", fontsize=9, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, color=FAINT, labelcolor=INK)
    write_title(axes, "State values and greedy actions", subtitle)
    return figure


def _arrow(axes: Axes, middle: tuple[float, float], step: Step, color: str) -> None:
    (x, y), (right, down) = middle, (0.2 * step[0], 0.2 * step[1])
    look = {"arrowstyle": "-|>", "color": color, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", (x + right, y + down), (x - right, y - down), arrowprops=look)


def _end(axes: Axes, row: int, column: int, name: str) -> None:
    """Draw a state that is never acted in."""
    fill, color = (GOAL, INK) if name == "G" else (ABYSS, "white")
    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=fill, linewidth=0))
    axes.text(column, row, ENDS[name], ha="center", va="center", fontsize=7, color=color)


def _bars(values: Array, subtitle: str) -> Figure:
    figure = new_figure(min(10.0, max(4.4, 0.12 * len(values) + 1.5)), 3.0)
    axes = figure.subplots()
    style(axes)
    axes.bar(np.arange(len(values)), values, color=PALETTE[0], width=0.8 if len(values) <= MOST_STATES else 1.0)
    axes.margins(x=0.01)
    axes.axhline(0, color=FAINT, linewidth=0.7)
    axes.set(xlabel="state", ylabel="v(s)")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    write_title(axes, "State values", subtitle)
    return figure


def _policy(probabilities: Array, runs: int) -> Figure:
    """Draw π(a|s), [S, A], a panel of bars each state."""
    states, actions = probabilities.shape
    columns = min(8, states)
    rows = -(-states // columns)
    width = max(0.9, 0.25 * actions + 0.4)
    figure = new_figure(max(4.0, width * columns + 0.5), 1.1 * rows + (1.4 if states == 1 else 0.9))
    panels = list(figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat)
    for state, axes in enumerate(panels):
        if state >= states:
            axes.remove()
            continue
        style(axes)
        axes.bar(np.arange(actions), probabilities[state], color=PALETTE[0], width=0.7)
        axes.set_ylim(0, 1)
        axes.set_yticks([0, 0.5, 1])
        axes.set_xticks(range(actions))
        axes.set_title(f"s = {state}" if states > 1 else "", fontsize=8, color=INK, pad=3)
    of = f", mean of {runs:,} runs" if runs > 1 else ""
    figure.suptitle(f"π(a|s){of}", x=0.02, ha="left", fontsize=12, weight="bold", color=INK)
    figure.supxlabel("action", fontsize=9, color=INK)
    return figure
