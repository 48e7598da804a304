"""What holds for all tests: nothing reaches the internet, and no run is mirrored unless a test asks for it."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    from framework_plugins.data import mnist_files

    monkeypatch.setenv("WANDB_MODE", "disabled")
    monkeypatch.setattr(mnist_files, "MIRRORS", ())
    monkeypatch.setattr(mnist_files, "LAROCHELLE_MIRRORS", ())
