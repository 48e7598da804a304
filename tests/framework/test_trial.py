"""A step that is tried first: what it refuses before anything is written, and that nothing else comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from framework import prepare as preparing
from framework import run as running
from framework.distributed import world_size
from framework.errors import RecipeError
from framework.prepare import Prepared, prepare
from framework.trial import Trial
from tests.framework.comparison import assert_same, records, run_in, state_of
from tests.framework.interruption import console, quiet
from tests.framework.processes import on_ranks
from tests.framework.ranks import place

pytestmark = pytest.mark.usefixtures("own_registries")

RECIPE = """
name: small
learner: latent
data: {name: digits, batch_size: 64, binarize: dynamic}
latent_dim: 2
encoder: {name: mlp, hidden: [8], dropout: 0.2}
decoder: {name: mlp, hidden: [8]}
prior: standard_normal
divergences: {kl: {}}
optimizer: {name: adam, lr: 0.01}
trainer: {max_steps: 3, log_every: 1, accelerator: cpu}
"""
CRITIC = "hidden: [4], optimizer: {name: adam, lr: 0.001}"
FACTOR_VAE = f"divergences={{kl: {{}}, density_ratio_total_correlation: {{{CRITIC}}}}}"
SPECTRAL_NORM = f"divergences={{adversarial: {{{CRITIC}, spectral_norm: true}}}}"
MMD_ALONE = "divergences={kl: null, mmd: {}}"
MIXTURE = "prior={name: gaussian_mixture, components: 3}"

ENCODERS = '''
import math

import torch
from torch import nn

from framework import Encoder, register_encoder
from framework.distributions import DiagonalGaussian


class Mine(DiagonalGaussian):
    """A type of its own: what it adds to its base is not known to `gather`."""


class Linear(Encoder):
    def __init__(self, *, input_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(input_shape), latent_dim)

    def mean(self, x):
        return self.linear(x.flatten(1))


@register_encoder("ungatherable")
class Ungatherable(Linear):
    """Its posterior is of a type that no function gathers."""

    def forward(self, x):
        mean = self.mean(x)
        return Mine(mean, torch.zeros_like(mean))


@register_encoder("gamma_noise")
class GammaNoise(Linear):
    """Draws by rejection, whose numbers cannot be told apart by row."""

    def forward(self, x):
        mean = self.mean(x * torch.distributions.Gamma(torch.ones_like(x), 1.0).sample())
        return DiagonalGaussian(mean, torch.zeros_like(mean))


@register_encoder("batch_norm")
class BatchNorm(Linear):
    """Normalises by statistics of the batch."""

    def __init__(self, *, input_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__(input_shape=input_shape, latent_dim=latent_dim)
        self.normal = nn.BatchNorm1d(latent_dim)

    def forward(self, x):
        mean = self.normal(self.mean(x))
        return DiagonalGaussian(mean, torch.zeros_like(mean))
'''

OWN_PARTS = '''
import math

import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, LogNormal

from framework import Decoder, Encoder, register_decoder, register_encoder
from framework.distributions import DiagonalGaussian


class Linear(Decoder):
    def __init__(self, *, input_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.shape, self.linear = input_shape, nn.Linear(latent_dim, math.prod(input_shape))

    def outputs(self, z):
        return self.linear(z).unflatten(1, self.shape)


@register_decoder("log_normal")
class PositiveDecoder(Linear):
    """For positive numbers: blank examples are outside of its support."""

    def forward(self, z):
        mean = self.outputs(z)
        return Independent(LogNormal(mean, torch.ones_like(mean)), len(self.shape))


@register_decoder("strict_bernoulli")
class StrictDecoder(Linear):
    """torch's own, which looks at what it is given and refuses grey pixels."""

    def forward(self, z):
        return Independent(Bernoulli(logits=self.outputs(z), validate_args=True), len(self.shape))


