"""The uniform prior."""

from __future__ import annotations

import pytest
import torch

from framework import OptionError
from framework_plugins.priors.uniform import Uniform


def test_it_is_uniform_between_its_bounds() -> None:
    p = Uniform(latent_dim=3, bound=0.5)()
    assert (p.batch_shape, p.event_shape) == ((), (3,))
    z = torch.tensor([[0.0, 0.4, -0.4], [0.0, 0.6, 0.0]])
    assert p.log_prob(z).tolist() == [0.0, -torch.inf]  # 1/(2a) = 1


def test_it_has_nothing_to_save() -> None:
    assert not Uniform(latent_dim=3).state_dict()


@pytest.mark.parametrize("bound", [0.0, -1.0])
def test_a_bound_that_is_not_positive_is_refused(bound: float) -> None:
    with pytest.raises(OptionError, match=rf"^bound: expected a number above 0, found {bound}$"):
        Uniform(latent_dim=3, bound=bound)
