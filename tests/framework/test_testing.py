"""The laws themselves: parts that break one law each are told which, and what to do."""

from __future__ import annotations

import re
import threading
from functools import partial

import numpy
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, Uniform, VonMises

from framework import AdversarialDivergence, CompositeDivergence, Decoder, Divergence, Encoder, Optimizer, Prior, Term
from framework.distributions import DiagonalGaussian, StandardNormal
from framework.testing import check_decoder, check_divergence, check_encoder, check_prior

SHAPE = (1, 2, 3)
UNSEEN = "keep what is learned or counted in parameters and buffers, made in the constructor"


class Good(Divergence):
    """½ Σ z²: obeys every law."""

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return 0.5 * z.square().sum(1)


class GoodOfAll(Divergence):
    """The mean squared distance of z to draws of p: obeys every law."""

    aggregate = True

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return (z - p.sample(z.shape[:1])).square().sum(1).mean()


class Unsummed(Good):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return z.square()


class UnsummedOfAll(GoodOfAll):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return z.square().sum(1)


class NotFinite(Good):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return (z - z).sum(1).log() + z.sum(1)


class Detached(Good):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return z.detach().square().sum(1)


class NoGradient(Good):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return (0 * z).sum(1)


class Clamps(Good):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return z.clamp_(-0.1, 0.1).square().sum(1)


class Draws(Good):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return (z - torch.randn_like(z)).square().sum(1)


class Compares(Good):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return (z - z.mean(0)).square().sum(1)


class Single(Good):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return z.float().square().sum(1)


class NumPysNumbers(GoodOfAll):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return (z * numpy.random.default_rng().random()).square().mean()


class Caches(Good):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        self.last = z.square().sum(1)
        return self.last


class HoldsALock(Good):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Remembers(Good):
    """Counts its calls where no checkpoint sees it, and answers by the count."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        self.calls += 1
        return min(self.calls, 3) * z.square().sum(1)


class Lazy(Good):
    """Makes its buffer at the first call."""

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        if not hasattr(self, "seen"):
            self.register_buffer("seen", torch.zeros(()))
        return z.square().sum(1)


class PlainTensor(Good):
    def __init__(self) -> None:
        super().__init__()
        self.centre = torch.zeros(())

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return (z - self.centre).square().sum(1)


class SilentDensity(Good):
    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return q.log_prob(z)


@pytest.mark.parametrize("part", [Good(), GoodOfAll()])
def test_good_divergences_pass(part: Divergence) -> None:
    check_divergence(part)
    check_divergence(part, latent_dim=1)


def test_the_callers_random_numbers_are_left_as_they_were() -> None:
    encoder = GoodEncoder()
    before = torch.get_rng_state()
    check_divergence(GoodOfAll())
    check_encoder(encoder, SHAPE)
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(AssertionError):
        check_divergence(Draws())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("part", "law"),
    [
        (
            Unsummed(),
            "expected one value an example, of shape [6], found [6, 3]; "
            "sum over the latent dimensions only, or set aggregate = True",
        ),
        (
            UnsummedOfAll(),
            "expected one value for the batch, because aggregate = True, of shape [], found [6]; take the mean",
        ),
        (NotFinite(), "values are finite, found [-inf, -inf, -inf, -inf, -inf, -inf]; look for a division by zero"),
        (
            Detached(),
            "the value has a finite gradient that is not zero to z or to q's parameters; "
            "compute it with differentiable operations, without detach, item or argmax",
        ),
        (NoGradient(), "the value has a finite gradient that is not zero to z or to q's parameters; compute it with"),
        (Clamps(), "inputs are left as they were; change no input in place (add_, clamp_, out=…)"),
        (
            Draws(),
            "a divergence with aggregate = False draws no random number; use the sample z, or set aggregate = True",
        ),
        (
            Compares(),
            "with aggregate = False the value of an example does not depend on the others in the batch; "
            "set aggregate = True, or compare no examples",
        ),
        (
            NumPysNumbers(),
            "an aggregate divergence is a function of (q, p, z) and torch's default generator alone; "
            "draw with torch's default generator, and keep nothing from one call to the next",
        ),
        (
            Single(),
            "torch.float64 in is torch.float64 out, found torch.float32; "
            "make constants with the input's dtype (new_zeros, like=…) and register them as buffers",
        ),
        (
            HoldsALock(),
            "a part can be copied, found cannot pickle '_thread.lock' object; keep no lock, no file and no",
        ),
        (Caches(), "tensors are parameters or buffers, found attributes ['last']; use register_buffer"),
        (PlainTensor(), "tensors are parameters or buffers, found attributes ['centre']; use register_buffer"),
        (SilentDensity(), "a divergence that evaluates q's density says so; set needs_density = True"),
        (Remembers(), f"state_dict holds all that the part's values depend on; {UNSEEN}"),
        (Lazy(), "state_dict can be loaded back, found "),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Divergence) else "",
)
def test_a_divergence_that_breaks_a_law_is_told_which(part: Divergence, law: str) -> None:
    with pytest.raises(AssertionError, match=f"^{re.escape(f'{type(part).__name__}: {law}')}"):
        check_divergence(part)


class Pair(CompositeDivergence):
    def __init__(self, **parts: Divergence) -> None:
        super().__init__()
        self.parts = parts

    def terms(self) -> dict[str, Term]:
        return {label: Term(part) for label, part in self.parts.items()}


def test_a_composite_is_checked_by_its_terms() -> None:
    check_divergence(Pair(one=Good(), two=GoodOfAll()))
    with pytest.raises(AssertionError, match=r"^Draws: "):
        check_divergence(Pair(one=Good(), two=Draws()))
    with pytest.raises(AssertionError, match=r"^Pair: a composite has terms; return at least one from terms\(\)$"):
        check_divergence(Pair())


class GoodCritic(AdversarialDivergence):
    """A linear critic: obeys every law."""

    def __init__(self) -> None:
        sgd = partial(torch.optim.SGD, lr=0.1)
        critic = nn.Linear(3, 1)
        super().__init__(critic=critic, optimizer=lambda parameters: Optimizer(sgd(parameters), 0.1))

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return nn.functional.softplus(-self.critic(z)).mean()

    def critic_loss(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        w = self.draw(p, len(z))
        return self.loss(w, z), {"gap": (self.critic(w).mean() - self.critic(z).mean()).detach()}

    def draw(self, p: Distribution, count: int) -> Tensor:
        return p.sample(torch.Size([count]))

    def loss(self, w: Tensor, z: Tensor) -> Tensor:
        return nn.functional.softplus(-self.critic(w)).mean() + nn.functional.softplus(self.critic(z)).mean()


class DetachedValue(GoodCritic):
    """Frozen, it has no gradient: it moves with the critic alone, and with q's mean."""

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return nn.functional.softplus(-self.critic(z.detach())).mean() + q.mean.mean()


