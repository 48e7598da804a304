"""The latent learner against a linear-Gaussian VAE (probabilistic PCA), where everything has a closed form.

    z ~ N(0, I),   x|z ~ N(Wz + b, s²I)   ⇒   x ~ N(b, WWᵀ + s²I),   z|x ~ N(M⁻¹Wᵀ(x − b), s²M⁻¹),   M = WᵀW + s²I

W's columns are orthogonal, so that the exact posterior is diagonal and a linear encoder can be it. All in float64;
what is not stochastic agrees to 1e-9, and estimates to four standard errors at fixed keys.
"""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, MultivariateNormal, Normal

from framework import Counters, Decoder, Divergence, Encoder, Facts, IncompatibleParts, Prior, Term, randomness
from framework.distributions import DiagonalGaussian
from framework.latent_health import active_units, aggregate_mismatch
from framework.learners.latent import Latent
from framework.randomness import Keys
from framework_plugins.decoders.mlp import MLPDecoder
from framework_plugins.divergences.adversarial import Adversarial
from framework_plugins.divergences.beta import Beta
from framework_plugins.divergences.infovae import InfoVAE
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import MMD
from framework_plugins.divergences.mutual_information import MutualInformation
from framework_plugins.encoders.mlp import MLPEncoder
from framework_plugins.optimizers.adam import adam
from framework_plugins.priors.gaussian_mixture import GaussianMixture
from framework_plugins.priors.standard_normal import StandardNormal
from framework_plugins.schedules.ramp import Linear

X, D, S = 5, 2, 0.6  # pixels, latents, s
FACTS = Facts(input_shape=(X,), dataset_size=100, values="real")
KEYS = Keys(seed=0, stream="train", counter=3)
NOW = Counters(optimizer_steps=3)


@pytest.fixture(autouse=True)
def _generator_as_it_was() -> Iterator[None]:
    state = torch.get_rng_state()
    torch.manual_seed(0)
    yield
    torch.set_rng_state(state)


def weights() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    directions = torch.linalg.qr(torch.randn(X, D, generator=generator, dtype=torch.float64)).Q  # [X, D]
    w = directions * torch.tensor([2.0, 0.7], dtype=torch.float64)
    return w, torch.randn(X, generator=generator, dtype=torch.float64)


def posterior(x: Tensor) -> MultivariateNormal:
    w, b = weights()
    inverse = torch.linalg.inv(w.T @ w + S**2 * torch.eye(D, dtype=torch.float64))
    return MultivariateNormal((x - b) @ w @ inverse, S**2 * inverse)


def marginal() -> MultivariateNormal:
    w, b = weights()
    return MultivariateNormal(b, w @ w.T + S**2 * torch.eye(X, dtype=torch.float64))


def learner(divergences: dict[str, Term] | None = None, prior: Prior | None = None) -> Latent:
    """Probabilistic PCA with its exact posterior, built from the shipped linear parts."""
    encoder = MLPEncoder(input_shape=(X,), latent_dim=D, hidden=[])
    decoder = MLPDecoder(latent_dim=D, input_shape=(X,), hidden=[], likelihood="gaussian", sigma=S)
    latent = Latent(
        facts=FACTS,
        latent_dim=D,
        encoder=encoder,
        decoder=decoder,
        prior=prior or StandardNormal(latent_dim=D),
        divergences={"kl": Term(KL())} if divergences is None else divergences,
        optimizer=functools.partial(adam, lr=1e-3),
    ).double()
    w, b = weights()
    variances = S**2 / ((w * w).sum(0) + S**2)  # the diagonal of s²M⁻¹
    to_mean = (w * variances / S**2).T  # M⁻¹Wᵀ, [D, X]
    with torch.no_grad():
        linear = encoder.posterior.linear
        linear.weight.copy_(torch.cat([to_mean, torch.zeros(D, X)]))
        linear.bias.copy_(torch.cat([-to_mean @ b, variances.log() / 2]))
        decoder.trunk[0][0].weight.copy_(w)
        decoder.trunk[0][0].bias.copy_(b)
        decoder.likelihood.log_sigma.copy_(torch.tensor(S, dtype=torch.float64).log())
    return latent


def one_component() -> GaussianMixture:
    """N(0, I) as a mixture of one: the same prior, to which the KL has no closed form."""
    prior = GaussianMixture(latent_dim=D, components=1)
    nn.init.zeros_(prior.means)
    return prior


