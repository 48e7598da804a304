"""Parts that are told the label, without knowing it: what they see, what they learn, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from framework import (
    Counters,
    Decoder,
    Encoder,
    Facts,
    Labelled,
    OptionError,
    RecipeError,
    Term,
    load,
    register_decoder,
    register_encoder,
)
from framework import run as running
from framework.conditioning import Conditioning, contexts
from framework.learners.latent import Latent
from framework.prepare import prepare
from framework.randomness import Keys
from framework_plugins.divergences.kl import KL
from framework_plugins.optimizers.adam import adam
from framework_plugins.priors.standard_normal import StandardNormal
from tests.framework.small_runs import DIGITS, trained, written

IMAGES, VECTORS = Facts((2, 4, 3), 9, "real", classes=3), Facts((5,), 9, "real", classes=3)
LABELS = torch.tensor([2, 0, 2])
CONDITIONAL = DIGITS + "conditional: true\n"


class Sees(Encoder):
    """Keeps what it was given."""

    def __init__(self, *, input_shape: tuple[int, ...], latent_dim: int) -> None:
        super().__init__()
        self.input_shape, self.latent_dim = input_shape, latent_dim
        self.scale = nn.Parameter(torch.ones(()))
        self.seen = torch.empty(0)

    def forward(self, x: Tensor) -> Distribution:
        self.seen = x
        mean = self.scale * x.flatten(1).mean(1, keepdim=True).expand(-1, self.latent_dim)
        return Independent(Normal(mean, torch.ones_like(mean), validate_args=False), 1)


class Hears(Decoder):
    """Keeps what it was given."""

    def __init__(self, *, latent_dim: int, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.latent_dim, self.input_shape = latent_dim, input_shape
        self.seen = torch.empty(0)

    def forward(self, z: Tensor) -> Distribution:
        self.seen = z
        mean = z.mean(1).view(-1, *[1] * len(self.input_shape)).expand(-1, *self.input_shape)
        return Independent(Normal(mean, torch.ones_like(mean), validate_args=False), len(self.input_shape))


def latent(facts: Facts, *, conditional: bool = True, **options: object) -> Latent:
    return Latent(
        facts=facts,
        latent_dim=2,
        encoder=Sees(input_shape=(6,), latent_dim=2),
        decoder=Hears(latent_dim=5, input_shape=facts.input_shape),
        prior=StandardNormal(latent_dim=2),
        divergences={"kl": Term(KL())},
        optimizer=adam,
        conditional=conditional,
        **options,  # type: ignore[arg-type]
    )


class TestWhatPartsSee:
    """`Conditioning` itself."""

    def test_a_vector_gets_the_label_as_one_of_several_numbers(self) -> None:
        x = torch.randn(3, 5, dtype=torch.float64)
        seen = Conditioning(VECTORS).examples(x, LABELS)
        assert torch.equal(seen[:, :5], x)
        assert seen[:, 5:].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]

    def test_an_image_gets_the_plane_of_its_class(self) -> None:
        condition, x = Conditioning(IMAGES), torch.randn(3, 2, 4, 3)
        seen = condition.examples(x, LABELS)
        assert seen.shape == (3, 3, 4, 3)
        assert torch.equal(seen[:, :2], x)
        assert torch.equal(seen[0, 2], seen[2, 2])
        assert not torch.equal(seen[0, 2], seen[1, 2])
        seen[0, 2].sum().backward()  # learned, each class its own
        assert condition.planes is not None
        assert condition.planes.weight.grad is not None
        assert condition.planes.weight.grad.sum(1).tolist() == [0, 0, 12]

    def test_latents_get_the_label(self) -> None:
        z = torch.randn(3, 4)
        seen = Conditioning(IMAGES).latents(z, LABELS)
        assert torch.equal(seen[:, :4], z)
        assert seen[:, 4:].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1]]

    def test_the_context_of_parts_is_what_they_see(self) -> None:
        options = {"conditional": True, "latent_dim": 2}
        for facts, seen in ((IMAGES, (3, 4, 3)), (VECTORS, (8,))):
            given = contexts(facts, options)
            assert given == {
                "encoder": {"input_shape": seen},
                "prior": {"input_shape": seen},
                "decoder": {"latent_dim": 5},
            }
            condition = Conditioning(facts)
            assert condition.examples(torch.zeros(3, *facts.input_shape), LABELS).shape == (3, *seen)
            assert condition.latents(torch.zeros(3, 2), LABELS).shape == (3, 5)
        assert contexts(IMAGES, {"latent_dim": 2}) == contexts(None, options) == {}

    @pytest.mark.parametrize(
        ("facts", "message"),
        [
            (
                Facts((5,), 9, "real"),
                "conditional: expected data with a label for each example, or false, found true, with data that have "
                "no labels; write conditional: false",
            ),
            (
                Facts((5, 5), 9, "real", classes=3),
                "conditional: expected examples of shape [F] or [C, H, W], or false, found true, with examples of "
                "shape [5, 5]; write conditional: false",
            ),
        ],
    )
    def test_data_that_cannot_be_conditioned_on_are_refused(self, facts: Facts, message: str) -> None:
        with pytest.raises(OptionError) as caught:
            Conditioning(facts)
        assert str(caught.value) == message


class TestLearner:
    """`Latent` with and without labels."""

    def test_both_parts_are_told_the_label_in_every_way_in(self) -> None:
        learner, x = latent(VECTORS), torch.randn(3, 5)
        encoder, decoder = learner.encoder, learner.decoder
        assert isinstance(encoder, Sees)
        assert isinstance(decoder, Hears)
        told = [[0, 0, 1], [1, 0, 0], [0, 0, 1]]
        keys = Keys(0, "test", 0)
        for way in (
            lambda: list(learner.losses(Labelled(x, LABELS), Counters(), keys)),
            lambda: learner.evaluate(Labelled(x, LABELS), keys),
            lambda: learner.reconstruct(x, LABELS),
        ):
            encoder.seen = decoder.seen = torch.empty(0)
            way()
            assert encoder.seen[:, 5:].tolist() == decoder.seen[:, 2:].tolist() == told
        learner.generate(torch.zeros(3, 2), LABELS)
        assert decoder.seen.tolist() == [[0, 0, *one] for one in told]

    def test_each_sample_of_an_example_has_its_label(self) -> None:
        learner, x = latent(VECTORS, bound="iwae", samples=2), torch.randn(3, 5)
        decoder = learner.decoder
        assert isinstance(decoder, Hears)
        learner.evaluate(Labelled(x, LABELS), Keys(0, "test", 0))
        assert decoder.seen[:, 2:].argmax(1).tolist() == [2, 2, 0, 0, 2, 2]

    def test_labels_that_are_missing_or_of_no_use_are_errors(self) -> None:
        x, z = torch.zeros(3, 5), torch.zeros(3, 2)
        conditional = latent(VECTORS)
        for way in (
            lambda: conditional.posterior(x),
            lambda: conditional.reconstruct(x),
            lambda: conditional.generate(z),
        ):
            with pytest.raises(ValueError, match=r"^this model is conditional: it needs labels, \[B\] whole numbers"):
                way()
        plain = latent(Facts((6,), 9, "real", classes=3), conditional=False)
        assert not plain.takes_labels
        for way in (lambda: plain.posterior(x, LABELS), lambda: plain.likelihood(z, LABELS)):
            with pytest.raises(ValueError, match=r"^this model is not conditional: it takes no labels"):
                way()

    def test_its_numbers_say_that_they_are_given_the_label(self) -> None:
        note = "conditional: every likelihood and divergence is given the label"
        assert note in latent(VECTORS).notes


@pytest.mark.usefixtures("own_registries")
def test_a_third_partys_parts_become_conditional_without_knowing_it(tmp_path: Path) -> None:
    register_encoder("sees")(Sees)
    register_decoder("hears")(Hears)
    recipe = CONDITIONAL.replace("{name: mlp, hidden: [8]}", "sees", 1).replace("{name: mlp, hidden: [8]}", "hears")
    learner = prepare(written(tmp_path, recipe), [], [], tmp_path).built.learner
    assert isinstance(learner, Latent)
    encoder, decoder = learner.encoder, learner.decoder
    assert isinstance(encoder, Sees)
    assert isinstance(decoder, Hears)
    assert encoder.input_shape == (2, 8, 8)
    assert (decoder.latent_dim, decoder.input_shape) == (12, (1, 8, 8))
    assert learner.latent_dim == 2


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["encoder={name: conv, channels: [4]}", "decoder={name: conv, channels: [4]}"],
        ["prior={name: vampprior, components: 3}"],
        ["bound=iwae", "samples=2"],
        ["divergences={adversarial: {hidden: [4], optimizer: {name: adam, lr: 0.001}}}"],
        ["trainer.precision=64"],
    ],
    ids=["mlp", "conv", "vampprior", "iwae", "critic", "float64"],
)
def test_it_trains_with_every_kind_of_part(
    overrides: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if overrides:  # pictures take longer than training does, and are of the same kind
        monkeypatch.setattr(running, "draw", lambda *arguments: [])
        monkeypatch.setattr(running, "draw_learning_curves", lambda *arguments: None)
    run = trained(tmp_path, CONDITIONAL, "trainer.max_epochs=null", "trainer.max_steps=3", *overrides)
    learner = load(run)
    assert isinstance(learner, Latent)
    images = learner.generate(torch.zeros(10, 2).to(next(learner.parameters())), torch.arange(10))
    assert images.shape == (10, 1, 8, 8)
    assert (run / "figures" / "reconstructions.png").is_file() or overrides


def test_a_trained_model_draws_the_class_that_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes of vectors, (3, 3, 3, 3) and (−3, −3, −3, −3) with noise of size 0.1, which the label tells apart."""
    monkeypatch.setattr(running, "draw", lambda *arguments: [])
    monkeypatch.setattr(running, "draw_learning_curves", lambda *arguments: None)
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 600)
    x = np.where(y == 0, 3.0, -3.0)[:, None] + 0.1 * random.normal(size=(600, 4))
    np.savez(tmp_path / "two.npz", x=x, y=y)
    recipe = CONDITIONAL.replace(
        "{name: digits, batch_size: 100, binarize: dynamic}",
        f"{{name: arrays, batch_size: 60, path: {tmp_path}/two.npz}}",
    ).replace(
        "decoder: {name: mlp, hidden: [8]}", "decoder: {name: mlp, hidden: [8], likelihood: gaussian, sigma: 0.5}"
    )
    learner = load(trained(tmp_path, recipe, "trainer.max_epochs=40", "encoder.hidden=[16]", "decoder.hidden=[16]"))
    assert isinstance(learner, Latent)
    z = torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first, second = (learner.generate(z, torch.full((50,), label)) for label in (0, 1))
        # Without its label an example would have to be told by z, and over z from the prior the mean would be near 0.
        torch.testing.assert_close(first.mean(0), torch.full((4,), 3.0), rtol=0, atol=0.5)
        torch.testing.assert_close(second.mean(0), torch.full((4,), -3.0), rtol=0, atol=0.5)
        told = torch.zeros(50, dtype=torch.int64)
        q, other = (learner.posterior(first, labels).mean for labels in (told, told + 1))
    assert float((q - other).abs().max()) > 1e-3  # the encoder looks at it too


def test_data_without_labels_are_a_recipe_error_before_training(tmp_path: Path) -> None:
    np.savez(tmp_path / "bare.npz", x=np.zeros((100, 4)))
    recipe = CONDITIONAL.replace(
        "{name: digits, batch_size: 100, binarize: dynamic}",
        f"{{name: arrays, batch_size: 8, path: {tmp_path}/bare.npz}}",
    )
    path = written(tmp_path, recipe)
    with pytest.raises(RecipeError) as caught:
        prepare(path, [], [], tmp_path)
    assert str(caught.value) == (
        f"{path}:13:14: conditional: this value is refused\n"
        "  13 | conditional: true\n"
        "     |              ^^^^\n"
        "       found:    true, with data that have no labels\n"
        "       expected: data with a label for each example, or false\n"
        "       write:    conditional: false\n\n1 problem found."
    )
    assert not (tmp_path / "runs").exists()