class UnsummedCritic(GoodCritic):
    def loss(self, w: Tensor, z: Tensor) -> Tensor:
        return nn.functional.softplus(-self.critic(w)).squeeze(1)


class NotFiniteCritic(GoodCritic):
    def loss(self, w: Tensor, z: Tensor) -> Tensor:
        return super().loss(w, z) / 0


class SingleCritic(GoodCritic):
    def loss(self, w: Tensor, z: Tensor) -> Tensor:
        return super().loss(w, z).float()


class NumPysCritic(GoodCritic):
    def loss(self, w: Tensor, z: Tensor) -> Tensor:
        return super().loss(w, z) * numpy.random.default_rng().random()


class ClampsLatents(GoodCritic):
    def loss(self, w: Tensor, z: Tensor) -> Tensor:
        return super().loss(w, z.clamp_(-0.1, 0.1))


class GraphInMetrics(GoodCritic):
    def critic_loss(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        loss, metrics = super().critic_loss(q, p, z)
        return loss, {**metrics, "loss_again": loss, "each": self.critic(z).detach()}


class Reparametrises(GoodCritic):
    """Its loss would move a learned prior."""

    def draw(self, p: Distribution, count: int) -> Tensor:
        return p.rsample(torch.Size([count]))


class DrawsLatentsAgain(GoodCritic):
    """Its loss would move the encoder."""

    def critic_loss(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return super().critic_loss(q, p, q.rsample())


class WithoutBias(GoodCritic):
    def loss(self, w: Tensor, z: Tensor) -> Tensor:
        return (self.critic(z) - self.critic(w)).square().mean()


class LearnsNothing(GoodCritic):
    def __init__(self) -> None:
        super().__init__()
        self.critic.requires_grad_(False)


ALONE = "critic_loss moves the critic alone and has no gradient to q's or p's parameters; take z for q, p.sample"


@pytest.mark.parametrize(
    ("part", "law"),
    [
        (
            DetachedValue(),
            "the value has a finite gradient that is not zero to z while the critic is frozen; "
            "compute it from the critic at z, without detach or no_grad",
        ),
        (UnsummedCritic(), "expected one critic_loss for the batch, of shape [], found [6]; take the mean"),
        (NotFiniteCritic(), "values are finite, found inf; look for a division by zero"),
        (SingleCritic(), "torch.float64 in is torch.float64 out, found torch.float32; make constants with"),
        (
            NumPysCritic(),
            "critic_loss is a function of (q, p, z) and torch's default generator alone; "
            "draw with torch's default generator, and keep nothing from one call to the next",
        ),
        (ClampsLatents(), "inputs are left as they were; change no input in place"),
        (
            GraphInMetrics(),
            "the metrics of critic_loss are of shape [] and have no graph, found ['loss_again', 'each']; "
            "take the mean, and detach it",
        ),
        (Reparametrises(), ALONE),
        (DrawsLatentsAgain(), ALONE),
        (
            WithoutBias(),
            "critic_loss has a finite gradient that is not zero to each parameter of the critic, "
            "found none to ['bias']; compute it with differentiable operations, and drop parameters",
        ),
        (LearnsNothing(), "a critic has parameters that are learned; make it an nn.Module with some"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Divergence) else "",
)
def test_a_critic_that_breaks_a_law_is_told_which(part: AdversarialDivergence, law: str) -> None:
    check_divergence(GoodCritic())
    with pytest.raises(AssertionError, match=f"^{re.escape(f'{type(part).__name__}: {law}')}"):
        check_divergence(part)


class GoodEncoder(Encoder):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(6, 3)

    def location(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))

    def forward(self, x: Tensor) -> Distribution:
        mean = self.location(x)
        return DiagonalGaussian(mean, torch.zeros_like(mean))


class NotReparametrised(GoodEncoder):
    def forward(self, x: Tensor) -> Distribution:
        mean = self.location(x)
        return Independent(VonMises(mean, torch.ones_like(mean), validate_args=False), 1)


class NoEvent(GoodEncoder):
    def forward(self, x: Tensor) -> Distribution:
        mean = self.location(x)
        return Normal(mean, torch.ones_like(mean))


class BatchNormalised(GoodEncoder):
    def location(self, x: Tensor) -> Tensor:
        mean = super().location(x)
        return mean - mean.mean(0)


class Frozen(GoodEncoder):
    def location(self, x: Tensor) -> Tensor:
        return super().location(x).detach()


class ScalesItsInput(GoodEncoder):
    def location(self, x: Tensor) -> Tensor:
        return super().location(x.mul_(0.5))


class SingleEncoder(GoodEncoder):
    def forward(self, x: Tensor) -> Distribution:
        mean = self.location(x).float()
        return DiagonalGaussian(mean, torch.zeros_like(mean))


EVENT = "expected a distribution of batch shape [6] and event shape [3], found batch shape [6, 3] and event shape []"


@pytest.mark.parametrize(
    ("part", "law"),
    [
        (NotReparametrised(), "a posterior is reparametrised, or discrete; return a distribution with has_rsample"),
        (NoEvent(), f"{EVENT}; torch.distributions.Independent makes batch dimensions part of the event"),
        (
            BatchNormalised(),
            "what an example is mapped to does not depend on the others in the batch; "
            "normalise by layer or group and not by batch",
        ),
        (Frozen(), "the output has a finite gradient that is not zero to the parameters; compute it with"),
        (ScalesItsInput(), "inputs are left as they were; change no input in place"),
        (SingleEncoder(), "torch.float64 in is torch.float64 out, found torch.float32; make constants with"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Encoder) else "",
)
def test_an_encoder_that_breaks_a_law_is_told_which(part: Encoder, law: str) -> None:
    check_encoder(GoodEncoder(), SHAPE)
    with pytest.raises(AssertionError, match=f"^{re.escape(f'{type(part).__name__}: {law}')}"):
        check_encoder(part, SHAPE)


class GoodDecoder(Decoder):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 6)

    def mean(self, z: Tensor) -> Tensor:
        return self.linear(z).view(-1, *SHAPE)

    def forward(self, z: Tensor) -> Distribution:
        mean = self.mean(z)
        return Independent(Normal(mean, torch.ones_like(mean)), 3)


class WrongShape(GoodDecoder):
    def mean(self, z: Tensor) -> Tensor:
        return self.linear(z).view(-1, 3, 2, 1)


class Silent(Normal):
    """A distribution that does not say where it lies."""

    support = Distribution.support


class WithoutSupport(GoodDecoder):
    def forward(self, z: Tensor) -> Distribution:
        mean = self.mean(z)
        return Independent(Silent(mean, torch.ones_like(mean), validate_args=False), 3, validate_args=False)


class IgnoresLatents(GoodDecoder):
    def mean(self, z: Tensor) -> Tensor:
        return super().mean(z.detach())


@pytest.mark.parametrize(
    ("part", "law"),
    [
        (
            WrongShape(),
            "expected a distribution of batch shape [6] and event shape [1, 2, 3], "
            "found batch shape [6] and event shape [3, 2, 1]; torch.distributions.Independent",
        ),
        (WithoutSupport(), "a likelihood says by `support` what data it is for; give the distribution a support that"),
        (IgnoresLatents(), "the log-likelihood has a gradient to z; compute it from z with differentiable operations"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Decoder) else "",
)
def test_a_decoder_that_breaks_a_law_is_told_which(part: Decoder, law: str) -> None:
    check_decoder(GoodDecoder(), SHAPE)
    with pytest.raises(AssertionError, match=f"^{re.escape(f'{type(part).__name__}: {law}')}"):
        check_decoder(part, SHAPE)


class GoodPrior(Prior):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_scale = (nn.Parameter(torch.zeros(3)) for _ in range(2))

    def forward(self) -> Distribution:
        return Independent(Normal(self.mean, self.log_scale.exp(), validate_args=False), 1, validate_args=False)


class Batched(GoodPrior):
    def forward(self) -> Distribution:
        return Normal(self.mean, self.log_scale.exp())


class SinglePrior(GoodPrior):
    def forward(self) -> Distribution:
        return StandardNormal(3, torch.zeros(()))


class Unused(GoodPrior):
    def forward(self) -> Distribution:
        return Independent(Normal(self.mean, 0 * self.mean.detach() + 1, validate_args=False), 1, validate_args=False)


@pytest.mark.parametrize(
    ("part", "law"),
    [
        (Batched(), "expected a distribution of batch shape [] and event shape [3], found batch shape [3] and event"),
        (
            Unused(),
            "the log-density has a gradient to z and to each learned parameter; "
            "compute it with differentiable operations, and drop parameters that are not used",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Prior) else "",
)
def test_a_prior_that_breaks_a_law_is_told_which(part: Prior, law: str) -> None:
    check_prior(GoodPrior())
    with pytest.raises(AssertionError, match=f"^{re.escape(f'{type(part).__name__}: {law}')}"):
        check_prior(part)


def test_a_prior_of_one_type_alone_is_told_so() -> None:
    part = SinglePrior()
    for parameter in part.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(AssertionError, match=r"^SinglePrior: torch\.float64 in is torch\.float64 out, found "):
        check_prior(part)


class Posterior(Prior):
    """The posterior of zeros, as a VampPrior's of its pseudo-inputs."""

    def __init__(self, encoder: GoodEncoder) -> None:
        super().__init__()
        self.lent = (encoder,)

    def forward(self) -> Distribution:
        q = self.lent[0](self.lent[0].linear.weight.new_zeros(1, *SHAPE))
        return Independent(Normal(q.mean[0], q.stddev[0], validate_args=False), 1, validate_args=False)


class Owner(Posterior):
    def __init__(self, encoder: GoodEncoder) -> None:
        super().__init__(encoder)
        self.encoder = encoder


def test_a_prior_that_owns_the_encoder_it_was_lent_is_told_so() -> None:
    encoder = GoodEncoder()
    check_prior(Posterior(encoder), encoder=encoder)
    message = "^Owner: the encoder is the learner's, and no module of the prior; keep it in a tuple, "
    with pytest.raises(AssertionError, match=message):
        check_prior(Owner(encoder), encoder=encoder)


class Flat(Prior):
    """The uniform density on [0, 1]³."""

    def __init__(self) -> None:
        super().__init__()
        self.width: Tensor
        self.register_buffer("width", torch.ones(3))

    def forward(self) -> Distribution:
        flat = Uniform(torch.zeros_like(self.width), self.width, validate_args=False)
        return Independent(flat, 1, validate_args=False)


class Boundless(Flat):
    """As flat, and everywhere: no density."""

    def forward(self) -> Distribution:
        flat = super().forward()
        flat.log_prob = lambda z: 0 * z.detach().sum(-1)  # type: ignore[method-assign]
        return flat


def test_a_flat_density_without_bounds_is_told_so() -> None:
    check_prior(Flat())
    with pytest.raises(AssertionError, match=r"^Boundless: the log-density has a gradient to z and to each learned "):
        check_prior(Boundless())
