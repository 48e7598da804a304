"""Recipes that train in a second, and their runs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from framework.prepare import prepare
from framework.run import run

CARTPOLE = """
name: cartpole
seed: 3
learner: policy_gradient
environment: {id: CartPole-v1, num_envs: 4}
policy: {name: categorical, trunk: {name: mlp, hidden: [8]}}
update: {name: reinforce}
discount: 0.98
optimizer: {name: adam, lr: 0.02}
evaluation: {episodes: 5}
trainer: {max_env_steps: 600, accelerator: cpu}
"""
CORRIDOR = """
name: corridor
seed: 3
learner: policy_gradient
environment: {id: fw/ShortCorridor-v0, num_envs: 2, max_episode_steps: 5}
policy: {name: tabular_softmax, preferences: [0.0, 1.6]}
update: {name: reinforce}
discount: 0.9
discount_weighting: true
optimizer: {name: sgd, lr: 0.01}
evaluation: null
trainer: {max_episodes: 20, accelerator: cpu}
"""
LAKE = """
name: lake
seed: 3
learner: policy_gradient
environment: {id: FrozenLake-v1, num_envs: 4, max_episode_steps: 12, kwargs: {map_name: 4x4, is_slippery: false}}
policy: tabular_softmax
update: {name: reinforce}
discount: 0.9
optimizer: {name: sgd, lr: 3.0}
evaluation: {episodes: 5}
trainer: {max_env_steps: 4000, accelerator: cpu}
"""
WALK = """
name: walk
learner: action_value
environment: {id: fw/ShortCorridor-v0, kwargs: {observe_state: true}}
policy: {name: epsilon_greedy, epsilon: 1.0}
discount: 1.0
step_size: 0.5
evaluation: null
trainer: {max_steps: 10, accelerator: cpu}
"""
SOLVED_LAKE = """
name: solved_lake
seed: 0
learner: value_iteration
environment: {id: FrozenLake-v1, kwargs: {map_name: 4x4, is_slippery: false}}
discount: 0.9
evaluation: {episodes: 2}
trainer: {max_steps: 20, accelerator: cpu}
"""
DIGITS = """
name: digits
seed: 3
learner: latent
data: {name: digits, batch_size: 100, binarize: dynamic}
latent_dim: 2
encoder: {name: mlp, hidden: [8]}
decoder: {name: mlp, hidden: [8]}
prior: standard_normal
divergences: {kl: {}}
optimizer: {name: adam, lr: 0.01}
trainer: {max_epochs: 2, accelerator: cpu}
"""


def written(folder: Path, recipe: str) -> Path:
    """Write a recipe into a folder."""
    path = folder / "recipe.yaml"
    path.write_text(recipe)
    return path


def trained(folder: Path, recipe: str, *overrides: str, plugins: Sequence[Path] = ()) -> Path:
    """Train a recipe, and return its run directory in the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "disabled")
        prepared = prepare(written(folder, recipe), overrides, plugins, folder)
        outcome = run(prepared, folder / "runs", Console(quiet=True))
    assert outcome.summary is not None
    assert outcome.directory is not None
    return outcome.directory


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    """Return what every file in a folder holds, and when it was written."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}
