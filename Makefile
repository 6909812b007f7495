# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
ARGS ?=
# The address of PyTorch's CPU wheel index (see README): keeps gigabytes of CUDA off a Linux machine without a GPU.
TORCH_INDEX ?=

# The root holds folders named `platform` and `datasets`: keep it off Python's path.
export PYTHONSAFEPATH := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# No telemetry: a run must not depend on the network, nor tell anybody about itself.
export MLFLOW_DISABLE_TELEMETRY := true
export DO_NOT_TRACK := 1
export STREAMLIT_BROWSER_GATHER_USAGE_STATS := false

.PHONY: help demo test test-slow lint format install engines lock clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: .venv/.ready  ## the whole loop, then the Studio (ARGS=--no-studio to end when done)
	$(BIN)/bottega demo $(ARGS)

test: .venv/.ready lint  ## lint, types, contracts and the fast tests (under 15 minutes on two cores)
	$(BIN)/pytest -m "not slow" $(ARGS)

test-slow: .venv/.ready .venv/.engines  ## browser, whole-loop, real-data and lesson tests
	$(BIN)/pytest -m slow $(ARGS)

lint: .venv/.ready  ## ruff, mypy, import contracts, dependency check
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pip check

format: .venv/.ready  ## format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

install: .venv/.ready  ## create .venv from requirements.lock

engines: .venv/.engines  ## add Spark (needs Java 17) and the engines that the benchmarks compare with

.venv/.engines: requirements-engines.lock .venv/.ready
	$(BIN)/pip install -r requirements-engines.lock
	@touch $@

.venv/.ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Bottega needs Python 3.11 to 3.13, this is {v.major}.{v.minor}: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv
	@if [ -n "$(TORCH_INDEX)" ]; then $(BIN)/pip install --index-url "$(TORCH_INDEX)" "$$(grep '^torch==' requirements.lock)"; fi
	$(BIN)/pip install -r requirements.lock
	$(BIN)/pip install --no-deps -e .
	$(BIN)/python -c 'from bottega.features.kernel import load; load()'  # compiled once, so that no request waits for it
	@touch $@

lock:  ## resolve requirements.in into requirements.lock, in an environment of its own
	rm -rf .venv-lock && $(PYTHON) -m venv .venv-lock
	.venv-lock/bin/pip install -r requirements.in
	.venv-lock/bin/pip freeze | sed -E -e 's/\+cpu$$//' -e '/^(pip|setuptools|wheel)==/d' \
		-e 's/^xgboost-cpu==(.*)$$/xgboost-cpu==\1; sys_platform == "linux"\nxgboost==\1; sys_platform != "linux"/' \
		-e 's/^(uvloop==.*)$$/\1; sys_platform != "win32"/' -e 's/^(ziglang==.*)$$/\1; sys_platform == "linux"/' > requirements.lock
	rm -rf .venv-lock

clean:  ## remove the environment and caches; workspaces stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
