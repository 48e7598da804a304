"""The objective: a weighted sum of named divergences, its total and every part."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn
from torch.distributions import Distribution

from framework.adversarial import AdversarialDivergence
from framework.divergence import CompositeDivergence, Divergence, Term, divergences
from framework.errors import IncompatibleParts, OptionError
from framework.precision import full_precision
from framework.randomness import Keys
from framework.schedule import Counters, Schedule, final_value, lowest, scale, value_at


@dataclass(frozen=True)
class Leaf:
    """A term that is no composite: what the objective really adds up."""

    label: str
    divergence: Divergence
    weight: float | Schedule
    capacity: float | Schedule | None


class Objective(nn.Module):
    """Σ_k w_k · D_k(q, p), or w_k · |D_k − C_k| for a term with a capacity.

    Composites are rewritten into their terms once, here, with the labels `<composite>/<term>`. The objective alone owns
    means over the batch, weights, capacities and counters: a divergence returns what it measured.

    Args:
        terms: by label; no terms make an objective that is zero.

    Attributes:
        leaves: what is added up.
        critics: the leaves that have a critic, by label.

    Raises:
        IncompatibleParts: a weight is negative on a divergence that is not rewardable, a composite has a capacity, or
            two terms have one label.
    """

    def __init__(self, terms: Mapping[str, Term]) -> None:
        super().__init__()
        self.leaves = tuple(leaf for label, term in terms.items() for leaf in _flatten(label, term))
        self.critics = {
            leaf.label: leaf.divergence for leaf in self.leaves if isinstance(leaf.divergence, AdversarialDivergence)
        }
        counts = Counter(leaf.label for leaf in self.leaves)
        misfits = [_repeated(label) for label, count in counts.items() if count > 1]
        misfits += [_negative(leaf) for leaf in self.leaves if _is_forbidden(leaf)]
        if misfits:
            raise IncompatibleParts(misfits)
        # By label, so that a checkpoint's weights find their term when others come or go.
        self.divergences = nn.ModuleDict({_module_name(leaf.label): leaf.divergence for leaf in self.leaves})

    def forward(
        self,
        q: Distribution,
        p: Distribution,
        z: Tensor,
        *,
        counters: Counters | None,
        keys: Keys,
        whole: tuple[Distribution, Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum and every unweighted part.

        Args:
            q: the posterior that z was drawn from, batch shape [B].
            p: the prior.
            z: [B, D].
            counters: how far training has come; None asks for the final weights, by which models are judged.
            keys: re-keys the random numbers of a site, here of `divergence/<label>` before each part that may draw.
            whole: q and z of the whole batch, over all processes, for the parts that are aggregate; by default q and z.

        Returns:
            The total, []; and by label the parts' means over the batch, [], in the divergences' own units.

        Raises:
            ValueError: a divergence returned a value of another shape than it promises.
        """
        total = z.new_zeros(())
        parts: dict[str, Tensor] = {}
        for leaf in self.leaves:
            if leaf.divergence.aggregate:
                keys(f"divergence/{leaf.label}")
            with full_precision(z), _frozen(leaf.divergence):
                value = leaf.divergence(*_arguments(leaf, q, p, z, whole))
            if value.shape != (() if leaf.divergence.aggregate else q.batch_shape):
                raise ValueError(_misshapen(leaf, value, q))
            if not leaf.divergence.aggregate:
                value = value.mean()
                if leaf.capacity is not None:  # |D − C| is not linear in D: it takes the whole batch's mean
                    value = keys.share.mean(value)
            parts[leaf.label] = value.detach()
            if leaf.capacity is not None:
                value = (value - _at(leaf.capacity, counters)).abs()
            total = total + _at(leaf.weight, counters) * value
        return total, parts

    def critic_losses(
        self, q: Distribution, p: Distribution, z: Tensor, keys: Keys
    ) -> Iterator[tuple[str, Tensor, dict[str, Tensor]]]:
        """Yield each critic's label, its loss [], and what is to be logged of it, `<label>/critic_<name>`.

        Args:
            q: the posterior of the whole batch.
            p: the prior.
            z: [B, D] of the whole batch; detached here, so that a critic's loss moves its critic alone.
            keys: re-keys the random numbers of `critic/<label>`.
        """
        for label, divergence in self.critics.items():
            keys(f"critic/{label}")
            with full_precision(z):
                loss, metrics = divergence.critic_loss(q, p, z.detach())
            named = {"loss": loss.detach(), **metrics}
            yield label, loss, {f"{label}/critic_{name}": value for name, value in named.items()}

    def formula(self, first: str) -> str:
        """Return `first` plus the terms as a person would write it, at the final weights: "x + 1 · kl − 2 · mmd"."""
        return " + ".join([first, *(_written(leaf) for leaf in self.leaves)]).replace("+ -", "− ")

    def implied_coefficients(self) -> dict[str, float]:
        """Return the coefficients of the quantities that the terms are sums of, at the final weights.

        KL(q(z|x)‖p) in the mean over x is I(x;z) + KL(q(z)‖p), so that a weighted KL and a rewarded mutual information,
        say, have a coefficient on each of the two. Terms with a capacity are left out: they are no sum.
        """
        coefficients: Counter[str] = Counter()
        for leaf in self.leaves:
            if leaf.capacity is None:
                name = divergences.name_of(leaf.divergence)
                for quantity, share in (leaf.divergence.decomposition or {name: 1.0}).items():
                    coefficients[quantity] += share * final_value(leaf.weight)  # type: ignore[assignment]
        return dict(coefficients)