def examples(count: int = 8) -> Tensor:
    torch.manual_seed(11)
    return marginal().sample((count,))


def training(latent: Latent, x: Tensor, counters: Counters = NOW, keys: Keys = KEYS) -> dict[str, float]:
    (loss,) = latent.losses(x, counters, keys)
    assert loss.optimizer == "main"
    assert not any(value.requires_grad for value in loss.metrics.values())
    assert loss.value.item() == loss.metrics["objective"].item()
    return {name: value.item() for name, value in loss.metrics.items()}


def evaluation(latent: Latent, x: Tensor, counter: int = 3) -> dict[str, float]:
    return {name: value.item() for name, value in latent.evaluate(x, replace(KEYS, counter=counter)).items()}


def averages(latent: Latent, x: Tensor, repeats: int) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics over many draws of z: means, and four standard errors of them."""
    with torch.no_grad():
        found = [evaluation(latent, x, counter) for counter in range(repeats)]
    columns = {name: torch.tensor([one[name] for one in found], dtype=torch.float64) for name in found[0]}
    return (
        {name: values.mean().item() for name, values in columns.items()},
        {name: 4 * values.std().item() / repeats**0.5 for name, values in columns.items()},
    )


def test_known_mistake_at_the_exact_posterior_each_samples_elbo_is_the_log_likelihood() -> None:
    """A known mistake: signs. log p(x|z) + log p(z) − log q(z|x) is log p(x), whatever z is."""
    x = examples()
    latent = learner(prior=one_component())
    for row in x:
        metrics = training(latent, row[None])
        assert metrics["elbo"] == pytest.approx(marginal().log_prob(row).item(), abs=1e-9)
        assert metrics["objective"] == -metrics["elbo"]


def test_known_mistake_at_the_exact_posterior_the_expected_elbo_is_the_log_likelihood() -> None:
    x = examples(3)
    means, errors = averages(learner(), x, 2000)
    q, (w, b) = posterior(x), weights()
    # E_q[log p(x|z)] = −(‖x − Wm − b‖² + tr WΣWᵀ)/(2s²) − X/2 · log(2πs²)
    spread = torch.trace(w @ q.covariance_matrix[0] @ w.T)
    squared = (x - q.mean @ w.T - b).square().sum(1)
    reconstruction = ((squared + spread) / (2 * S**2) - Normal(0.0, S).log_prob(torch.zeros(())) * X).mean().item()
    kl = torch.distributions.kl_divergence(q, MultivariateNormal(torch.zeros(D).double(), torch.eye(D).double())).mean()
    assert means["kl"] == pytest.approx(kl.item(), abs=1e-9)
    assert -(reconstruction + kl.item()) == pytest.approx(marginal().log_prob(x).mean().item(), abs=1e-6)
    assert abs(means["reconstruction"] - reconstruction) < errors["reconstruction"]
    assert abs(means["elbo"] - marginal().log_prob(x).mean().item()) < errors["elbo"]


def test_known_mistake_elsewhere_the_elbo_is_below_the_log_likelihood_by_the_kl_to_the_posterior() -> None:
    x = examples(3)
    latent = learner()
    with torch.no_grad():
        latent.encoder.posterior.linear.bias += 0.3
    q = latent.encoder(x)
    gap = torch.distributions.kl_divergence(MultivariateNormal(q.mean, torch.diag_embed(q.variance)), posterior(x))
    means, errors = averages(latent, x, 2000)
    log_likelihood = marginal().log_prob(x).mean().item()
    assert abs(means["elbo"] - (log_likelihood - gap.mean().item())) < errors["elbo"]
    assert means["elbo"] + errors["elbo"] < log_likelihood


def test_the_bounds_of_mutual_information_enclose_the_closed_form() -> None:
    """I(x;z) = ½ log det(I + WᵀW/s²), and E_x KL(q(z|x)‖p) is the same, because q(z) = p at the exact posterior."""
    w, _ = weights()
    exact = 0.5 * torch.logdet(torch.eye(D, dtype=torch.float64) + w.T @ w / S**2).item()
    bounds = {bound: Term(MutualInformation(bound=bound)) for bound in ("lower", "upper")}
    latent = learner({"kl": Term(KL()), **bounds})
    torch.manual_seed(12)
    x = marginal().sample((300, 16))
    with torch.no_grad():
        found = [evaluation(latent, batch, counter) for counter, batch in enumerate(x)]
    means, errors = {}, {}
    for name in ("kl", "lower", "upper"):
        values = torch.tensor([one[name] for one in found])
        means[name], errors[name] = values.mean().item(), 4 * values.std().item() / len(values) ** 0.5
    assert abs(means["kl"] - exact) < errors["kl"]
    assert means["lower"] + errors["lower"] < exact < means["upper"] - errors["upper"]


def test_beta_is_the_weight_of_the_kl_in_the_objective_and_not_in_the_elbo() -> None:
    x = examples()
    vae, beta_vae = training(learner(), x), training(learner({"beta": Term(Beta(beta=4.0, of=KL()))}), x)
    assert vae["objective"] == pytest.approx(vae["reconstruction"] + vae["kl"], abs=1e-9)
    assert beta_vae["objective"] == pytest.approx(vae["reconstruction"] + 4 * vae["kl"], abs=1e-9)
    assert beta_vae["beta/kl"] == vae["kl"]
    assert beta_vae["elbo"] == vae["elbo"] == pytest.approx(-vae["objective"], abs=1e-9)


def test_a_capacity_is_of_the_batchs_kl() -> None:
    x = examples()
    plain = training(learner(), x)
    latent = learner({"beta": Term(Beta(beta=10.0, of=KL(), capacity=plain["kl"] + 0.25))})
    assert training(latent, x)["objective"] == pytest.approx(plain["reconstruction"] + 2.5, abs=1e-9)


def test_infovaes_objective_has_its_papers_weights() -> None:
    found = training(learner({"infovae": Term(InfoVAE(alpha=0.2, lambda_=10.0, of=MMD(latent_dim=D)))}), examples())
    expected = found["reconstruction"] + 0.8 * found["infovae/kl"] + 9.2 * found["infovae/mmd"]
    assert found["objective"] == pytest.approx(expected, abs=1e-9)
    assert found["elbo"] == pytest.approx(-found["reconstruction"] - found["infovae/kl"], abs=1e-9)


def test_known_mistake_evaluation_has_the_training_objective_of_a_finished_schedule() -> None:
    """A known mistake: models are judged by the final weights, whatever training's are at the moment."""
    terms = {"kl": Term(KL(), Linear(start=0.0, end=1.0, steps=10)), "mmd": Term(MMD(latent_dim=D), 5.0)}
    latent, x = learner(terms), examples()
    finished = training(latent, x, Counters(optimizer_steps=10))
    judged = evaluation(latent, x)
    assert {name: judged[name] for name in finished} == finished
    started = training(latent, x, Counters(optimizer_steps=0))
    assert started["objective"] == pytest.approx(finished["objective"] - finished["kl"], abs=1e-9)


