"""Discrete latents and several samples in the latent learner, against enumeration of every latent, in float64.

Three bits z and four binary pixels x: the ELBO and its gradient are sums over the eight latents.

    ELBO(x) = Σ_z q(z|x) log p(x|z) − KL(q(z|x)‖p)
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    TransformedDistribution,
)
from torch.distributions import Categorical as TorchCategorical

from framework import Baseline, Counters, Divergence, Encoder, Facts, IncompatibleParts, Prior, Term
from framework.bounds import Bound
from framework.discrete import OneHotLogits, most_information
from framework.distributions import BernoulliLogits, kl_divergence
from framework.learners.latent import Latent
from framework.randomness import Keys
from framework.share import Share
from framework_plugins.baselines.leave_one_out import LeaveOneOut
from framework_plugins.baselines.moving_average import MovingAverage
from framework_plugins.baselines.time_dependent import TimeDependent
from framework_plugins.baselines.value import Value
from framework_plugins.decoders.mlp import MLPDecoder
from framework_plugins.divergences.adversarial import Adversarial
from framework_plugins.divergences.covariance import Covariance
from framework_plugins.divergences.jensen_shannon import JensenShannon
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import MMD
from framework_plugins.divergences.mutual_information import MutualInformation
from framework_plugins.divergences.sinkhorn import Sinkhorn
from framework_plugins.divergences.sliced_wasserstein import SlicedWasserstein
from framework_plugins.encoders.mlp import MLPEncoder
from framework_plugins.optimizers.adam import adam
from framework_plugins.priors.bernoulli import Bernoulli
from framework_plugins.priors.categorical import Categorical
from framework_plugins.priors.standard_normal import StandardNormal
from framework_plugins.priors.uniform import Uniform
from framework_plugins.priors.vampprior import VampPrior
from framework_plugins.schedules.ramp import Linear

X, D = 4, 3
FACTS = Facts(input_shape=(X,), dataset_size=100, values="binary")
NOW = Counters(optimizer_steps=3)
BITS = torch.tensor(list(itertools.product([0.0, 1.0], repeat=D)), dtype=torch.float64)  # [8, D]
EXAMPLES = torch.tensor([[1, 0, 1, 1], [0, 0, 1, 0]], dtype=torch.float64)  # [B, X]


@pytest.fixture(autouse=True)
def _generator_as_it_was() -> Iterator[None]:
    state = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)


def learner(posterior: str = "bernoulli", **options: Any) -> Latent:
    torch.manual_seed(5)
    priors = {
        "bernoulli": Bernoulli(latent_dim=D, probability=0.3),
        "categorical": Categorical(latent_dim=D, categories=D),
        "gaussian": StandardNormal(latent_dim=D),
        "deterministic": StandardNormal(latent_dim=D),
    }
    categories = D if posterior == "categorical" else None
    encoder = MLPEncoder(input_shape=(X,), latent_dim=D, hidden=[], posterior=posterior, categories=categories)
    decoder = MLPDecoder(latent_dim=D, input_shape=(X,), hidden=[])
    given = {
        "prior": priors[posterior],
        "divergences": {} if posterior == "deterministic" else {"kl": Term(KL())},
        "optimizer": functools.partial(adam, lr=1e-3),
    }
    with torch.no_grad():  # far from the start, where all gradients are small
        for parameter in [*encoder.parameters(), *decoder.parameters()]:
            parameter.mul_(3)
    return Latent(facts=FACTS, latent_dim=D, encoder=encoder, decoder=decoder, **(given | options)).double()


def latents_of(latent: Latent) -> Tensor:
    return BITS if isinstance(latent.prior, Bernoulli) else torch.eye(D, dtype=torch.float64)


def exact_objective(latent: Latent, x: Tensor = EXAMPLES) -> Tensor:
    """The negative ELBO, a mean over the examples, by enumeration of the latents."""
    q, latents = latent.posterior(x), latents_of(latent)
    log_q = q.log_prob(latents[:, None])  # [8, B]
    likelihood = latent.likelihood(latents)  # [8]
    log_p = torch.stack([likelihood.log_prob(one.expand(len(latents), X)) for one in x], 1)  # [8, B]
    return -(log_q.exp() * log_p).sum(0).mean() + kl_divergence(q, latent.prior(), latents[0]).mean()


def own_parameters(latent: Latent) -> list[torch.nn.Parameter]:
    return [*latent.encoder.parameters(), *latent.decoder.parameters()]


def flat(gradients: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in gradients])


def estimates(latent: Latent, count: int) -> tuple[Tensor, Tensor]:
    """The gradients of `count` steps on the same weights, [count, P], and the objectives, [count]."""
    gradients, objectives = [], []
    for step in range(count):
        for loss in latent.losses(EXAMPLES, NOW, Keys(0, "train", step)):
            assert loss.value is not None
            gradients.append(flat(torch.autograd.grad(loss.value, own_parameters(latent))))
            objectives.append(loss.metrics["objective"])
    return torch.stack(gradients), torch.stack(objectives)


def z_scores(samples: Tensor, truth: Tensor) -> Tensor:
    error = (samples.var(0) / len(samples)).sqrt()
    moving = error > 1e-12
    torch.testing.assert_close(samples.mean(0)[~moving], truth[~moving])  # what no draw changes
    return ((samples.mean(0) - truth) / error)[moving]


BASELINES = {
    "none": lambda: None,
    "moving_average": lambda: MovingAverage(decay=0.9),
    "leave_one_out": lambda: LeaveOneOut(),
    "value": lambda: Value(observation_space=Box(-math.inf, math.inf, (X,)), initial=-3.0),
}


@pytest.mark.parametrize("posterior", ["bernoulli", "categorical"])
@pytest.mark.parametrize("name", list(BASELINES))
def test_the_score_functions_gradient_is_that_of_the_enumerated_elbo(posterior: str, name: str) -> None:
    baseline: Baseline | None = BASELINES[name]()
    latent = learner(posterior, estimator="score_function", samples=16, baseline=baseline)
    objective = exact_objective(latent)
    truth = flat(torch.autograd.grad(objective, own_parameters(latent)))
    gradients, objectives = estimates(latent, 500)
    assert float(z_scores(gradients, truth).abs().max()) < 4
    assert float(z_scores(objectives[:, None], objective.detach()[None]).abs().max()) < 4


def test_baselines_lower_the_variance() -> None:
    spread = {}
    for name, make in BASELINES.items():
        gradients, _ = estimates(learner(estimator="score_function", samples=4, baseline=make()), 300)
        spread[name] = float(gradients[:, : D * (X + 1)].var(0).sum())  # the encoder's
    assert all(spread[name] < 0.8 * spread["none"] for name in BASELINES if name != "none")


def test_a_gaussian_may_take_the_score_function_too() -> None:
    latent = learner("gaussian", estimator="score_function", samples=16, baseline=LeaveOneOut())
    by_path, _ = estimates(learner("gaussian"), 600)
    by_score, _ = estimates(latent, 600)
    error = ((by_path.var(0) + by_score.var(0)) / 600).sqrt().clamp_min(1e-12)
    assert float(((by_path.mean(0) - by_score.mean(0)) / error).abs().max()) < 4


@pytest.mark.parametrize("options", [{"temperature": 0.4}, {"estimator": "straight_through"}], ids=["relaxed", "hard"])
@pytest.mark.parametrize("posterior", ["bernoulli", "categorical"])
def test_models_are_judged_by_true_draws(posterior: str, options: dict[str, Any]) -> None:
    latent = learner(posterior, **options)
    with torch.no_grad():
        found = torch.stack([latent.evaluate(EXAMPLES, Keys(0, "test", k))["objective"] for k in range(1000)])
    assert float(z_scores(found[:, None], exact_objective(latent).detach()[None]).abs().max()) < 4


@pytest.mark.parametrize("options", [{"temperature": 0.4}, {"estimator": "straight_through"}], ids=["relaxed", "hard"])
def test_biased_gradients_point_the_right_way(options: dict[str, Any]) -> None:
    latent = learner(**options)
    truth = flat(torch.autograd.grad(exact_objective(latent), own_parameters(latent)))
    gradients, _ = estimates(latent, 300)
    assert float(torch.cosine_similarity(gradients.mean(0), truth, dim=0)) > 0.9


def test_a_relaxed_gradient_tends_to_the_true_one_as_it_cools() -> None:
    bias = []
    for temperature in (2.0, 0.2):
        latent = learner(temperature=temperature)
        truth = flat(torch.autograd.grad(exact_objective(latent), own_parameters(latent)))
        bias.append(float((estimates(latent, 800)[0].mean(0) - truth).norm() / truth.norm()))
    assert bias[1] < bias[0] / 2


def test_the_temperature_follows_its_schedule() -> None:
    latent = learner(temperature=Linear(start=2.0, end=0.5, steps=100))
    assert "trained on relaxed draws of temperature 0.5 at last; judged by true ones" in latent.notes
    q = latent.posterior(EXAMPLES)
    torch.manual_seed(1)
    warm = latent.draws(q, Counters())
    torch.manual_seed(1)
    cold = latent.draws(q, Counters(optimizer_steps=100))
    torch.testing.assert_close(cold.logit() * 0.5, warm.logit() * 2.0)


def test_a_fitted_baseline_learns_the_log_likelihood_and_leaves_the_model_alone() -> None:
    baseline = Value(observation_space=Box(-math.inf, math.inf, (X,)))
    latent = learner(estimator="score_function", samples=16, baseline=baseline)
    optimizer = torch.optim.Adam(baseline.parameters(), lr=0.05)
    for step in range(300):
        for loss in latent.losses(EXAMPLES, NOW, Keys(0, "train", step)):
            assert loss.value is not None
            optimizer.zero_grad()
            loss.value.backward()
            optimizer.step()
            assert "baseline_loss" in loss.metrics
    q, latents = latent.posterior(EXAMPLES), BITS
    log_p = torch.stack([latent.likelihood(latents).log_prob(one.expand(8, X)) for one in EXAMPLES], 1)
    expected = (q.log_prob(latents[:, None]).exp() * log_p).sum(0)  # E_q log p(x|z), [B]
    torch.testing.assert_close(baseline.network(EXAMPLES), expected, atol=0.3, rtol=0)


@pytest.mark.parametrize("bound", ["iwae", "dreg"])
def test_the_bound_in_training_is_that_of_the_parts(bound: str) -> None:
    latent = learner("gaussian", bound=bound, samples=5)
    keys = Keys(0, "train", 3)
    (loss,) = latent.losses(EXAMPLES, NOW, keys)
    q, p = latent.posterior(EXAMPLES), latent.prior()
    keys("z")
    z = torch.stack([q.rsample() for _ in range(5)])  # [K, B, D]
    log_p = torch.stack([latent.likelihood(one).log_prob(EXAMPLES) for one in z])
    log_w = log_p + p.log_prob(z) - q.log_prob(z)
    expected = -(log_w.exp().mean(0).log()).mean()
    torch.testing.assert_close(loss.value, expected)
    torch.testing.assert_close(loss.metrics["reconstruction"], -log_p.mean())
    torch.testing.assert_close(loss.metrics["elbo"], log_p.mean() - kl_divergence(q, p, z[0]).mean())
    assert loss.metrics["objective"] < -loss.metrics["elbo"]
    assert latent.formula.startswith("− log 1/5 Σ_k p(x|z_k)")


@pytest.mark.parametrize(("bound", "traced"), [("elbo", [True]), ("iwae", [False]), ("dreg", [False])])
def test_the_terms_have_a_graph_where_the_loss_has_them(bound: str, traced: list[bool]) -> None:
    seen: list[bool] = []
    latent = learner("gaussian", bound=bound, samples=1)
    (kl,) = latent.objective.divergences.values()
    kl.register_forward_hook(lambda module, inputs, value: seen.append(value.requires_grad))
    (loss,) = latent.losses(EXAMPLES, NOW, Keys(0, "train", 3))
    assert loss.value is not None
    assert loss.value.requires_grad
    assert seen == traced


def test_the_double_gradient_is_the_plain_ones_in_expectation() -> None:
    plain, _ = estimates(learner("gaussian", bound="iwae", samples=3), 600)
    doubly, _ = estimates(learner("gaussian", bound="dreg", samples=3), 600)
    error = ((plain.var(0) + doubly.var(0)) / 600).sqrt().clamp_min(1e-12)
    assert float(((plain.mean(0) - doubly.mean(0)) / error).abs().max()) < 4


REFUSED = [
    ("gaussian", {"bound": "iwae", "divergences": {"kl": Term(KL(), 4.0)}}, "bound: expected kl alone, at weight 1"),
    ("gaussian", {"bound": "dreg", "divergences": {}}, "bound: expected kl alone, at weight 1"),
    (
        "deterministic",
        {"bound": "iwae", "divergences": {"kl": Term(KL())}},
        "bound: expected a posterior with a density",
    ),
    (
        "bernoulli",
        {"bound": "iwae", "temperature": 0.5},
        "bound: expected a posterior with a density and a reparametrised draw, and estimator: pathwise, "
        "found iwae with a posterior of bits and estimator: pathwise",
    ),
    ("gaussian", {"samples": 5}, "samples: expected 1: more are for an importance-weighted bound"),
    ("gaussian", {"samples": 0}, "samples: expected 1 or more, found 0"),
    ("deterministic", {"estimator": "score_function"}, "estimator: expected a posterior with a density"),
    (
        "gaussian",
        {"estimator": "straight_through"},
        "estimator: expected pathwise, "
        "found straight_through with a posterior of real numbers, which is reparametrised",
    ),
    ("bernoulli", {}, "temperature: expected the temperature of the relaxed draws, above 0, found none"),
    ("bernoulli", {"temperature": 0.0}, "temperature: expected a number above 0, found 0"),
    (
        "gaussian",
        {"temperature": 0.5},
        "temperature: expected null: only relaxed draws of discrete latents have one, "
        "found set, with a posterior of real numbers and estimator: pathwise",
    ),
    ("gaussian", {"baseline": MovingAverage()}, "baseline: expected null: only the score function has a baseline"),
    (
        "bernoulli",
        {"estimator": "score_function", "baseline": LeaveOneOut()},
        "samples: expected 2 or more: it says nothing about fewer, found 1 with leave_one_out; write samples: 2",
    ),
    (
        "gaussian",
        {"estimator": "score_function", "divergences": {"mmd": Term(MMD(latent_dim=D))}},
        "divergences.mmd: expected a divergence in closed form",
    ),
    (
        "bernoulli",
        {
            "estimator": "score_function",
            "baseline": Value(observation_space=Box(-math.inf, math.inf, (X,)), clip=0.2),
        },
        "baseline.clip: expected values to keep near, found samples without the values from when they were drawn; "
        "write clip: null",
    ),
    (
        "bernoulli",
        {"estimator": "score_function", "baseline": TimeDependent(steps=3)},
        "baseline: expected the step in the episode of each sample, found samples without a time; write a baseline "
        "that needs none, such as leave_one_out",
    ),
    (
        "gaussian",
        {"prior": Categorical(latent_dim=D, categories=D)},
        "prior: expected a prior of what the posterior is of, found one-hot variables of 3 categories, with a "
        "posterior of real numbers; write prior: standard_normal",
    ),
    ("gaussian", {"prior": Bernoulli(latent_dim=D)}, "found bits, with a posterior of real numbers"),
    (
        "bernoulli",
        {"prior": StandardNormal(latent_dim=D), "temperature": 0.5},
        "found real numbers, with a posterior of bits; write prior: bernoulli",
    ),
    (
        "bernoulli",
        {"prior": Categorical(latent_dim=D, categories=D), "temperature": 0.5},
        "found one-hot variables of 3 categories, with a posterior of bits; write prior: bernoulli",
    ),
    (
        "categorical",
        {"prior": Bernoulli(latent_dim=D), "temperature": 0.5},
        "found bits, with a posterior of one-hot variables of 3 categories; write prior: {name: categorical, "
        "categories: 3}",
    ),
]


@pytest.mark.parametrize(("posterior", "options", "message"), REFUSED)
def test_what_does_not_fit_is_refused(posterior: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(IncompatibleParts, match=re.escape(message)):
        learner(posterior, **options)


PART = Keys(0, "train", 0, Share(position=0, count=2, rows=1))


def test_a_baseline_that_keeps_statistics_cannot_learn_from_microbatches() -> None:
    latent = learner(estimator="score_function", samples=2, baseline=MovingAverage())
    with pytest.raises(IncompatibleParts) as caught:
        list(latent.losses(EXAMPLES[:1], NOW, PART))
    assert str(caught.value) == (
        "baseline: expected a baseline that keeps none, such as leave_one_out, or whole batches, found moving_average, "
        "which keeps statistics of whole batches, with trainer.microbatch; write trainer.microbatch: null"
    )


@pytest.mark.parametrize("name", ["none", "leave_one_out", "value"])
def test_other_baselines_take_microbatches(name: str) -> None:
    latent = learner(estimator="score_function", samples=2, baseline=BASELINES[name]())
    assert list(latent.losses(EXAMPLES[:1], NOW, PART))


class Bits(Prior):
    """½ Bernoulli(0.3) + ½ Bernoulli(0.3): a prior to which a divergence has no closed form."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension

    def forward(self) -> MixtureSameFamily:
        logits = torch.full((2, self.dimension), math.log(0.3 / 0.7))
        return MixtureSameFamily(TorchCategorical(torch.ones(2)), BernoulliLogits(logits), validate_args=False)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("start", ["random", "at the prior"])
