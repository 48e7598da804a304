"""What is refused before anything is trained because processes, devices or microbatches cannot share the work."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from framework import prepare as preparing
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
TWO_HERE = Place(rank=0, world_size=2, local_rank=0, local_world_size=2, node=0)
ONE_ON_EACH_OF_TWO = Place(rank=0, world_size=2, local_rank=0, local_world_size=1, node=0)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two processes without the other, which it would wait for before it lets it read the data."""
    monkeypatch.setattr(preparing, "first_on_each_node", lambda place: nullcontext())


def prepared(folder: Path, *overrides: str, place: Place | None = None) -> Prepared:
    path = folder / "small.yaml"
    path.write_text(RECIPE)
    return prepare(path, overrides, [], folder, place)


def refusal(folder: Path, *overrides: str, place: Place | None = None) -> list[str]:
    """Each problem that is said; each points at a place of the recipe or of the overrides, which is left out here."""
    with pytest.raises(RecipeError) as error:
        prepared(folder, *overrides, place=place)
    problems = error.value.problems
    assert all(problem.mark is not None and problem.path.split(".")[-1] in problem.mark.text for problem in problems)
    return [str(replace(problem, mark=None)) for problem in problems]


@pytest.mark.parametrize(
    ("overrides", "processes"),
    [
        ([], 1),
        (["trainer.devices=2"], 2),
        (["trainer.devices=4", "trainer.microbatch=8"], 4),
        (["trainer.microbatch=64", "divergences={mmd: {weight: 10}}"], 1),
        (["trainer.devices=2", "trainer.microbatch=32", "divergences={mmd: {weight: 10}}"], 2),
    ],
)
def test_what_can_be_shared(tmp_path: Path, overrides: list[str], processes: int) -> None:
    assert prepared(tmp_path, *overrides).processes == processes


def test_the_launchers_processes_are_those_that_train(tmp_path: Path, alone: None) -> None:
    assert prepared(tmp_path, place=TWO_HERE).processes == 2
    assert prepared(tmp_path, "trainer.devices=2", place=TWO_HERE).processes == 2
    assert prepared(tmp_path, "trainer.num_nodes=2", place=ONE_ON_EACH_OF_TWO).processes == 2


@pytest.mark.parametrize(("batch_size", "fitting"), [(65, 66), (2, 3), (100, 99)])
def test_a_batch_that_cannot_be_cut_into_equal_parts(tmp_path: Path, batch_size: int, fitting: int) -> None:
    assert refusal(tmp_path, f"data.batch_size={batch_size}", "trainer.devices=3") == [
        "data.batch_size: a batch is shared by 3 processes in equal parts\n"
        f"       found:    {batch_size}\n"
        "       expected: a multiple of 3\n"
        f"       write:    {fitting}"
    ]


@pytest.mark.parametrize(("devices", "microbatch", "fitting"), [(1, 24, 16), (1, 128, 64), (2, 64, 32)])
def test_a_microbatch_that_is_no_divisor_of_a_processs_part(
    tmp_path: Path, devices: int, microbatch: int, fitting: int
) -> None:
    own = 64 // devices
    assert refusal(tmp_path, f"trainer.microbatch={microbatch}", f"trainer.devices={devices}") == [
        f"trainer.microbatch: each process's {own} examples of a batch go through the networks in equal parts\n"
        f"       found:    {microbatch}\n"
        f"       expected: a divisor of {own}\n"
        f"       write:    {fitting}"
    ]


@pytest.mark.parametrize(
    ("divergences", "who"),
    [
        ("mmd: {weight: 10}", "mmd compares examples of the whole batch"),
        ("infovae: {alpha: 0, lambda: 10, of: {name: mmd}}", "infovae/mmd compares examples of the whole batch"),
        (
            "adversarial: {hidden: [4], optimizer: {name: adam, lr: 0.001}}",
            "adversarial compares examples of the whole batch",
        ),
        ("beta: {beta: 2, capacity: 3, of: {name: kl}}", "beta/kl has a capacity"),
    ],
)
def test_a_microbatch_of_what_needs_the_whole_batch(tmp_path: Path, divergences: str, who: str) -> None:
    assert refusal(tmp_path, "trainer.microbatch=16", f"divergences={{{divergences}}}") == [
        f"trainer.microbatch: {who}, and a microbatch does not have them at hand\n"
        "       found:    16\n"
        "       expected: no microbatch, a smaller batch_size, or more processes\n"
        "       write:    null"
    ]


