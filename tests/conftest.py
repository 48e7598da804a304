"""What holds for all tests: nothing reaches the internet, and no run is mirrored unless a test asks for it."""

from __future__ import annotations

import warnings
from contextlib import suppress

import pytest
import torch

from framework import registry
from framework.discovery import load_plugins

# Small tensors on several threads spend their time waiting for each other, and for whatever else runs on the machine.
torch.set_num_threads(1)

# swig's modules warn while they are imported, and take the interpreter with them where warnings are errors.
with warnings.catch_warnings(action="ignore"), suppress(ImportError):
    import Box2D  # noqa: F401


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from framework_plugins.data import cifar10_files, fashion_mnist, mnist_files

    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(mnist_files, "MIRRORS", ())
    monkeypatch.setattr(mnist_files, "LAROCHELLE_MIRRORS", ())
    monkeypatch.setattr(fashion_mnist, "MIRRORS", ())
    monkeypatch.setattr(cifar10_files, "MIRRORS", ())


@pytest.fixture
def own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it, and so is every registry that it makes."""
    # First what comes with the framework: it is registered once a process, when it is imported.
    load_plugins()
    for known in registry.registries().values():
        monkeypatch.setattr(known, "_entries", dict(known._entries))
    monkeypatch.setattr(registry, "_registries", registry.registries())
