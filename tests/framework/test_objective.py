"""The objective: which terms it adds up, with which weights, capacities and labels.

The divergences here return numbers that the test chooses, so that sums are exact.
"""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from framework import (
    AdversarialDivergence,
    CompositeDivergence,
    Counters,
    Divergence,
    IncompatibleParts,
    Keys,
    Objective,
    Schedule,
    Term,
    randomness,
)
from framework.distributions import DiagonalGaussian, StandardNormal
from framework_plugins.divergences.beta import Beta
from framework_plugins.divergences.infovae import InfoVAE
from framework_plugins.divergences.kl import KL
from framework_plugins.divergences.mmd import MMD
from framework_plugins.divergences.mutual_information import MutualInformation
from framework_plugins.optimizers.adam import adam
from framework_plugins.schedules.ramp import Linear


class OfEach(Divergence):
    """The latents' first coordinate: one number an example, which is what z says."""

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        return z[:, 0]


class OfAll(Divergence):
    """The sum of the latents' first coordinates; it draws."""

    aggregate = True
    rewardable = True

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        self.drawn = torch.rand(())
        return z[:, 0].sum()


class Both(CompositeDivergence):
    """A composite of any terms."""

    def __init__(self, **terms: Term) -> None:
        super().__init__()
        self._terms = terms

    def terms(self) -> dict[str, Term]:
        return self._terms


class Dip(Schedule):
    """1, but −1 half-way."""

    steps = 100
    final = 1.0

    def value(self, counters: Counters) -> float:
        return -1.0 if 40 <= counters.optimizer_steps <= 60 else 1.0


KEYS = Keys(0, "test", 0)


def evaluate(
    objective: Objective,
    numbers: list[float],
    counters: Counters | None = None,
    keys: Keys = KEYS,
) -> tuple[float, dict[str, float]]:
    z = torch.tensor(numbers)[:, None]  # [B, 1]
    q, p = DiagonalGaussian(z, torch.zeros_like(z)), StandardNormal(1, z)
    total, parts = objective(q, p, z, counters=counters, keys=keys)
    assert total.shape == ()
    return total.item(), {label: value.item() for label, value in parts.items()}


def test_no_terms_are_zero() -> None:
    assert evaluate(Objective({}), [1.0, 2.0]) == (0.0, {})
    assert Objective({}).formula("f") == "f"
    assert Objective({}).implied_coefficients() == {}


def test_the_sum_has_the_weights_and_the_parts_have_none() -> None:
    objective = Objective({"one": Term(OfEach(), 2.0), "other": Term(OfAll(), -3.0)})
    total, parts = evaluate(objective, [1.0, 2.0, 6.0])
    assert parts == {"one": 3.0, "other": 9.0}  # the mean over the batch; what the aggregate returned
    assert total == 2 * 3 - 3 * 9


def test_parts_are_detached_and_the_total_is_not() -> None:
    z = torch.ones(2, 1, requires_grad=True)
    objective = Objective({"one": Term(OfEach(), 4.0)})
    total, parts = objective(DiagonalGaussian(z, z), StandardNormal(1, z), z, counters=None, keys=KEYS)
    assert not parts["one"].requires_grad
    assert torch.equal(torch.autograd.grad(total, z)[0], torch.full((2, 1), 2.0))  # 4/B


def test_composites_are_flattened_with_their_labels() -> None:
    objective = Objective({"infovae": Term(InfoVAE(alpha=0.25, lambda_=10.0, of=MMD(latent_dim=1))), "kl": Term(KL())})
    assert [leaf.label for leaf in objective.leaves] == ["infovae/kl", "infovae/mmd", "kl"]
    assert [leaf.weight for leaf in objective.leaves] == [0.75, 9.25, 1.0]


def test_nested_composites_multiply_their_weights() -> None:
    inner = Both(a=Term(OfEach(), 3.0), b=Term(OfAll(), Linear(start=0.0, end=1.0, steps=10), 2.0))
    objective = Objective({"x": Term(Both(y=Term(inner, 5.0)), Linear(start=1.0, end=7.0, steps=2))})
    assert [leaf.label for leaf in objective.leaves] == ["x/y/a", "x/y/b"]
    numbers = [1.0, 3.0]  # mean 2, sum 4; b has the capacity 2
    for step, outer, ramp in [(0, 1.0, 0.0), (1, 4.0, 0.1), (2, 7.0, 0.2), (50, 7.0, 1.0)]:
        total, parts = evaluate(objective, numbers, Counters(optimizer_steps=step))
        assert parts == {"x/y/a": 2.0, "x/y/b": 4.0}
        assert total == pytest.approx(outer * 5 * (3 * 2 + ramp * abs(4 - 2)), rel=1e-6)  # float32
    assert evaluate(objective, numbers, None)[0] == 7 * 5 * (3 * 2 + 1 * 2)


