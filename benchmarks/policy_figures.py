"""The documentation's figures of bandits and the short corridor: the shipped recipes, with the book's numbers.

Each is drawn as in Sutton & Barto, "Reinforcement Learning", 2nd edition, 2018, whose figure it says; bands are 1.96
standard errors of the mean over the runs. What the curves end at is printed as tables in markdown.

    python benchmarks/policy_figures.py --out docs/figures
    python benchmarks/policy_figures.py --out docs/figures --only corridor
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image
from rich.console import Console

from framework import run as running
from framework.agent_figures import CONFIDENCE, draw_average, style_bandit
from framework.canvas import FAINT, INK, PALETTE, new_figure, save, style, write_title
from framework.data import default_directory
from framework.dynamic_programming import state_values
from framework.markov import short_corridor
from framework.prepare import prepare
from framework.run_directory import RunDirectory

RECIPES = Path(__file__).resolve().parent.parent / "recipes"
COLOURS = [PALETTE[place] for place in (0, 2, 1, 4)]
LAST = 100  # episodes that a table's mean return is of
RUNS = 100  # side by side in the corridor's recipes

Records = list[dict[str, Any]]


def records_of(recipe: str, *overrides: str) -> Records:
    """Run a recipe in a temporary directory, without pictures, and return its records of training."""
    prepared = prepare(RECIPES / f"{recipe}.yaml", overrides, [], default_directory(dict(os.environ)))
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere:
        outcome = running.run(prepared, Path(folder), Console(file=nowhere))
        assert outcome.directory is not None
        records = RunDirectory(outcome.directory).records()
    return [record for record in records if record["split"] == "train"]


def bandit_figure(curves: Mapping[str, Records], path: Path, title: str) -> None:
    """Draw the two panels of a bandit, a curve for each method, and print what they end at."""
    figure = new_figure(8.0, 3.5)
    reward, optimal = figure.subplots(1, 2)
    for colour, (label, records) in zip(COLOURS, curves.items(), strict=False):
        draw_average(reward, records, "reward", color=colour, label=label)
        draw_average(optimal, records, "optimal", color=colour, label=label)
    style_bandit(reward, optimal)
    for axes in (reward, optimal):
        axes.set_xlabel("steps")
        axes.set_xlim(-10, 1_010)
    lines = optimal.get_lines()
    legend = figure.legend(lines, list(curves), loc="outside lower center", ncols=len(lines), frameon=False, fontsize=9)
    for handle in legend.get_lines():
        handle.set_linewidth(2)
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, weight="bold", color=INK)
    save_small(figure, path)
    print(f"\n{path.name}: at step {next(iter(curves.values()))[-1]['step']:,}, ± standard error\n")
    print("| method | reward | % optimal action |\n|---|---|---|")
    for label, records in curves.items():
        last = records[-1]
        rewards = f"{last['train/reward']:.3f} ± {last['train/reward_standard_error']:.3f}"
        shares = f"{100 * last['train/optimal']:.1f} ± {100 * last['train/optimal_standard_error']:.1f}"
        print(f"| {label} | {rewards} | {shares} |")


def corridor_values(path: Path) -> None:
    """Draw the exact value of the corridor's start over the probability of going right (example 13.1)."""
    mdp = short_corridor()
    right = np.linspace(0.03, 0.97, 471)
    values = [start_value(p) for p in right]
    best = 2 - 2**0.5
    figure = new_figure(8.0, 3.5)
    axes = figure.subplots()
    style_corridor(axes)
    axes.plot(right, values, color=PALETTE[0], linewidth=1.6)
    marks = [
        (best, f"p = 2 − √2 ≈ {best:.3f}: v = {start_value(best):.3f}".replace("-", "−"), (0, 14), "center"),
        (0.05, f"0.05: {start_value(0.05):.1f}".replace("-", "−"), (10, -3), "left"),
        (0.95, f"0.95: {start_value(0.95):.1f}".replace("-", "−"), (-10, -3), "right"),
    ]
    for p, text, offset, side in marks:
        colour = PALETTE[6] if p == best else INK
        axes.plot([p], [start_value(p)], "o", color=colour, markersize=5)
        axes.annotate(text, (p, start_value(p)), offset, textcoords="offset points", ha=side, fontsize=9, color=colour)
    axes.set_ylim(-100, 0)
    axes.set_xlim(0, 1)
    axes.set(xlabel="probability of going right, p", ylabel="v(p) of the start")
    write_title(axes, "The short corridor, exactly", "example 13.1; the best policy is stochastic")
    save_small(figure, path)
    print(f"\n{path.name}: {mdp.states} states\n\n| p | v(p) |\n|---|---|")
    for p in (0.05, best, 0.95):
        print(f"| {p:.4f} | {start_value(p):.4f} |")