def test_known_mistake_sums_over_pixels_and_latents_and_means_over_the_batch() -> None:
    """A known mistake: doubling the latents doubles the KL, doubling the pixels the
    reconstruction, doubling the batch neither."""

    def blank(pixels: int, latents: int, batch: int) -> dict[str, float]:
        latent = Latent(
            facts=replace(FACTS, input_shape=(pixels,)),
            latent_dim=latents,
            encoder=MLPEncoder(input_shape=(pixels,), latent_dim=latents, hidden=[]),
            decoder=MLPDecoder(latent_dim=latents, input_shape=(pixels,), hidden=[], likelihood="gaussian"),
            prior=StandardNormal(latent_dim=latents),
            divergences={"kl": Term(KL())},
            optimizer=adam,
        )
        for parameter in latent.parameters():
            nn.init.zeros_(parameter)
        nn.init.constant_(latent.encoder.posterior.linear.bias[:latents], 1.0)
        return training(latent, torch.full((batch, pixels), 2.0))

    # KL = ½ D · 1²; −log N(2; 0, 1) = 2 + ½ log 2π = 2.918939 a pixel
    for pixels, latents, batch in [(3, 2, 4), (6, 2, 4), (3, 4, 4), (3, 2, 8)]:
        found = blank(pixels, latents, batch)
        assert found["kl"] == latents / 2
        assert found["reconstruction"] == pytest.approx(2.9189385 * pixels, rel=1e-6)


