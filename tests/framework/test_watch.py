"""Watching a run's agent."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

import framework
from framework import film
from framework.cli import app
from framework.errors import RecipeError
from framework.learners.value_iteration import ValueIteration
from framework.watch import watch
from tests.framework.small_runs import CARTPOLE, CORRIDOR, DIGITS, LAKE, SOLVED_LAKE, trained

pytest.importorskip("pygame")

STUCK = """
name: stuck
seed: 0
learner: action_value
environment: {id: CliffWalking-v1, num_envs: 1}
policy: {name: epsilon_greedy, epsilon: 0.1}
target: q_learning
step_size: 1.0e-9
discount: 1.0
trainer: {max_env_steps: 1}
"""


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("cartpole"), CARTPOLE)


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("lake"), SOLVED_LAKE)


def fw(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def pictures_in(path: Path) -> list[np.ndarray]:
    found = []
    with Image.open(path) as gif:
        for number in range(gif.n_frames):
            gif.seek(number)
            found.append(np.asarray(gif.convert("RGB")))
    return found


def test_an_episode_is_filmed_from_its_beginning_to_its_end(cartpole: Path, tmp_path: Path) -> None:
    out = tmp_path / "episode.gif"
    watched = watch(cartpole, out=out, sampled=True, seed=1)
    ((total, length),) = watched.episodes
    assert total == length  # CartPole pays 1 a step
    assert 8 <= length < 299
    found = pictures_in(out)
    assert watched.pictures == length + 1
    assert length - 3 <= len(found) <= length + 1  # those that look like the one before are none of their own
    assert found[0].shape == (267, 400, 3)
    assert all((one != other).any() for one, other in pairwise(found))
    assert watched.seconds == pytest.approx((length + 1) / 50)  # of CartPole, 50 steps are a second


def test_it_is_the_same_again_and_another_with_another_seed(cartpole: Path, tmp_path: Path) -> None:
    films = [watch(cartpole, out=tmp_path / f"{n}.gif", sampled=True, seed=n % 2) for n in range(3)]
    assert films[0].episodes == films[2].episodes != films[1].episodes
    assert (tmp_path / "0.gif").read_bytes() == (tmp_path / "2.gif").read_bytes()


def test_the_film_goes_into_the_runs_figures(lake: Path) -> None:
    watched = watch(lake, episodes=2)
    assert watched.path == lake / "figures" / "episode.gif"
    assert watched.episodes == [(1.0, 6), (1.0, 6)]
    assert watched.pictures == 14
    assert watched.seconds == pytest.approx(14 / 4)  # of FrozenLake, 4 steps are a second
    first, last = pictures_in(watched.path)[0], pictures_in(watched.path)[6]
    size = first.shape[0] // 4
    assert (first[:size, :size] != last[:size, :size]).any()  # the agent has left the first field
    assert (first[-size:, -size:] != last[-size:, -size:]).any()  # and has come to the last one
    assert isinstance(framework.load(lake), ValueIteration)


def test_a_long_film_is_thinned_out_and_passes_in_the_same_time(
    lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(film.MOST, ".gif", 8)
    watched = watch(lake, episodes=2, out=tmp_path / "a.gif")
    assert watched.every == 2
    assert watched.pictures <= 8
    assert watched.seconds == pytest.approx(watched.pictures * 2 / 4)
    assert "pictures, one of 2 steps, " in str(watched)


def test_an_episode_without_an_end_is_cut_and_the_film_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = trained(tmp_path, STUCK)  # the likeliest action leads into the cliff, and back to the start
    monkeypatch.setattr("framework.watch.MOST_STEPS", 2_000)
    watched = watch(run)
    assert watched.episodes == [(-200_000.0, 2_000)]
    assert watched.every == 8
    assert watched.seconds == watched.pictures == 251  # at CliffWalking's 4 steps a second they would be 2 s each
    assert str(watched).splitlines() == [
        f"{watched.path}: 251 pictures, one of 8 steps, 251.0 s, sped up 2 times",
        "  episode 1: return -200000, 2,000 steps, where filming was cut: it had not ended",
    ]


def test_pictures_per_second_can_be_chosen(lake: Path, tmp_path: Path) -> None:
    assert watch(lake, out=tmp_path / "a.gif", pictures_per_second=10).seconds == pytest.approx(0.7)


def test_of_runs_side_by_side_the_first_one_is_filmed(tmp_path: Path) -> None:
    run = trained(tmp_path, LAKE, "environment.independent=true", "trainer.max_env_steps=200")
    ((_, length),) = watch(run, sampled=True).episodes
    assert 1 <= length <= 12


def test_what_nothing_draws_is_said_with_its_render_modes(tmp_path: Path) -> None:
    run = trained(tmp_path, CORRIDOR)
    message = r"nothing draws fw/ShortCorridor-v0\n +found: +no render modes\n +expected: +rgb_array among them\n"
    with pytest.raises(RecipeError, match=message):
        watch(run)
    assert not (run / "figures" / "episode.gif").exists()


def test_a_run_that_plays_nothing_is_refused(tmp_path: Path) -> None:
    run = trained(tmp_path, DIGITS, "trainer.max_epochs=1")
    message = r"nothing to watch\n +found: +learner latent\n +expected: +one that acts in environments"
    with pytest.raises(RecipeError, match=message):
        watch(run)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"episodes": 0}, r"--episodes: this value is refused\n +found: +0\n +expected: +1 or more"),
        ({"pictures_per_second": 0.5}, r"--fps: this value is refused\n +found: +0\.5\n +expected: +1 or more"),
        ({"pictures_per_second": float("inf")}, r"--fps: this value is refused\n +found: +inf"),
    ],
)
def test_numbers_out_of_range_are_refused(lake: Path, options: dict[str, float], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        watch(lake, **options)  # type: ignore[arg-type]


def test_the_command_says_what_was_written(lake: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.gif"
    result = fw("watch", str(lake), "--out", str(out))
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [f"{out}: 7 pictures, 1.8 s", "  episode 1: return 1, 6 steps"]
    assert out.is_file()
    assert fw("watch", str(lake), "--out", str(tmp_path / "a.txt")).exit_code == 2
