"""A variable of the environment for a while."""

from __future__ import annotations

import os

import pytest

from framework.environment_variable import environment_variable


@pytest.mark.parametrize("before", [None, "old"])
def test_it_is_as_it_was_afterwards(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FW_TEST", raising=False)
    if before is not None:
        monkeypatch.setenv("FW_TEST", before)
    with environment_variable("FW_TEST", "new"):
        assert os.environ["FW_TEST"] == "new"
    assert os.environ.get("FW_TEST") == before
    with pytest.raises(KeyError), environment_variable("FW_TEST", "new"):
        os.environ["THERE_IS_NO_SUCH_VARIABLE"]
    assert os.environ.get("FW_TEST") == before