def test_a_capacity_is_of_the_batchs_mean_and_not_of_each_example() -> None:
    objective = Objective({"one": Term(OfEach(), 10.0, 2.0)})
    # |mean − C| = |2 − 2| = 0, whereas the mean of |value − C| would be 2
    assert evaluate(objective, [0.0, 4.0]) == (0.0, {"one": 2.0})
    assert evaluate(objective, [0.0, 1.0])[0] == 15.0
    assert evaluate(objective, [4.0, 5.0])[0] == 25.0


def test_a_capacity_may_rise() -> None:
    objective = Objective({"beta": Term(Beta(beta=2.0, of=OfEach(), capacity=Linear(start=0.0, end=4.0, steps=4)))})
    found = [evaluate(objective, [3.0, 3.0], Counters(optimizer_steps=step))[0] for step in (0, 1, 3, 4, 9)]
    assert found == [6.0, 4.0, 0.0, 2.0, 2.0]
    assert evaluate(objective, [3.0, 3.0], None)[0] == 2.0


def test_weights_are_those_of_the_counters_and_final_without() -> None:
    objective = Objective({"one": Term(OfEach(), Linear(start=0.0, end=1.0, steps=10))})
    assert [evaluate(objective, [8.0], Counters(optimizer_steps=step))[0] for step in (0, 5, 10, 20)] == [0, 4, 8, 8]
    assert evaluate(objective, [8.0], None)[0] == 8.0


def test_keys_are_asked_once_for_each_aggregate_part_with_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    sites: list[str] = []
    first, second = OfAll(), OfAll()
    terms = {"a": Term(first), "b": Term(OfEach()), "c": Term(Both(d=Term(second), e=Term(OfEach())))}

    def rekey(seed: int, stream: str, counter: int) -> None:
        sites.append(stream)
        torch.manual_seed(7)

    monkeypatch.setattr(randomness, "rekey", rekey)
    state = torch.get_rng_state()
    evaluate(Objective(terms), [1.0])
    torch.set_rng_state(state)
    assert sites == ["test/divergence/a", "test/divergence/c/d"]
    assert torch.equal(first.drawn, second.drawn)  # each is keyed before it draws