@register_encoder("fails_in_evaluation")
class FailsInEvaluation(Encoder):
    """Trains, and refuses whatever it is to be judged by."""

    def __init__(self, *, input_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(math.prod(input_shape), latent_dim)

    def forward(self, x):
        if not self.training:
            raise ValueError("found no running mean")
        mean = self.linear(x.flatten(1))
        return DiagonalGaussian(mean, torch.zeros_like(mean))


@register_encoder("dropped_weights")
class DroppedWeights(Encoder):
    """Drops weights, whose first dimension is 20, and no activations."""

    def __init__(self, *, input_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.hidden, self.linear = nn.Linear(math.prod(input_shape), 20), nn.Linear(20, latent_dim)

    def forward(self, x):
        weight = nn.functional.dropout(self.hidden.weight, 0.5, self.training)
        mean = self.linear(nn.functional.linear(x.flatten(1), weight, self.hidden.bias))
        return DiagonalGaussian(mean, torch.zeros_like(mean))
'''

TWICE = """
from collections.abc import Callable, Iterable

import torch
from torch import nn

from framework import ExampleLearner, Facts, Loss, Optimizer, register_learner


@register_learner("twice")
class Twice(ExampleLearner):
    '''An autoencoder whose second loss is of its decoder alone.'''

    def __init__(self, *, facts: Facts, optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(64, 3), nn.Linear(3, 64)
        self.optimizer = optimizer

    def losses(self, batch, counters, keys):
        x = batch.flatten(1)
        z = self.encoder(x)
        yield Loss((self.decoder(z) - x).square().sum(1).mean(), "main", {})
        value = (self.decoder(z.detach()) - x).abs().sum(1).mean()
        yield Loss(value, "main", {"objective": value.detach()})

    def evaluate(self, batch, keys):
        x = batch.flatten(1)
        return {"objective": (self.decoder(self.encoder(x)) - x).abs().sum(1).mean()}

    def optimizers(self):
        return {"main": self.optimizer(self.parameters())}
"""
TWICE_RECIPE = """
name: twice
learner: twice
data: {name: digits, batch_size: 64}
optimizer: {name: adam, lr: 0.01}
trainer: {max_steps: 30, log_every: 7, accelerator: cpu, precision: 64}
"""
TOLERANCE = 1e-12  # sums of 64 terms in another order, over sixty steps of Adam, on weights of size 1


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def encoders(tmp_path: Path) -> Path:
    path = tmp_path / "encoders.py"
    path.write_text(ENCODERS)
    return path


@pytest.fixture
def own_parts(tmp_path: Path) -> Path:
    path = tmp_path / "own_parts.py"
    path.write_text(OWN_PARTS)
    return path


BITS = [
    "encoder={name: mlp, hidden: [8], posterior: bernoulli}",
    "prior=bernoulli",
    "divergences={kl: {}}",
    "estimator=score_function",
]


def train(recipe: Path, root: Path, plugin: Path) -> None:
    quiet()
    running.run(prepare(recipe, [], [plugin], root, place()), root, console())


def refused(recipe: Path, root: Path, cases: Sequence[Sequence[str]], plugin: Path) -> list[list[str]]:
    """Each problem of each case, without its place in the recipe."""
    found = []
    here = place() if world_size() > 1 else None  # the test's own process keeps its environment
    for overrides in cases:
        with pytest.raises(RecipeError) as error:
            running.run(prepare(recipe, overrides, [plugin], root, here), root, console())
        problems = error.value.problems
        assert all(problem.mark is not None for problem in problems)
        found.append([str(replace(problem, mark=None)) for problem in problems])
    assert not root.exists(), "a run directory was made"
    return found


def batch_norm(where: str) -> str:
    message = "encoder.normal normalises by statistics of the batch, of which a process or a microbatch has a part"
    return (
        f"{where}: {message}\n"
        "       found:    BatchNorm1d\n"
        "       expected: normalisation by layer or group\n"
        "       write:    nn.GroupNorm or nn.LayerNorm"
    )


def test_what_two_processes_refuse_before_anything_is_written(recipe: Path, encoders: Path, tmp_path: Path) -> None:
    cases = [["encoder={name: ungatherable}"], ["encoder={name: batch_norm}"]]
    expected = [
        [
            "encoder: this value is refused\n"
            "       found:    Mine, which no function gathers\n"
            "       expected: a distribution that framework.gather knows\n"
            "       write:    @gather.register(Mine) above a function that builds it from gather_rows of its parameters"
        ],
        [batch_norm("trainer.devices")],
    ]
    assert on_ranks(2, refused, recipe, tmp_path / "runs", cases, encoders) == [expected, expected]


@pytest.mark.parametrize(
    ("overrides", "where", "rest"),
    [
        (
            ["encoder={name: gamma_noise}", "trainer.microbatch=16"],
            "trainer.microbatch",
            "found one over 16 of a batch's 64 examples that cannot be told apart by row; draw them from the gathered "
            "posterior, or train on one process without microbatch\n"
            "       found:    batches of 64 in parts\n"
            "       expected: one process, and no microbatch",
        ),
        (
            [FACTOR_VAE, "data.batch_size=1"],
            "data.batch_size",
            "the critic compares two halves of a batch and expects 2 examples or more, found 1; write a larger "
            "data.batch_size\n"
            "       found:    batches of 1\n"
            "       expected: a larger batch_size and larger sets",
        ),
        (
            ["encoder={name: batch_norm}", "trainer.microbatch=16"],
            "trainer.microbatch",
            batch_norm("trainer.microbatch"),
        ),
        (
            ["decoder.likelihood=gaussian", "decoder.sigma=optimal", "trainer.microbatch=16"],
            "trainer.microbatch",
            "decoder.likelihood.optimal takes statistics of the batch, of which a process or a microbatch has a part\n"
            "       found:    OptimalVariance\n"
            "       expected: what depends on each example alone\n"
            "       write:    learn_sigma: true, or a number for sigma",
        ),
        (
            [*BITS, "baseline=moving_average", "trainer.microbatch=16"],
            "baseline",
            "this value is refused\n"
            "       found:    moving_average, which keeps statistics of whole batches, with trainer.microbatch\n"
            "       expected: a baseline that keeps none, such as leave_one_out, or whole batches\n"
            "       write:    trainer.microbatch: null",
        ),
    ],
    ids=["a draw by rejection", "one example", "batch normalisation", "the optimal sigma", "a moving average"],
)
def test_what_is_refused_before_anything_is_written(
    recipe: Path, encoders: Path, tmp_path: Path, overrides: list[str], where: str, rest: str
) -> None:
    ((problem,),) = refused(recipe, tmp_path / "runs", [overrides], encoders)
    assert problem.startswith(f"{where}: ")
    assert problem.endswith(rest)


@pytest.mark.parametrize("encoder", ["gamma_noise", "batch_norm"])
@pytest.mark.parametrize("overrides", [[], ["trainer.microbatch=64"]], ids=["no microbatch", "one that is the batch"])
def test_one_process_with_the_whole_batch_refuses_none_of_these(
    recipe: Path, encoders: Path, encoder: str, overrides: list[str]
) -> None:
    prepare(recipe, [f"encoder={{name: {encoder}}}", *overrides], [encoders], recipe.parent)


IN_WHOLE_AND_IN_PARTS = pytest.mark.parametrize(
    "overrides", [[], ["trainer.microbatch=16"]], ids=["whole batches", "microbatches"]
)


@IN_WHOLE_AND_IN_PARTS
def test_a_likelihood_that_excludes_blank_examples_suits_data_that_have_none(
    recipe: Path, own_parts: Path, tmp_path: Path, overrides: list[str]
) -> None:
    x = torch.rand(100, 6, generator=torch.Generator().manual_seed(0)) + 0.5
    np.savez(tmp_path / "positive.npz", x=x.numpy())
    data = f"data: {{name: arrays, batch_size: 32, path: {tmp_path / 'positive.npz'}}}"
    recipe.write_text(RECIPE.replace("data: {name: digits, batch_size: 64, binarize: dynamic}", data))
    prepare(recipe, ["decoder={name: log_normal}", *overrides], [own_parts], tmp_path)


@IN_WHOLE_AND_IN_PARTS
def test_what_a_part_refuses_of_itself_is_blamed_on_no_batch(
    recipe: Path, own_parts: Path, overrides: list[str]
) -> None:
    overrides = ["decoder={name: strict_bernoulli}", "data.binarize=none", *overrides]
    with pytest.raises(ValueError, match=r"to be within the support \(Boolean\(\)\)") as error:
        prepare(recipe, overrides, [own_parts], recipe.parent)
    assert type(error.value) is ValueError


@IN_WHOLE_AND_IN_PARTS
def test_what_a_part_refuses_in_evaluation_is_blamed_on_no_batch(
    recipe: Path, own_parts: Path, overrides: list[str]
) -> None:
    with pytest.raises(ValueError, match="found no running mean") as error:
        prepare(recipe, ["encoder={name: fails_in_evaluation}", *overrides], [own_parts], recipe.parent)
    assert type(error.value) is ValueError


def test_dropout_of_weights_is_told_from_that_of_examples(recipe: Path, own_parts: Path) -> None:
    # 20 is a multiple of the few examples that are enough elsewhere, and not of the 16 of a microbatch.
    prepare(recipe, ["encoder={name: dropped_weights}", "trainer.microbatch=16"], [own_parts], recipe.parent)


@pytest.mark.parametrize(
    ("overrides", "leaves_out"),
    [
        ([], False),
        ([FACTOR_VAE], True),  # the critic's loss leaves out the model, the model's the critic
        ([MIXTURE], False),
        ([MIXTURE, MMD_ALONE], True),  # whose draws of the prior are not differentiated
    ],
    ids=["plain", "a critic", "a learned prior", "a learned prior under mmd"],
)
def test_whether_a_loss_leaves_parameters_out(recipe: Path, overrides: list[str], leaves_out: bool) -> None:
    assert prepare(recipe, overrides, [], recipe.parent).leaves_out is leaves_out


@pytest.mark.parametrize(
    ("overrides", "unlearned"),
    [
        ([], []),
        ([FACTOR_VAE], []),  # each loss has what the other leaves out
        ([MIXTURE, MMD_ALONE], ["prior.log_scales", "prior.logits", "prior.means"]),
        ([MIXTURE, "divergences={kl: {weight: {name: linear, start: 0.0, end: 1.0, steps: 9}}}"], []),
    ],
    ids=["plain", "a critic", "a learned prior under mmd", "a weight that begins at 0"],
)
def test_what_no_loss_moves_is_said(recipe: Path, overrides: list[str], unlearned: list[str]) -> None:
    notes = [note for note in prepare(recipe, overrides, [], recipe.parent).notes if "no loss" in note]
    names = ", ".join(unlearned)
    assert notes == [f"no loss has a gradient for {names}: they stay as they start"] * bool(unlearned)


def test_a_later_loss_that_leaves_parameters_out_trains_on_two_processes(tmp_path: Path) -> None:
    recipe, plugin = tmp_path / "twice.yaml", tmp_path / "twice.py"
    recipe.write_text(TWICE_RECIPE)
    plugin.write_text(TWICE)
    for count in (1, 2):
        on_ranks(count, train, recipe, tmp_path / str(count), plugin)
    assert_same(run_in(tmp_path / "2", "twice"), run_in(tmp_path / "1", "twice"), TOLERANCE)


def prepared(recipe: Path) -> Prepared:
    return prepare(recipe, [SPECTRAL_NORM], [], recipe.parent)


def test_a_run_is_what_it_would_be_without_its_trial(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "draw", lambda *arguments: [])
    monkeypatch.setattr(running, "draw_learning_curves", lambda *arguments: None)
    found = []
    for name, stub in (("tried", None), ("not tried", lambda *arguments: Trial([], leaves_out=True))):
        if stub is not None:
            monkeypatch.setattr(preparing, "try_step", stub)
        directory = running.run(prepared(recipe), tmp_path / name, Console(quiet=True)).directory
        assert directory is not None
        found.append((state_of(directory)["learner"], records(directory)))
    (weights, lines), (expected_weights, expected_lines) = found
    assert weights.keys() == expected_weights.keys() != set()
    assert all(torch.equal(value, expected_weights[name]) for name, value in weights.items())
    assert lines == expected_lines