def test_the_gradient_is_that_of_a_loss_written_by_hand() -> None:
    """A VAE with a hidden layer and Bernoulli pixels, without a line of the framework, on the same noise."""
    encoder = MLPEncoder(input_shape=(1, 2, 3), latent_dim=D, hidden=[7], activation="tanh")
    decoder = MLPDecoder(latent_dim=D, input_shape=(1, 2, 3), hidden=[7], activation="tanh")
    latent = Latent(
        facts=Facts(input_shape=(1, 2, 3), dataset_size=9, values="binary"),
        latent_dim=D,
        encoder=encoder,
        decoder=decoder,
        prior=StandardNormal(latent_dim=D),
        divergences={"kl": Term(KL(), 1.5)},
        optimizer=adam,
    ).double()
    x = (torch.rand(4, 1, 2, 3) > 0.5).double()
    (loss,) = latent.losses(x, NOW, KEYS)
    ours = torch.autograd.grad(loss.value, list(latent.parameters()))

    (w1, b1, w2, b2), (w3, b3, w4, b4) = encoder.parameters(), decoder.parameters()
    mean, log_scale = F.linear(torch.tanh(F.linear(x.reshape(4, 6), w1, b1)), w2, b2).chunk(2, 1)
    KEYS("z")
    z = mean + log_scale.exp() * torch.randn(4, D, dtype=torch.float64)
    p = torch.sigmoid(F.linear(torch.tanh(F.linear(z, w3, b3)), w4, b4))
    cross_entropy = -(x.reshape(4, 6) * p.log() + (1 - x.reshape(4, 6)) * (1 - p).log()).sum(1)
    kl = 0.5 * (mean**2 + log_scale.exp() ** 2 - 1 - 2 * log_scale).sum(1)
    by_hand = (cross_entropy + 1.5 * kl).mean()
    assert loss.value.item() == pytest.approx(by_hand.item(), rel=1e-12)
    theirs = torch.autograd.grad(by_hand, [w1, b1, w2, b2, w3, b3, w4, b4])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


def test_training_reaches_the_maximum_of_the_likelihood() -> None:
    """From random weights, on 500 examples: the expected ELBO comes within 0.05 nats of probabilistic PCA's maximum,
    which is in closed form (Tipping & Bishop 1999, equation 8)."""
    x = examples(500)
    eigenvalues = torch.linalg.eigvalsh(torch.cov(x.T, correction=0)).flip(0)
    noise = eigenvalues[D:].mean()
    best = -0.5 * (
        X * (1 + torch.log(torch.tensor(2 * torch.pi))) + eigenvalues[:D].log().sum() + (X - D) * noise.log()
    )
    decoder = MLPDecoder(latent_dim=D, input_shape=(X,), hidden=[], likelihood="gaussian", learn_sigma=True)
    latent = Latent(
        facts=FACTS,
        latent_dim=D,
        encoder=MLPEncoder(input_shape=(X,), latent_dim=D, hidden=[]),
        decoder=decoder,
        prior=StandardNormal(latent_dim=D),
        divergences={"kl": Term(KL())},
        optimizer=functools.partial(adam, lr=Linear(start=0.03, end=0.0, steps=1500)),
    ).double()
    optimizer = latent.optimizers()["main"]
    for step in range(1500):
        counters = Counters(optimizer_steps=step)
        for loss in latent.losses(x, counters, Keys(0, "train", step)):
            optimizer.algorithm.zero_grad()
            loss.value.backward()
            optimizer.step(counters)
    means, errors = averages(latent, x, 200)
    assert means["elbo"] < best.item() + errors["elbo"]
    assert means["elbo"] == pytest.approx(best.item(), abs=0.05)


def test_the_noise_of_z_is_the_same_with_and_without_other_terms() -> None:
    def latents(divergences: dict[str, Term]) -> Tensor:
        latent, seen = learner(divergences), []
        latent.decoder.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
        training(latent, examples())
        return seen[0]

    alone = latents({"kl": Term(KL())})
    for others in (
        {},
        {"kl": Term(KL()), "mmd": Term(MMD(latent_dim=D))},
        {"mmd": Term(MMD(latent_dim=D)), "mutual_information": Term(MutualInformation()), "kl": Term(KL())},
    ):
        assert torch.equal(latents(others), alone)


def test_adding_a_term_does_not_change_anothers_noise() -> None:
    x = examples()
    one = training(learner({"mmd": Term(MMD(latent_dim=D))}), x)
    two = training(learner({"other": Term(MMD(latent_dim=D)), "mmd": Term(MMD(latent_dim=D))}), x)
    assert two["mmd"] == one["mmd"]
    assert two["other"] != one["mmd"]  # drawn at a site of its own