def test_an_estimate_from_samples_is_told_even_where_two_draws_agree(seed: int, start: str) -> None:
    """Of two bits, two draws of two examples are the same more often than one time in sixteen."""
    torch.manual_seed(seed)
    encoder = MLPEncoder(input_shape=(X,), latent_dim=2, hidden=[], posterior="bernoulli")
    if start == "at the prior":  # log q(z) − log p(z) is 0 at every z
        torch.nn.init.constant_(encoder.posterior.linear.bias, math.log(0.3 / 0.7))
    with pytest.raises(IncompatibleParts) as caught:
        Latent(
            facts=FACTS,
            latent_dim=2,
            encoder=encoder,
            decoder=MLPDecoder(latent_dim=2, input_shape=(X,), hidden=[]),
            prior=Bits(2),
            divergences={"kl": Term(KL())},
            optimizer=functools.partial(adam, lr=1e-3),
            estimator="score_function",
        )
    assert str(caught.value) == (
        "divergences.kl: expected a divergence in closed form: its gradient does not pass through samples, found 'kl', "
        "which is estimated from samples, with estimator: score_function; write estimator: straight_through"
    )


OF_SAMPLES: dict[str, Callable[[], tuple[Divergence, Prior]]] = {
    "kl": lambda: (KL(), Bits(D)),
    "mmd": lambda: (MMD(latent_dim=D), Bernoulli(latent_dim=D)),
    "sinkhorn": lambda: (Sinkhorn(latent_dim=D), Bernoulli(latent_dim=D)),
    "sliced_wasserstein": lambda: (SlicedWasserstein(), Bernoulli(latent_dim=D)),
    "mutual_information": lambda: (MutualInformation(), Bernoulli(latent_dim=D)),
    "jensen_shannon": lambda: (JensenShannon(), Bernoulli(latent_dim=D)),
    "adversarial": lambda: (
        Adversarial(latent_dim=D, hidden=[], optimizer=functools.partial(adam, lr=1e-3)),
        Bernoulli(latent_dim=D),
    ),
}


