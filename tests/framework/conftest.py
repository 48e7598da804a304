import pytest

import framework.learners
from framework import registry
from framework.discovery import load_plugins


@pytest.fixture
def own_registries(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone after it, and so is every registry that it makes."""
    # First what comes with the framework: it is registered once a process, when it is imported.
    assert framework.learners.Latent
    load_plugins()
    for known in registry.registries().values():
        monkeypatch.setattr(known, "_entries", dict(known._entries))
    monkeypatch.setattr(registry, "_registries", registry.registries())
