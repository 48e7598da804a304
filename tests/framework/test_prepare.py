"""What is refused before anything is trained because processes, devices or microbatches cannot share the work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from framework.errors import RecipeError
from framework.launch import Place
from framework.prepare import Prepared, prepare

RECIPE = """
name: small
learner: latent
data: {name: digits, batch_size: 64}
latent_dim: 2
encoder: {name: mlp, hidden: [8]}
decoder: {name: mlp, hidden: [8]}
prior: standard_normal
divergences: {kl: {}}
optimizer: {name: adam, lr: 0.01}
trainer: {max_steps: 2, accelerator: cpu}
"""
CRITIC = "{hidden: [4], optimizer: {name: adam, lr: 0.001}}"
# Alone in its group: to prepare is then what one of two processes does, without a second one to meet.
FIRST_OF_TWO = Place(rank=0, world_size=2, local_rank=0, local_world_size=2, node=0)
ONE_ON_EACH_OF_TWO = Place(rank=0, world_size=2, local_rank=0, local_world_size=1, node=0)


def prepared(folder: Path, *overrides: str, place: Place | None = None) -> Prepared:
    path = folder / "small.yaml"
    path.write_text(RECIPE)
    return prepare(path, overrides, [], folder, place)


def refusal(folder: Path, *overrides: str, place: Place | None = None) -> str:
    """What is said, from the name of the option on; the lines of the recipe are left out."""
    with pytest.raises(RecipeError) as error:
        prepared(folder, *overrides, place=place)
    lines = str(error.value).splitlines()
    shown = [line.strip() for line in lines if not line.lstrip().startswith(("|", "10 |", "8 |", "1 |", "2 |", "4 |"))]
    return "\n".join(line.partition(": ")[2] if line.startswith(("command line", str(folder))) else line for line in shown)


ENDING = "\n\n1 problem found; nothing was trained."


@pytest.mark.parametrize(
    ("overrides", "processes"),
    [
        (["trainer.devices=2"], 2),
        (["trainer.devices=4", "trainer.microbatch=16"], 4),
        (["trainer.microbatch=64", "divergences={mmd: {weight: 10}}"], 1),
        (["trainer.devices=2", "trainer.microbatch=32", "divergences={mmd: {weight: 10}}"], 2),
    ],
)
def test_what_can_be_shared(tmp_path: Path, overrides: list[str], processes: int) -> None:
    assert prepared(tmp_path, *overrides).processes == processes
    assert not torch.distributed.is_initialized()


def test_the_launchers_processes_are_those_that_train(tmp_path: Path) -> None:
    assert prepared(tmp_path, place=FIRST_OF_TWO).processes == 2
    assert prepared(tmp_path, "trainer.devices=2", place=FIRST_OF_TWO).processes == 2
    assert prepared(tmp_path, "trainer.num_nodes=2", place=ONE_ON_EACH_OF_TWO).processes == 2


@pytest.mark.parametrize(("batch_size", "fitting"), [(65, 66), (1, 3), (100, 99)])
def test_a_batch_that_cannot_be_cut_into_equal_parts(tmp_path: Path, batch_size: int, fitting: int) -> None:
    assert refusal(tmp_path, f"data.batch_size={batch_size}", "trainer.devices=3") == (
        "data.batch_size: a batch is shared by 3 processes in equal parts\n"
        f"found:   {batch_size}\n"
        "expected: a multiple of 3\n"
        f"write:   {fitting}{ENDING}"
    )