def test_the_sites_of_a_step_are_keyed_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sites: list[str] = []
    monkeypatch.setattr(randomness, "rekey", lambda seed, stream, counter: sites.append(stream))
    critic = Adversarial(latent_dim=D, hidden=[], optimizer=functools.partial(adam, lr=0.1))
    terms = {"mmd": Term(MMD(latent_dim=D)), "kl": Term(KL()), "adversarial": Term(critic)}
    latent = learner(terms)
    sites.clear()
    list(latent.losses(examples(), NOW, KEYS))
    expected = ["encode", "z", "critic/adversarial", "decode", "divergence/mmd", "divergence/adversarial"]
    assert sites == [f"{KEYS.stream}/{site}" for site in expected]


def test_the_same_keys_give_the_same_step_and_others_another() -> None:
    latent, x = learner(), examples()
    assert training(latent, x) == training(latent, x)
    assert training(latent, x) != training(latent, x, keys=replace(KEYS, counter=4))


def test_reconstructions_are_of_the_posteriors_mean_and_new_examples_of_given_latents() -> None:
    latent, x, (w, b) = learner(), examples(), weights()
    torch.testing.assert_close(latent.reconstruct(x), posterior(x).mean @ w.T + b)
    z = torch.ones(3, D, dtype=torch.float64)
    torch.testing.assert_close(latent.generate(z), (w.sum(1) + b).expand(3, X))


def test_one_optimiser_has_all_parameters() -> None:
    latent = learner({"kl": Term(KL())}, prior=GaussianMixture(latent_dim=D))
    (name, optimizer), *others = latent.optimizers().items()
    held = [parameter for group in optimizer.algorithm.param_groups for parameter in group["params"]]
    assert (name, others) == ("main", [])
    assert {id(one) for one in held} == {id(one) for one in latent.parameters()}
    assert any(one is latent.prior.means for one in held)


def test_notes_say_how_divergences_are_estimated() -> None:
    terms = {"kl": Term(KL()), "mutual_information": Term(MutualInformation(), -1.0)}
    expected = ("kl: closed form", "mutual_information: lower bound from the batch")
    assert learner(terms).notes == expected
    assert learner(terms, prior=one_component()).notes[0] == "kl: Monte Carlo, one sample"


def build(**parts: object) -> Latent:
    """A learner that is right but for what a test changes."""
    shape: tuple[int, ...] = (1, 2, 3)
    right = {
        "facts": Facts(input_shape=shape, dataset_size=9, values="binary"),
        "latent_dim": D,
        "encoder": MLPEncoder(input_shape=shape, latent_dim=D, hidden=[]),
        "decoder": MLPDecoder(latent_dim=D, input_shape=shape, hidden=[]),
        "prior": StandardNormal(latent_dim=D),
        "divergences": {"kl": Term(KL())},
        "optimizer": adam,
    }
    return Latent(**{**right, **parts})


def refusal(**parts: object) -> str:
    with pytest.raises(IncompatibleParts) as caught:
        build(**parts)
    return str(caught.value)


def deterministic() -> Encoder:
    return MLPEncoder(input_shape=(1, 2, 3), latent_dim=D, hidden=[], posterior="deterministic")


@pytest.mark.parametrize("values", ["unit_interval", "binary"])
def test_known_mistake_grey_pixels_under_a_bernoulli_likelihood_have_no_elbo(values: str) -> None:
    """A known mistake: a cross-entropy of grey pixels is no likelihood, and is not reported as one."""
    facts = Facts(input_shape=(1, 2, 3), dataset_size=9, values=values)
    latent = build(facts=facts)
    metrics = training(latent, torch.full((4, 1, 2, 3), 0.5))
    note = (
        "no elbo: the pixels are grey, and a Bernoulli likelihood of grey pixels is a cross-entropy and no likelihood "
        "(binarize the data, or take continuous_bernoulli)"
    )
    grey = values == "unit_interval"
    assert ("elbo" in metrics) is not grey
    assert (note in latent.notes) is grey
    decoder = MLPDecoder(latent_dim=D, input_shape=(1, 2, 3), hidden=[], likelihood="continuous_bernoulli")
    assert "elbo" in training(build(facts=facts, decoder=decoder), torch.full((4, 1, 2, 3), 0.5))


