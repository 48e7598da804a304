# Both commands do all the set-up first; a second call installs nothing.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
INSTALLED := .venv/.installed

.PHONY: run test

run: $(INSTALLED)
	.venv/bin/fw run recipes/infovae_mnist.yaml

test: $(INSTALLED)
	scripts/check
	.venv/bin/python -m pytest

# torch comes first and by itself: its version is pinned, and nothing that follows may replace it.
$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	PIP_CONSTRAINT=constraints.txt .venv/bin/python -m pip install --quiet torch
	PIP_CONSTRAINT=constraints.txt .venv/bin/python -m pip install --quiet --editable ".[test]"
	touch $@
