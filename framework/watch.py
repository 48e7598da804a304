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
from framework.episodes import LONGEST, Episode
from framework.errors import Problem, RecipeError
from framework.film import Film
from framework.loading import load_run
from framework.randomness import key, rekey
from framework.tape import preparation

STREAM = "fw watch"
PICTURES_PER_SECOND = 30.0  # of an environment that does not say
MODE = "rgb_array"

One = gymnasium.Env[Any, Any]


@dataclass(frozen=True)
class Watched:
    """What was filmed.

    Args:
        path: the film.
        pictures: how many are in it.
        every: one of how many steps they show.
        seconds: how long it lasts.
        episodes: the return and the length of each.
        notes: what a reader should know, a sentence each.
    """

    path: Path
    pictures: int
    every: int
    seconds: float
    episodes: list[Episode]
    notes: list[str]

    def __str__(self) -> str:
        thinned = "" if self.every == 1 else f", one of {self.every} steps"
        lines = [f"{self.path}: {self.pictures} pictures{thinned}, {self.seconds:.1f} s"]
        lines += [
            f"  episode {number}: return {total:g}, {length} steps" + (" (cut off)" if length == LONGEST else "")
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

    Where environments are runs of their own, the first one's agent is filmed.

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
        pace = float(one.metadata.get("render_fps") or PICTURES_PER_SECOND)
    seconds = film.write(pictures_per_second or pace / film.every)
    return Watched(film.path, len(film.pictures), film.every, seconds, played, loaded.notes)


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
def _play(agent: Agent, one: One, film: Film, seed: int, number: int, *, greedy: bool) -> Episode:
    """Play and film one episode, from the first observation to what the last step led to."""
    runs = agent.environment.num_envs if agent.environment.independent else 1
    prepared = preparation(one.action_space)
    rekey(seed, STREAM, number)
    observation, info = one.reset(seed=key(seed, f"{STREAM}/environment", number) >> 32)
    total, length, ended = 0.0, 0, False
    while True:
        if film.wants_next() or ended:
            picture: Any = one.render()
            film.take(picture)
        if ended or length == LONGEST:
            return total, length
        seen = torch.as_tensor(np.asarray(observation)[None]).expand(runs, *np.shape(observation))
        seen = seen.float() if seen.is_floating_point() else seen
        mask = info.get("action_mask")
        allowed = None if mask is None else torch.as_tensor(np.asarray(mask, dtype=np.bool_)[None])
        allowed = None if allowed is None else allowed.expand(runs, *allowed.shape[1:])
        action = prepared(agent.act(seen, allowed, greedy=greedy).numpy())[0]
        observation, reward, terminated, truncated, info = one.step(action)
        total, length, ended = total + float(reward), length + 1, bool(terminated or truncated)
