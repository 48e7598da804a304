"""The aggregate posterior q(z) = 1/N Σ_n q(z|x_n), fitted by a mixture of Gaussians, to draw latents from.

Where q(z) is not the prior, samples of the prior lie where the decoder was never trained; samples of q(z) do not. It is
a prior that is fitted afterwards, and says nothing of how well the model's own prior does.

Legend: N codes, S samples, D latent.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from framework.errors import OptionError
from framework.randomness import key

_SEEDS = 2**32  # numpy's, from 0


@dataclass(frozen=True)
class AggregatePosterior:
    """A mixture of Gaussians with full covariances, fitted to codes by expectation–maximisation.

    Args:
        mixture: the fit.
        seed: of the samples.
    """

    mixture: GaussianMixture
    seed: int

    @classmethod
    def fit(cls, codes: NDArray[np.float64], *, components: int, seed: int) -> AggregatePosterior:
        """Return the fit to codes [N, D] drawn from q(z|x), one an example; the same for the same seed.

        Args:
            codes: [N, D].
            components: Gaussians in the mixture, 1 to N.
            seed: of the start, by k-means, and of the samples.

        Raises:
            OptionError: there are no components, or more than codes; or codes that are not finite.

        Reference: Ghosh et al., "From Variational to Deterministic Autoencoders", 2020, section 4,
            https://arxiv.org/abs/1903.12436 (ex-post density estimation).
        """
        if not 1 <= components <= len(codes):
            raise OptionError("components", found=components, expected=f"1 to {len(codes):,}, the number of codes")
        if not np.isfinite(codes).all():
            raise OptionError("codes", found="some that are not finite", expected="codes of a learner that has learned")
        start = key(seed, "aggregate posterior/fit", 0) % _SEEDS
        mixture = GaussianMixture(components, covariance_type="full", random_state=start)
        with warnings.catch_warnings():
            # A fit that has not converged, or that has found fewer clusters of codes, draws samples all the same.
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(codes)
        return cls(mixture, seed)

    @property
    def has_converged(self) -> bool:
        return bool(self.mixture.converged_)

    def sample(self, count: int) -> NDArray[np.float64]:
        """Return `count` samples, at least 1, [S, D], in random order; the same at each call."""
        generator = np.random.default_rng(key(self.seed, "aggregate posterior/order", 0))
        self.mixture.random_state = key(self.seed, "aggregate posterior/sample", 0) % _SEEDS
        samples: NDArray[np.float64] = self.mixture.sample(count)[0]  # one component after the other
        return generator.permutation(samples)
