"""Watching a run's agent: episodes in one environment that draws what happens."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch

from framework.agent import Agent
from framework.environment import Environment
from framework.environment_variable import environment_variable
from framework.episodes import Episode
from framework.errors import Problem, RecipeError
from framework.film import Film
from framework.loading import load_run
from framework.randomness import key, rekey
from framework.tape import preparation

STREAM = "fw watch"
PICTURES_PER_SECOND = 30.0  # of an environment that does not say
MODE = "rgb_array"
MOST_STEPS = 10_000  # filmed of an episode that does not end
FASTER = 1.2  # times, from which on a film is called sped up: a GIF's pictures last whole hundredths of a second

One = gymnasium.Env[Any, Any]


@dataclass(frozen=True)
class Watched:
    """What was filmed.

    Args:
        path: the film.
        pictures: how many are in it.
        every: one of how many steps they show.
        seconds: how long it lasts.
        sped_up: how many times faster time passes in it than it was meant to.
        episodes: the return and the length of each.
        cut: the numbers of those that were not filmed to their end, from 1.
        notes: what a reader should know, a sentence each.
    """

    path: Path
    pictures: int
    every: int
    seconds: float
    sped_up: float
    episodes: list[Episode]
    cut: list[int]
    notes: list[str]

    def __str__(self) -> str:
        thinned = "" if self.every == 1 else f", one of {self.every} steps"
        faster = "" if self.sped_up < FASTER else f", sped up {self.sped_up:.3g} times"
        lines = [f"{self.path}: {self.pictures} pictures{thinned}, {self.seconds:.1f} s{faster}"]
        lines += [
            f"  episode {number}: return {total:g}, {length:,} steps"
            + (", where filming was cut: it had not ended" if number in self.cut else "")
            for number, (total, length) in enumerate(self.episodes, 1)
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def watch(
    path: Path,
    *,
    episodes: int = 1,
    seed: int = 0,
    sampled: bool = False,
    out: Path | None = None,
    pictures_per_second: float | None = None,
) -> Watched:
    """Film whole episodes of a run's agent.

    Where environments are runs of their own, the first one's agent is filmed. An episode that does not end is filmed
    for 10,000 steps.

    Args:
        path: the run directory.
        episodes: how many, 1 or more.
        seed: of the environment and of what is drawn.
        sampled: whether actions are drawn, instead of the likeliest taken.
        out: the film, `.gif` or `.mp4`; None is `figures/episode.gif` of the run.
        pictures_per_second: in the film; None is such that time passes in it as in the environment.

    Raises:
        RecipeError: there is no such run, it has no agent, or nothing draws what its environment does.
        OSError: the checkpoint cannot be had, or the film not be written.
    """
    for option, number in (("--episodes", episodes), ("--fps", pictures_per_second)):
        if number is not None and not (number >= 1 and math.isfinite(number)):
            raise RecipeError([Problem("this value is refused", option, str(number), "1 or more")])
    loaded = load_run(path)
    agent, name = loaded.built.learner, loaded.recipe.learner.entry.name
    if not isinstance(agent, Agent):
        expected = "one that acts in environments"
        raise RecipeError([Problem(f"{path}: nothing to watch", found=f"learner {name}", expected=expected)])
    film = Film(out or loaded.directory.figures / "episode.gif")
    with _drawn(agent.environment) as one:
        played = [_play(agent, one, film, seed, number, greedy=not sampled) for number in range(episodes)]
        pace = pictures_per_second or float(one.metadata.get("render_fps") or PICTURES_PER_SECOND) / film.every
    seconds = film.write(pace)
    return Watched(
        path=film.path,
        pictures=len(film.pictures),
        every=film.every,
        seconds=seconds,
        sped_up=len(film.pictures) / pace / seconds,
        episodes=[episode for episode, _ in played],
        cut=[number for number, (_, ended) in enumerate(played, 1) if not ended],
        notes=loaded.notes,
    )


@contextmanager
def _drawn(environment: Environment) -> Iterator[One]:
    """Make one environment that draws itself.

    Raises:
        RecipeError: it cannot, or lacks a package for it.
    """
    plain = environment.make_one()
    modes = plain.metadata.get("render_modes") or []
    plain.close()
    if MODE not in modes:
        found = f"render modes {', '.join(modes)}" if modes else "no render modes"
        raise RecipeError([Problem(f"nothing draws {environment.id}", found=found, expected=f"{MODE} among them")])
    one = environment.make_one(MODE)
    try:
        # pygame opens screen and sound card to draw into memory, and complains at length where there are none.
        with environment_variable("SDL_VIDEODRIVER", "dummy"), environment_variable("SDL_AUDIODRIVER", "dummy"):
            yield one
    except gymnasium.error.DependencyNotInstalled as error:  # some tell when they first draw
        message = f"what draws {environment.id} is not installed"
        raise RecipeError([Problem(message, found=str(error), expected="its packages")]) from error
    finally:
        one.close()


@torch.no_grad()
def _play(agent: Agent, one: One, film: Film, seed: int, number: int, *, greedy: bool) -> tuple[Episode, bool]:
    """Play and film one episode, from the first observation to what the last step led to; tell whether it ended."""
    runs = agent.environment.num_envs if agent.environment.independent else 1
    prepared = preparation(one.action_space)
    rekey(seed, STREAM, number)
    observation, info = one.reset(seed=key(seed, f"{STREAM}/environment", number) >> 32)
    total, length, ended = 0.0, 0, False
    while True:
        if film.wants_next() or ended:
            picture: Any = one.render()
            film.take(picture)
        if ended or length == MOST_STEPS:
            return (total, length), ended
        seen = torch.as_tensor(np.asarray(observation)[None]).expand(runs, *np.shape(observation))
        seen = seen.float() if seen.is_floating_point() else seen
        mask = info.get("action_mask")
        allowed = None if mask is None else torch.as_tensor(np.asarray(mask, dtype=np.bool_)[None])
        allowed = None if allowed is None else allowed.expand(runs, *allowed.shape[1:])
        action = prepared(agent.act(seen, allowed, greedy=greedy).numpy())[0]
        observation, reward, terminated, truncated, info = one.step(action)
        total, length, ended = total + float(reward), length + 1, bool(terminated or truncated)
