"""Running normalisation: observations by their mean and deviation so far, rewards by that of the discounted return."""

from __future__ import annotations

import torch
from torch import Tensor, nn

_SMALLEST = 1e-8  # added to a variance: what never varied is divided by 10⁻⁴


class RunningMoments(nn.Module):
    """The mean and the variance of all values so far, in float64, without keeping them.

    Two sets with counts n, m, means a, b and sums of squared deviations A, B have together the mean
    a + (b − a) m / (n + m) and the sum A + B + (b − a)² n m / (n + m). It is exact: what was seen early counts as much
    as what was seen late.

    Args:
        shape: of one value.

    Attributes:
        count: [] float64, values so far.
        mean: [*shape] float64; 0 before the first.
        deviations: [*shape] float64, the sum of squared deviations from the mean.

    Reference: Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979,
    equation 2.1, http://i.stanford.edu/pub/cstr/reports/cs/tr/79/773/CS-TR-79-773.pdf.
    """

    count: Tensor
    mean: Tensor
    deviations: Tensor

    def __init__(self, *, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(shape, dtype=torch.float64))
        self.register_buffer("deviations", torch.zeros(shape, dtype=torch.float64))

    @torch.no_grad()
    def update(self, values: Tensor, mask: Tensor | None = None) -> None:
        """Take in more values.

        Args:
            values: [*batch, *shape].
            mask: [*batch] bool, False where a value does not count; None counts all.
        """
        values = values.double().reshape(-1, *self.shape)  # [B, *shape]
        if mask is not None:
            values = values[mask.reshape(-1)]
        if len(values) == 0:
            return
        mean = values.mean(dim=0)
        difference, total = mean - self.mean, self.count + len(values)
        self.deviations += (values - mean).square().sum(dim=0)
        self.deviations += difference.square() * (self.count * len(values) / total)
        self.mean += difference * (len(values) / total)
        self.count.copy_(total)

    def forward(self) -> Tensor:
        """Return the standard deviation [*shape] float64, that of the values and no estimate; 1 before the first."""
        variance = self.deviations / self.count.clamp(min=1)
        return torch.where(self.count > 0, variance + _SMALLEST, torch.ones_like(variance)).sqrt()


class RunningNormalizer(nn.Module):
    """Brings values to mean 0 and standard deviation 1, by all that were taken in so far, and clips what is far out.

    Args:
        shape: of one value.
        clip: the largest absolute value that it returns, above 0.

    Reference: Engstrom et al., "Implementation matters in deep policy gradients", 2020, §3,
    https://arxiv.org/abs/2005.12729.
    """

    def __init__(self, *, shape: tuple[int, ...], clip: float = 10.0) -> None:
        super().__init__()
        self.clip = clip
        self.moments = RunningMoments(shape=shape)

    def update(self, values: Tensor, mask: Tensor | None = None) -> None:
        """Take in more values; arguments as of `RunningMoments.update`."""
        self.moments.update(values, mask)

    def forward(self, x: Tensor) -> Tensor:
        """Return (x − mean) / deviation, clipped, [*batch, *shape] float32; before the first update, x clipped."""
        deviation: Tensor = self.moments()
        return ((x.double() - self.moments.mean) / deviation).clamp(-self.clip, self.clip).float()


class ReturnScaler(nn.Module):
    """Divides rewards by the running standard deviation of the discounted return R_t = γ R_{t−1} + r_t.

    R looks back, not ahead: it is what the rewards so far amount to, known at each step. Rewards keep their sign, for
    nothing is subtracted: a constant would change which policy is best.

    Args:
        count: N, environments.
        discount: γ, in [0, 1].
        clip: the largest absolute value that it returns, above 0.

    Attributes:
        returns: [N] float64, R of the episodes that are going on.

    Reference: Engstrom et al., "Implementation matters in deep policy gradients", 2020, §3,
    https://arxiv.org/abs/2005.12729.
    """

    returns: Tensor

    def __init__(self, *, count: int, discount: float, clip: float = 10.0) -> None:
        super().__init__()
        self.discount, self.clip = discount, clip
        self.moments = RunningMoments()
        self.register_buffer("returns", torch.zeros(count, dtype=torch.float64))

    @torch.no_grad()
    def update(self, reward: Tensor, ended: Tensor, mask: Tensor) -> None:
        """Take in a rollout.

        Args:
            reward: [T, N].
            ended: [T, N] bool, where an episode was terminated or truncated: R begins again at 0.
            mask: [T, N] bool, the steps that count.
        """
        found = torch.empty(reward.shape, dtype=torch.float64, device=reward.device)  # [T, N]
        for t in range(len(reward)):
            going_on = self.returns * self.discount + reward[t].double()
            self.returns.copy_(torch.where(mask[t], going_on, self.returns))
            found[t] = self.returns
            self.returns.masked_fill_(ended[t], 0.0)
        self.moments.update(found, mask)

    def begin_anew(self) -> None:
        """Forget the returns of the episodes that are going on: new ones begin."""
        self.returns.zero_()

    def forward(self, reward: Tensor) -> Tensor:
        """Return rewards divided by the deviation, clipped, float32; before the first update, clipped alone."""
        deviation: Tensor = self.moments()
        return (reward.double() / deviation).clamp(-self.clip, self.clip).float()