def start_value(right: float) -> float:
    """Return the exact value of the corridor's start under a policy that goes right with this probability."""
    mdp = short_corridor()
    policy = torch.tensor([1 - right, right], dtype=torch.float64).expand(mdp.states, 2)
    return float(mdp.start @ state_values(mdp, policy))


def corridor_figure(curves: Mapping[str, Records], path: Path, title: str) -> None:
    """Draw the mean return of each episode over the runs, and print the mean of the last hundred."""
    figure = new_figure(8.0, 3.5)
    axes = figure.subplots()
    style_corridor(axes)
    for colour, (label, records) in zip(COLOURS, curves.items(), strict=False):
        draw_average(axes, records, "return", color=colour, label=label)
    best = start_value(2 - 2**0.5)
    axes.axhline(best, color=INK, linewidth=1.0, linestyle=(0, (5, 3)))
    axes.text(8, best + 1, f"v* = {best:.2f}".replace("-", "−"), fontsize=9, color=INK, va="bottom")
    axes.set_ylim(-100, 0)
    axes.set_xlim(0, 1_000)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set(xlabel="episode", ylabel="return")
    handles, labels = axes.get_legend_handles_labels()
    for handle in axes.legend(handles, labels, loc="lower right", frameon=False, fontsize=9).get_lines():
        handle.set_linewidth(2)
    write_title(axes, title, f"mean of {RUNS} runs at each episode, ± {CONFIDENCE} standard errors")
    save_small(figure, path)
    print(f"\n{path.name}: mean return of episodes 901–1000 over {RUNS} runs\n\n| method | return |\n|---|---|")
    for label, records in curves.items():
        last = records[-LAST:]
        assert [record["step"] for record in last] == list(range(901, 1001))
        print(f"| {label} | {statistics.fmean(record['train/return'] for record in last):.2f} |")


def style_corridor(axes: Axes) -> None:
    style(axes)
    axes.grid(axis="y", color="#eceef0", linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.tick_params(color=FAINT)


def save_small(figure: Figure, path: Path) -> None:
    """Write a figure with 64 colours, which no eye misses and a third of the bytes hold."""
    with Image.open(save(figure, path)) as image:
        small = image.convert("RGB").quantize(64, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def superscript(number: int) -> str:
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def bandits(out: Path) -> None:
    greedy = {
        f"{'greedy, ' if epsilon == 0 else ''}ε = {epsilon:g}": records_of(
            "bandit_testbed", f"policy.epsilon={epsilon:g}"
        )
        for epsilon in (0, 0.01, 0.1)
    }
    bandit_figure(greedy, out / "testbed.png", "The 10-armed testbed: ε-greedy, 2,000 runs (figure 2.2)")
    bound = records_of("bandit_testbed", "policy={name: upper_confidence_bound, c: 2}")
    methods = {"upper confidence bound, c = 2": bound, "ε-greedy, ε = 0.1": greedy["ε = 0.1"]}
    bandit_figure(methods, out / "testbed_ucb.png", "The 10-armed testbed: confidence bounds, 2,000 runs (figure 2.4)")
    gradient = {
        f"α = {rate}, {'with' if with_baseline else 'no'} baseline": records_of(
            "gradient_bandit", f"optimizer.lr={rate}", *([] if with_baseline else ["baseline=null"])
        )
        for rate in (0.1, 0.4)
        for with_baseline in (True, False)
    }
    bandit_figure(gradient, out / "gradient_bandit.png", "Gradient bandit, rewards around +4, 2,000 runs (figure 2.5)")


def corridor(out: Path) -> None:
    corridor_values(out / "corridor_values.png")
    curves = {
        f"α = 2{superscript(-power)}": records_of("short_corridor_reinforce", f"optimizer.lr={2.0**-power!r}")
        for power in (12, 13, 14)
    }
    corridor_figure(curves, out / "corridor_reinforce.png", "REINFORCE on the short corridor (figure 13.1)")
    curves = {"with baseline, α = 2⁻⁹": records_of("short_corridor_baseline"), "without, α = 2⁻¹³": curves["α = 2⁻¹³"]}
    title = "REINFORCE with baseline on the short corridor (figure 13.2)"
    corridor_figure(curves, out / "corridor_baseline.png", title)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, required=True, help="the folder of the figures")
    arguments.add_argument("--only", choices=["bandits", "corridor"])
    options = arguments.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("WANDB_MODE", "disabled")
    running.draw_learning_curves = running.draw_bandit = lambda *_: None  # type: ignore[attr-defined]
    options.out.mkdir(parents=True, exist_ok=True)
    if options.only != "corridor":
        bandits(options.out)
    if options.only != "bandits":
        corridor(options.out)


if __name__ == "__main__":
    main()