def test_evaluations_alone_have_the_active_units_and_the_mismatch() -> None:
    latent, x = learner({"kl": Term(KL())}), examples()
    metrics = evaluation(latent, x)
    assert metrics.keys() - training(latent, x).keys() == {"active_units", "aggregate_mismatch"}
    q = latent.posterior(x)
    expected = (active_units(q).item(), aggregate_mismatch(q).item())
    assert (metrics["active_units"], metrics["aggregate_mismatch"]) == expected
    assert evaluation(latent, x[:1]).keys() == training(latent, x).keys(), "one example has no variance"


def test_the_alarms_know_the_objective() -> None:
    collapsed = {"step": 10, "epoch": 3, "active_units": 0.0, "aggregate_mismatch": 0.0, "kl": 0.01}
    latent = learner({"kl": Term(KL(), Linear(start=0.0, end=20.0, steps=10)), "mmd": Term(MMD(latent_dim=D), 5.0)})
    (said,) = [said for alarm in latent.alarms if (said := alarm([collapsed, collapsed]))]
    assert f"0 of {D} latent units" in said
    assert "at most 0.01 nats" in said
    assert "now kl 20, mmd 5" in said


def test_a_deterministic_posterior_makes_an_autoencoder_without_elbo() -> None:
    latent = build(encoder=deterministic(), divergences={"mmd": Term(MMD(latent_dim=D))})
    assert latent.notes[-1] == "no elbo: the posterior is deterministic and has no density"
    x = torch.ones(4, 1, 2, 3)
    assert set(training(latent, x)) == {"objective", "reconstruction", "mmd"}
    assert training(latent, x, keys=replace(KEYS, counter=9))["reconstruction"] == training(latent, x)["reconstruction"]


def test_a_deterministic_posterior_with_a_density_to_evaluate_is_refused() -> None:
    terms = {"kl": Term(KL()), "infovae": Term(InfoVAE(alpha=0.0, lambda_=2.0, of=MMD(latent_dim=D)))}
    expected = "expected a posterior with a density, or a divergence of samples such as mmd"
    remedy = "with a deterministic posterior, which has no density; write encoder.posterior=gaussian"
    assert refusal(encoder=deterministic(), divergences=terms).splitlines() == [
        f"divergences.kl: {expected}, found 'kl' {remedy}",
        f"divergences.infovae: {expected}, found 'infovae/kl' {remedy}",
    ]


def test_a_negative_weight_is_reported_with_its_place() -> None:
    assert refusal(divergences={"kl": Term(KL(), -1.0)}).startswith("divergences.kl.weight: expected 0 or more: ")


def test_a_decoder_of_another_shape_is_refused() -> None:
    decoder = MLPDecoder(latent_dim=D, input_shape=(1, 3, 2), hidden=[])
    expected = "decoder: expected the data's [1, 2, 3], found examples of shape [1, 3, 2]"
    assert refusal(decoder=decoder) == expected


@pytest.mark.parametrize("likelihood", ["bernoulli", "continuous_bernoulli"])
def test_a_likelihood_on_the_unit_interval_is_refused_for_real_data(likelihood: str) -> None:
    decoder = MLPDecoder(latent_dim=D, input_shape=(1, 2, 3), hidden=[], likelihood=likelihood)
    assert refusal(decoder=decoder, facts=Facts((1, 2, 3), 9, "real")) == (
        "decoder.likelihood: expected a likelihood on the real line, or data scaled to [0, 1], "
        "found one on [0, 1], and data outside it; write likelihood: gaussian"
    )


def test_parts_for_another_latent_dimension_are_refused_together() -> None:
    encoder = MLPEncoder(input_shape=(1, 2, 3), latent_dim=4, hidden=[])
    assert refusal(encoder=encoder, prior=StandardNormal(latent_dim=3)).splitlines() == [
        "encoder: expected a posterior of [2] events [2], found batch shape [2], event shape [4] for 2 examples",
        "prior: expected batch shape [], event shape [2], the latent dimension, found batch shape [], event shape [3]",
    ]


def test_a_prior_for_each_example_is_refused() -> None:
    class Batched(Prior):
        def forward(self) -> Distribution:
            return DiagonalGaussian(torch.zeros(2, D), torch.zeros(2, D))

    assert "found batch shape [2], event shape [2]" in refusal(prior=Batched())


@pytest.mark.parametrize("label", ["active_units", "aggregate_mismatch", "elbo", "objective", "reconstruction"])
def test_a_label_that_is_a_metrics_name_is_refused(label: str) -> None:
    expected = f"divergences.{label}: expected another label, found the name of a metric of the learner"
    assert refusal(divergences={label: Term(KL())}) == expected