@pytest.mark.parametrize("shape", [(2, 3), (2, 1), ()], ids=str)
def test_a_value_that_is_not_one_an_example_is_refused(shape: tuple[int, ...]) -> None:
    class Unsummed(Divergence):
        def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
            return torch.zeros(shape)

    message = (
        f"divergence 'mine' (Unsummed): expected a value of shape [2], one an example, found {list(shape)}; "
        "sum over the latent dimensions"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        evaluate(Objective({"mine": Term(Unsummed())}), [1.0, 2.0])


def test_an_aggregate_value_that_is_no_scalar_is_refused() -> None:
    class Unsummed(OfAll):
        def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
            return z[:, 0]

    message = r"expected a value of shape \[\], because it is aggregate, found \[2\]"
    with pytest.raises(ValueError, match=message):
        evaluate(Objective({"mine": Term(Unsummed())}), [1.0, 2.0])


@pytest.mark.parametrize("weight", [-0.5, Linear(start=1.0, end=-0.5, steps=7), Linear(start=-0.5, end=1.0, steps=3)])
def test_a_negative_weight_is_refused(weight: float | Schedule) -> None:
    message = (
        "kl.weight: expected 0 or more: kl may not be rewarded, a negative weight would drive q away from p, "
        "found a weight of -0.5 on 'kl'"
    )
    with pytest.raises(IncompatibleParts, match=f"^{re.escape(message)}$"):
        Objective({"kl": Term(KL(), weight)})


def test_a_weight_that_dips_below_zero_is_refused() -> None:
    with pytest.raises(IncompatibleParts, match="found a weight of -1 on 'kl'"):
        Objective({"kl": Term(KL(), Dip())})


def test_a_negative_weight_inside_a_composite_names_the_composites_option() -> None:
    message = "^beta: expected 0 or more: kl may not be rewarded, .*, found a weight of -4 on 'beta/kl'$"
    with pytest.raises(IncompatibleParts, match=message):
        Objective({"beta": Term(Beta(beta=-4.0, of=KL()))})


def test_all_negative_weights_are_reported_together() -> None:
    with pytest.raises(IncompatibleParts) as caught:
        Objective({"kl": Term(KL(), -1.0), "mmd": Term(MMD(latent_dim=1), -2.0), "each": Term(OfEach(), 1.0)})
    assert [misfit.option for misfit in caught.value.misfits] == ["kl.weight", "mmd.weight"]


def test_two_negative_weights_of_nested_composites_make_a_positive_one() -> None:
    assert evaluate(Objective({"x": Term(Both(y=Term(OfEach(), -2.0)), -3.0)}), [1.0])[0] == 6.0


def test_what_is_rewardable_may_have_a_negative_weight() -> None:
    assert evaluate(Objective({"all": Term(OfAll(), -1.0)}), [2.0])[0] == -2.0
    assert Objective({"mi": Term(MutualInformation(), -1.0)}).formula("f") == "f − 1 · mi"


def test_a_capacity_on_a_composite_is_refused() -> None:
    message = "^x: expected one divergence under a capacity, found a capacity on a sum of divergences$"
    with pytest.raises(IncompatibleParts, match=message):
        Objective({"x": Term(Both(y=Term(OfEach())), 1.0, 2.0)})


def test_two_terms_of_one_label_are_refused() -> None:
    message = "^x/y: expected a label of its own for each, found two terms that are both called 'x/y'$"
    with pytest.raises(IncompatibleParts, match=message):
        Objective({"x": Term(Both(y=Term(OfEach()))), "x/y": Term(OfEach())})


def test_labels_may_be_any_words() -> None:
    labels = ["keys", "type", "a.b", "half", "training"]
    assert list(evaluate(Objective({label: Term(OfEach()) for label in labels}), [1.0])[1]) == labels


def test_the_divergences_are_modules_of_the_objective() -> None:
    mmd = MMD(latent_dim=1)
    objective = Objective({"infovae": Term(InfoVAE(alpha=0.0, lambda_=2.0, of=mmd))})
    assert mmd in list(objective.modules())


def test_formula() -> None:
    terms = {
        "kl": Term(KL(), Linear(start=0.0, end=1.5, steps=3)),
        "mutual_information": Term(MutualInformation(), -1.0),
        "beta": Term(Beta(beta=1000.0, of=KL(), capacity=Linear(start=0.0, end=25.0, steps=9))),
        "mmd": Term(MMD(latent_dim=1), 0.1),
    }
    assert Objective(terms).formula("f") == "f + 1.5 · kl − 1 · mutual_information + 1000 · |beta/kl − 25| + 0.1 · mmd"


def test_the_kl_is_mutual_information_plus_the_aggregate_kl() -> None:
    assert Objective({"kl": Term(KL(), 4.0)}).implied_coefficients() == {"I(x;z)": 4.0, "KL(q(z)‖p)": 4.0}


def test_a_rewarded_mutual_information_cancels_that_of_the_kl() -> None:
    terms = {"kl": Term(KL()), "mutual_information": Term(MutualInformation(), -1.0)}
    assert Objective(terms).implied_coefficients() == {"I(x;z)": 0.0, "KL(q(z)‖p)": 1.0}


def test_implied_coefficients_of_infovae_are_its_papers() -> None:
    """Zhao, Song & Ermon, equation 6: 1 − α on I(x;z) and on KL(q(z)‖p), α + λ − 1 on D: λ in all if D were the KL."""
    infovae = InfoVAE(alpha=0.3, lambda_=5.0, of=MMD(latent_dim=1))
    coefficients = Objective({"infovae": Term(infovae, Linear(start=0.0, end=2.0, steps=5))}).implied_coefficients()
    assert coefficients == pytest.approx({"I(x;z)": 1.4, "KL(q(z)‖p)": 1.4, "mmd": 8.6})
    assert (coefficients["KL(q(z)‖p)"] + coefficients["mmd"]) / 2 == pytest.approx(5.0)


def test_a_term_with_a_capacity_implies_no_coefficient() -> None:
    assert Objective({"beta": Term(Beta(beta=4.0, of=KL(), capacity=1.0))}).implied_coefficients() == {}


class Judged(AdversarialDivergence):
    """What a linear critic makes of the latents."""

    def __init__(self) -> None:
        super().__init__(critic=nn.Linear(2, 1), optimizer=partial(adam, lr=0.1))

    def forward(self, q: Distribution, p: Distribution, z: Tensor) -> Tensor:
        value: Tensor = self.critic(z).mean()
        return value

    def critic_loss(self, q: Distribution, p: Distribution, z: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        return self.critic(z).square().mean(), {}


def test_a_critics_loss_does_not_reach_the_latents_nor_the_model_the_critic() -> None:
    critic = Judged()
    objective = Objective({"judged": Term(critic)})
    z = torch.ones(3, 2, requires_grad=True)
    q, p, keys = DiagonalGaussian(z, torch.zeros(3, 2)), StandardNormal(2, z), Keys(0, "train", 0)
    ((_, loss, _),) = objective.critic_losses(q, p, z, keys)
    assert torch.autograd.grad(loss, [z], allow_unused=True, retain_graph=True) == (None,)
    assert all(gradient.any() for gradient in torch.autograd.grad(loss, list(critic.parameters())))
    total, _ = objective(q, p, z, counters=None, keys=keys)
    assert torch.autograd.grad(total, list(critic.parameters()), allow_unused=True, retain_graph=True) == (None, None)
    assert torch.autograd.grad(total, z)[0].any()
    assert all(parameter.requires_grad for parameter in critic.parameters())