@pytest.mark.parametrize("name", list(OF_SAMPLES))
def test_relaxed_draws_are_not_compared_with_true_ones(name: str) -> None:
    divergence, prior = OF_SAMPLES[name]()
    options: dict[str, Any] = {"prior": prior, "divergences": {name: Term(divergence)}}
    with pytest.raises(IncompatibleParts) as caught:
        learner(temperature=0.5, **options)
    assert str(caught.value) == (
        f"divergences.{name}: expected a divergence in closed form: a relaxed draw is no value of q, and the prior has "
        f"none like it, found {name!r}, which is estimated from samples, with estimator: pathwise, by relaxed draws; "
        "write estimator: straight_through"
    )
    learner(estimator="straight_through", **options)


@pytest.mark.parametrize("options", [{"temperature": 0.5}, {"estimator": "score_function"}], ids=["relaxed", "score"])
def test_what_looks_at_the_posterior_alone_goes_with_every_draw(options: dict[str, Any]) -> None:
    learner(divergences={"kl": Term(KL()), "covariance": Term(Covariance(kind="ii"))}, **options)


class Shifted(Encoder):
    """A Gaussian through a transform: its parameters are in a list, where nothing detaches them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(X, D)

    def forward(self, x: Tensor) -> Distribution:
        base = Normal(torch.zeros(len(x), D), torch.ones(len(x), D), validate_args=False)
        shift = AffineTransform(self.linear(x), torch.tensor(0.5), event_dim=0)
        return Independent(TransformedDistribution(base, [shift], validate_args=False), 1, validate_args=False)


@pytest.mark.parametrize("bound", ["iwae", "dreg"])
def test_the_double_gradient_needs_a_posterior_that_can_be_detached(bound: Bound) -> None:
    def build() -> Latent:
        return Latent(
            facts=FACTS,
            latent_dim=D,
            encoder=Shifted(),
            decoder=MLPDecoder(latent_dim=D, input_shape=(X,), hidden=[]),
            prior=StandardNormal(latent_dim=D),
            divergences={"kl": Term(KL())},
            optimizer=functools.partial(adam, lr=1e-3),
            bound=bound,
            samples=2,
        )

    if bound == "iwae":
        build()
        return
    with pytest.raises(IncompatibleParts) as caught:
        build()
    assert str(caught.value) == (
        "bound: expected a posterior with its parameters in attributes: the gradient is to reach them through z alone, "
        "found dreg with Independent, whose parameters cannot all be detached; write bound: iwae"
    )


def test_one_hot_variables_of_other_categories_are_refused() -> None:
    encoder = MLPEncoder(input_shape=(X,), latent_dim=4, hidden=[], posterior="categorical", categories=2)
    with pytest.raises(IncompatibleParts) as caught:
        Latent(
            facts=FACTS,
            latent_dim=4,
            encoder=encoder,
            decoder=MLPDecoder(latent_dim=4, input_shape=(X,), hidden=[]),
            prior=Categorical(latent_dim=4, categories=4),
            divergences={"kl": Term(KL())},
            optimizer=functools.partial(adam, lr=1e-3),
            estimator="straight_through",
        )
    assert str(caught.value) == (
        "prior: expected a prior of what the posterior is of, found one-hot variables of 4 categories, with a "
        "posterior of one-hot variables of 2 categories; write prior: {name: categorical, categories: 2}"
    )


def test_the_alarms_of_a_single_bit_know_how_little_it_can_carry() -> None:
    latent = Latent(
        facts=FACTS,
        latent_dim=1,
        encoder=MLPEncoder(input_shape=(X,), latent_dim=1, hidden=[], posterior="bernoulli"),
        decoder=MLPDecoder(latent_dim=1, input_shape=(X,), hidden=[]),
        prior=Bernoulli(latent_dim=1),
        divergences={"kl": Term(KL())},
        optimizer=functools.partial(adam, lr=1e-3),
        estimator="straight_through",
    )
    for nats, is_said in ((0.5, False), (0.3, True)):
        history = [{"epoch": epoch, "active_units": 1.0, "kl": nats} for epoch in (1, 2)]
        assert (latent.alarms[0](history) is not None) is is_said


@pytest.mark.parametrize(
    ("q", "nats"),
    [
        (BernoulliLogits(torch.zeros(2, 3)), 3 * math.log(2)),
        (OneHotLogits(torch.zeros(2, 3, 5)), 3 * math.log(5)),
        (Independent(Normal(torch.zeros(2, 3), 1.0), 1), math.inf),
    ],
    ids=["bits", "one-hot", "real"],
)
def test_what_latents_can_carry(q: Distribution, nats: float) -> None:
    assert most_information(q) == pytest.approx(nats)


def test_codes_may_be_drawn_to_the_bits_of_a_prior() -> None:
    learner("deterministic", prior=Bernoulli(latent_dim=D), divergences={"mmd": Term(MMD(latent_dim=D))})


@pytest.mark.parametrize("name", ["bernoulli", "categorical"])
def test_a_prior_may_be_a_mixture_of_posteriors(name: str) -> None:
    categories = D if name == "categorical" else None
    encoder = MLPEncoder(input_shape=(X,), latent_dim=D, hidden=[], posterior=name, categories=categories)
    learner(name, prior=VampPrior(input_shape=(X,), encoder=encoder, components=3), estimator="straight_through")


@pytest.mark.parametrize("posterior", ["bernoulli", "categorical"])
def test_the_posterior_is_what_the_recipe_says(posterior: str) -> None:
    q = learner(posterior, estimator="straight_through").posterior(EXAMPLES)
    assert isinstance(q, BernoulliLogits if posterior == "bernoulli" else OneHotLogits)


def test_a_prior_that_the_posterior_reaches_beyond_leaves_no_elbo() -> None:
    terms = {"mmd": Term(MMD(latent_dim=D))}
    latent = learner("gaussian", prior=Uniform(latent_dim=D), divergences=terms)
    assert "elbo" not in latent.evaluate(EXAMPLES, Keys(0, "test", 0))
    assert any(note.startswith("no elbo: the posterior reaches beyond the prior") for note in latent.notes)