def _module_name(label: str) -> str:
    """Return a label as a name that torch takes: not one of its own, such as "keys", and without a dot."""
    return "term " + label.replace(".", "·")


def label_of(module_name: str) -> str:
    """Return the label of a term from the name of its module in `Objective.divergences`."""
    return module_name.removeprefix("term ")


def _arguments(
    leaf: Leaf, q: Distribution, p: Distribution, z: Tensor, whole: tuple[Distribution, Tensor] | None
) -> tuple[Distribution, Distribution, Tensor]:
    if whole is None or not leaf.divergence.aggregate:
        return q, p, z
    return whole[0], p, whole[1]


@contextmanager
def _frozen(divergence: Divergence) -> Iterator[None]:
    """Keep a critic out of the graph: the model's step neither moves it nor pays for its gradient."""
    if not isinstance(divergence, AdversarialDivergence):
        yield
        return
    learned = [parameter for parameter in divergence.critic.parameters() if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


def _flatten(label: str, term: Term) -> list[Leaf]:
    if isinstance(term.divergence, Divergence):
        return [Leaf(label, term.divergence, term.weight, term.capacity)]
    if term.capacity is not None:
        raise IncompatibleParts(
            [OptionError(label, found="a capacity on a sum of divergences", expected="one divergence under a capacity")]
        )
    composite: CompositeDivergence = term.divergence
    return [
        leaf
        for name, inner in composite.terms().items()
        for leaf in _flatten(
            f"{label}/{name}", Term(inner.divergence, scale(inner.weight, term.weight), inner.capacity)
        )
    ]


def _at(number: float | Schedule, counters: Counters | None) -> float:
    return final_value(number) if counters is None else value_at(number, counters)


def _is_forbidden(leaf: Leaf) -> bool:
    return not leaf.divergence.rewardable and lowest(leaf.weight) < 0


def _negative(leaf: Leaf) -> OptionError:
    name = divergences.name_of(leaf.divergence)
    # A term of a composite gets its weight from the composite's options: that is where the recipe is to be changed.
    option, *inside = leaf.label.split("/")
    return OptionError(
        option if inside else f"{option}.weight",
        found=f"a weight of {lowest(leaf.weight):g} on {leaf.label!r}",
        expected=f"0 or more: {name} may not be rewarded, a negative weight would drive q away from p",
    )


def _repeated(label: str) -> OptionError:
    return OptionError(label, found=f"two terms that are both called {label!r}", expected="a label of its own for each")


def _misshapen(leaf: Leaf, value: Tensor, q: Distribution) -> str:
    # The mean over a shape that is not the batch's would divide by latent dimensions too, without a word.
    expected = "[], because it is aggregate" if leaf.divergence.aggregate else f"{list(q.batch_shape)}, one an example"
    return (
        f"divergence {leaf.label!r} ({type(leaf.divergence).__name__}): expected a value of shape {expected}, "
        f"found {list(value.shape)}; sum over the latent dimensions"
    )


def _written(leaf: Leaf) -> str:
    weight = f"{final_value(leaf.weight):g}"
    return (
        f"{weight} · {leaf.label}"
        if leaf.capacity is None
        else (f"{weight} · |{leaf.label} − {final_value(leaf.capacity):g}|")
    )