def test_settings_that_the_optimiser_refuses_are_found_when_the_learner_is_built() -> None:
    expected = "optimizer: expected settings that the optimiser accepts, found Invalid epsilon value: -1.0"
    assert refusal(optimizer=functools.partial(adam, eps=-1.0)) == expected


def test_a_learning_rate_that_becomes_negative_is_found_when_the_learner_is_built() -> None:
    expected = "optimizer.lr: expected 0 or more, at every step, found -0.1"
    assert refusal(optimizer=functools.partial(adam, lr=Linear(start=0.1, end=-0.1, steps=100))) == expected


def test_a_divergence_of_the_wrong_shape_is_found_when_the_learner_is_built() -> None:
    class Unsummed(Divergence):
        def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
            return z

    message = re.escape("divergence 'mine' (Unsummed): expected a value of shape [2], one an example, found [2, 2]")
    with pytest.raises(ValueError, match=message):
        build(divergences={"mine": Term(Unsummed())})


def test_a_learner_can_be_copied_and_loaded() -> None:
    latent = build(divergences={"a.b": Term(KL()), "mmd": Term(MMD(latent_dim=D))})
    other = build(divergences={"a.b": Term(KL()), "mmd": Term(MMD(latent_dim=D))})
    other.load_state_dict(latent.state_dict())
    x = torch.ones(4, 1, 2, 3)
    assert training(other, x) == training(copy.deepcopy(latent), x) == training(latent, x)


def autocast() -> bool:
    return torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize("terms", [{"mmd": Term(MMD(latent_dim=D))}, {"kl": Term(KL())}, {}], ids=["mmd", "kl", "none"])
def test_under_autocast_the_networks_alone_are_in_half_precision(terms: dict[str, Term]) -> None:
    """A stranger's distributions are sampled, and their densities taken, in full precision."""
    seen: dict[str, set[bool]] = {}

    class Noting(Independent):
        def __init__(self, who: str, mean: Tensor) -> None:
            super().__init__(Normal(mean.float(), torch.ones(mean.shape), validate_args=False), mean.dim() - 1)
            self.who = who

        def rsample(self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()) -> Tensor:
            seen.setdefault(f"{self.who}'s samples", set()).add(autocast())
            return super().rsample(torch.Size(sample_shape))

        def log_prob(self, value: Tensor) -> Tensor:
            seen.setdefault(f"{self.who}'s density", set()).add(autocast())
            return super().log_prob(value)

    class NotingEncoder(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, D)

        def forward(self, x: Tensor) -> Distribution:
            outputs = self.linear(x.flatten(1))
            seen.setdefault("encoder", set()).add(outputs.dtype == torch.bfloat16)
            return Noting("encoder", outputs)

    class NotingDecoder(Decoder):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(D, 6)

        def forward(self, z: Tensor) -> Distribution:
            outputs = self.linear(z)
            seen.setdefault("decoder", set()).add(outputs.dtype == torch.bfloat16)
            return Noting("decoder", outputs.view(-1, 1, 2, 3))

    class NotingObjective(Divergence):
        def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
            seen.setdefault("objective", set()).add(autocast())
            return q.log_prob(z)

    # A mixture has no closed form with it: the ELBO's KL is an estimate from both densities, in the objective or not.
    latent = build(
        encoder=NotingEncoder(),
        decoder=NotingDecoder(),
        prior=one_component(),
        divergences={**terms, "noting": Term(NotingObjective())},
    )
    seen.clear()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        metrics = training(latent, torch.ones(4, 1, 2, 3))
        assert autocast(), "it is switched on again"
    assert "elbo" in metrics
    on, off = {"encoder", "decoder"}, {"encoder's samples", "encoder's density", "decoder's density", "objective"}
    assert seen == {**{who: {True} for who in on}, **{who: {False} for who in off}}


def test_a_decoder_may_have_any_distribution_with_a_support() -> None:
    class Flat(Decoder):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(D, 6)

        def forward(self, z: Tensor) -> Distribution:
            mean = self.linear(z).view(-1, 1, 2, 3)
            return Independent(Normal(mean, torch.ones_like(mean), validate_args=False), 3)

    assert "elbo" in training(build(decoder=Flat()), torch.ones(4, 1, 2, 3))