def test_another_number_of_devices_than_the_launcher_started(tmp_path: Path, alone: None) -> None:
    assert refusal(tmp_path, "trainer.devices=3", place=TWO_HERE) == [
        "trainer.devices: 2 processes were started on this machine\n"
        "       found:    3\n"
        "       expected: auto or 2\n"
        "       write:    trainer.devices=2"
    ]


@pytest.mark.parametrize(
    ("nodes", "place", "message"),
    [
        (2, TWO_HERE, "the processes run on 1 machine"),
        (3, ONE_ON_EACH_OF_TWO, "the processes run on 2 machines"),
    ],
)
def test_another_number_of_machines_than_the_launchers(
    tmp_path: Path, alone: None, nodes: int, place: Place, message: str
) -> None:
    machines = place.world_size // place.local_world_size
    assert refusal(tmp_path, f"trainer.num_nodes={nodes}", place=place) == [
        f"trainer.num_nodes: {message}\n"
        f"       found:    {nodes}\n"
        f"       expected: {machines}\n"
        f"       write:    trainer.num_nodes={machines}"
    ]


def test_several_machines_that_nobody_has_started_processes_on(tmp_path: Path) -> None:
    assert refusal(tmp_path, "trainer.num_nodes=2", "trainer.devices=4") == [
        "trainer.num_nodes: several machines need somebody to start the processes\n"
        "       found:    2\n"
        "       expected: to be started on each machine by torchrun or srun (docs/scaling.md)\n"
        "       write:    torchrun --nnodes=2 --nproc-per-node=4 -m framework run …"
    ]


@pytest.mark.parametrize("accelerator", ["auto", "gpu"])
def test_more_devices_than_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accelerator: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert prepared(tmp_path, f"trainer.accelerator={accelerator}").processes == 2
    assert refusal(tmp_path, f"trainer.accelerator={accelerator}", "trainer.devices=4") == [
        "trainer.devices: there are not so many GPUs here\n"
        "       found:    4\n"
        "       expected: 2 or fewer\n"
        "       write:    auto"
    ]


@pytest.mark.parametrize("overrides", [["trainer.devices=auto"], ["trainer.devices=2"]])
def test_fewer_gpus_than_the_launchers_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: None, overrides: list[str]
) -> None:
    """Each process of `srun --gpus-per-task=1` sees one, and the second would look for another in vain."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    overrides = ["trainer.accelerator=gpu", *overrides]
    assert refusal(tmp_path, *overrides, place=TWO_HERE) == [
        "trainer.devices: 2 processes were started on this machine, for a GPU each\n"
        "       found:    1 that this process sees\n"
        "       expected: fewer processes, or all of the machine's GPUs visible to each (docs/scaling.md)\n"
        "       write:    torchrun --nproc-per-node=1 …, or srun --gpus-per-node=2 …"
    ]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert prepared(tmp_path, *overrides, place=TWO_HERE).processes == 2


def test_a_gpu_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert refusal(tmp_path, "trainer.accelerator=gpu") == [
        "trainer.accelerator: there is no GPU here\n"
        "       found:    gpu\n"
        "       expected: auto or cpu\n"
        "       write:    auto"
    ]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "trainer.strategy=fsdp",
            "trainer.strategy: this value is refused\n"
            "       found:    fsdp, which shards weights that are too large for one device\n"
            "       expected: ddp: each process holds the whole model; sharded weights are not built\n"
            "       write:    strategy: ddp",
        ),
        (
            "trainer.precision=16",
            "trainer.precision: a number does not fit\n"
            "       found:    16\n"
            "       expected: one of 32, 64, bf16-mixed, 16-mixed",
        ),
        (
            "trainer.precision=bf16",
            "trainer.precision: a string does not fit\n"
            "       found:    'bf16'\n"
            "       expected: one of 32, 64, bf16-mixed, 16-mixed",
        ),
    ],
)
def test_strategies_and_precisions_that_there_are_not(tmp_path: Path, override: str, said: str) -> None:
    assert refusal(tmp_path, override) == [said]


@pytest.mark.parametrize(
    ("precision", "weights"),
    [(32, torch.float32), (64, torch.float64), ("bf16-mixed", torch.float32), ("16-mixed", torch.float32)],
)
def test_the_precision_of_the_weights(tmp_path: Path, precision: int | str, weights: torch.dtype) -> None:
    learner = prepared(tmp_path, f"trainer.precision={precision}").built.learner
    assert {parameter.dtype for parameter in learner.parameters()} == {weights}
