# make demo: export the built-in checkpoint, verify it, talk with it.   make test: everything that is checked.
# Both set up what they need in $(VENV).

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PACKAGES := rrwkv_export runtimes/python/rrwkv_runtime tests benchmarks cli.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo test test-all check pytest runtime-alone bench clean

demo: $(VENV)/.installed
	@$(BIN)/rrwkv demo --output build/demo

test: check pytest runtime-alone

test-all: check runtime-alone
	$(BIN)/pytest -n 2 -m ""

check: $(VENV)/.installed-dev
	$(BIN)/ruff check $(PACKAGES)
	$(BIN)/ruff format --check $(PACKAGES)
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2

# The runtime in an environment that holds nothing else, running a bundle.
runtime-alone: $(VENV)/.installed-dev
	@$(BIN)/rrwkv demo --scripted --output build/demo > /dev/null
	@$(PYTHON) -m venv --clear build/alone
	@build/alone/bin/pip install --quiet --constraint constraints.txt './runtimes/python[cpu]'
	cd build && alone/bin/python ../tests/runtime_alone.py demo

bench: $(VENV)/.installed-dev
	@$(BIN)/python -m benchmarks.speed

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python requirements.txt constraints.txt pyproject.toml runtimes/python/pyproject.toml
	@echo "installing into $(VENV) (a minute or two the first time)"
	@test -f $(VENV)/.installed-dev || $(BIN)/pip install --quiet --requirement requirements.txt
	@touch $@

# Editable: tests see the sources.
$(VENV)/.installed-dev: $(VENV)/bin/python requirements-dev.txt constraints.txt pyproject.toml runtimes/python/pyproject.toml
	@echo "installing into $(VENV) (a minute or two the first time)"
	@$(BIN)/pip install --quiet --requirement requirements-dev.txt
	@touch $@ $(VENV)/.installed

clean:
	rm -rf build $(VENV)
