"""Products of a linear layer by oneDNN are torch's own, to rounding."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from framework import linear_products
from framework.linear_products import fast_products

CPU = torch.device("cpu")


def test_a_network_gives_what_it_gave() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 300))
    x = torch.randn(512, 64)
    expected = network.double()(x.double())
    network.float()
    with torch.inference_mode(), fast_products(CPU):
        found = network(x)
    assert found.layout == torch.strided
    assert torch.allclose(found.double(), expected, rtol=0, atol=1e-5)  # float32, sums of 256 numbers of order 1


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch was built without oneDNN")
def test_only_large_products_without_gradients_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[int, ...]] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            if func is Tensor.to_mkldnn:
                taken.append(tuple(args[0].shape))
            return func(*args, **(kwargs or {}))

    monkeypatch.setattr(linear_products, "FEWEST", 60)
    weight, bias = torch.randn(3, 4), torch.randn(3)
    with Watch(), fast_products(CPU):
        F.linear(torch.ones(5, 4), weight, bias)  # a gradient might be wanted
        with torch.no_grad():
            F.linear(torch.ones(4, 4), weight, bias)  # small
            F.linear(torch.ones(5, 4), weight)
            F.linear(torch.ones(5, 4).double(), weight.double(), bias.double())
            F.linear(torch.ones(1, 5, 4), weight, bias)
            assert taken == []
            F.linear(torch.ones(5, 4), weight, bias)
    assert taken == [(5, 4)]
