# make demo   installs, then shows the whole method on a small world
# make test   installs the tests' needs too, then lints and tests; PARITY=1 adds torch
#
# Needs Python >= 3.11, make and, for `make test`, a C compiler; without Java >= 11 the tests
# of ScienceWorld and TextWorldExpress are skipped.
#   PYTHON=python3.12   another interpreter
#   VENV=.venv          another place for the virtual environment
#   PYTEST_ARGS=-x      more arguments for pytest

.SHELLFLAGS := -eu -c
.DELETE_ON_ERROR:
.PHONY: help demo test slow lint types check-python check-compiler clean

# The first interpreter that is new enough; else the name to complain about.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.12 python3.11 python3.13 python; do \
  if $$p -c '$(NEW_ENOUGH)' 2>/dev/null; then echo $$p; exit; fi; done; echo python3)
VENV ?= .venv
PARITY ?= 0
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

BIN := $(VENV)/bin
# Python compiles what is imported; to compile all of it takes longer than to install it.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile
# Two makes at once would write into one environment.
LOCK := $(if $(shell command -v flock),flock $(VENV).lock,)
PARITY_STAMP := $(if $(filter 1,$(PARITY)),$(VENV)/.parity,)

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

demo: $(VENV)/.base
	JAX_PLATFORMS=$${JAX_PLATFORMS-cpu} $(BIN)/python -m experiments.demo

test: lint $(VENV)/.bfcl
	JAX_PLATFORMS=cpu $(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

slow: $(VENV)/.test $(VENV)/.bfcl $(PARITY_STAMP)
	JAX_PLATFORMS=cpu XLA_FLAGS= $(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

lint: $(VENV)/.test $(PARITY_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/.test
	$(BIN)/pyright

# Set-up. Each step leaves a stamp, so a second call has nothing to do.

check-python:
	@$(PYTHON) -c '$(NEW_ENOUGH)' || { \
	  echo "skilljax needs Python >= 3.11, and '$(PYTHON)' is:" >&2; \
	  $(PYTHON) --version >&2 || true; \
	  echo "Install a newer one, or name it: make PYTHON=/path/to/python3.11" >&2; \
	  exit 1; }

check-compiler:
	@command -v cc >/dev/null || command -v gcc >/dev/null || command -v clang >/dev/null || { \
	  echo "make test needs a C compiler: the ALFWorld engine builds jericho from source." >&2; \
	  echo "Install one (Debian, Ubuntu: apt-get install build-essential)." >&2; \
	  exit 1; }

$(VENV)/.created: | check-python
	$(LOCK) $(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.base: setup.py pyproject.toml $(VENV)/.created
	$(LOCK) $(PIP) -e .
	touch $@

$(VENV)/.parity: $(VENV)/.created
	$(LOCK) $(PIP) torch==2.13.0
	touch $@

# It holds all that .base installs: one resolution in place of two.
$(VENV)/.test: setup.py pyproject.toml $(VENV)/.created | check-compiler $(PARITY_STAMP)
	$(LOCK) $(PIP) -e '.[dev,tpu,alfworld,webshop,scienceworld,textworld-express]'
	touch $(VENV)/.base $@

# Without its dependencies, which are gigabytes of model clients: extras cannot say that.
$(VENV)/.bfcl: $(VENV)/.test
	$(LOCK) $(PIP) --no-deps bfcl-eval==2026.3.23
	$(LOCK) $(PIP) mpmath
	touch $@

clean:
	rm -rf $(VENV) $(VENV).lock build dist *.egg-info .pytest_cache .ruff_cache \
	  .hypothesis .import_linter_cache
