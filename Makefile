# One command for each job, the same at home and in CI. Everything it needs it installs into .venv.
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# The Python to make the environment with: the first here that is 3.11 or newer.
CANDIDATES := python3 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for python in $(CANDIDATES); do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v $$python && break; done)

.PHONY: run test check soak format setup clean help

run: $(STAMP)  ## a running node with the shipped plugins, on http://127.0.0.1:8000
	$(BIN)/nexus run

test: $(STAMP)  ## every test
	$(BIN)/python -m pytest $(TESTS)

check: $(STAMP)  ## style, types, layers, the shipped plugins
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/nexus check plugins

# Of the random programs: 2,000 of each kind, always the same, and then fresh ones.
RANDOM_TESTS := tests/supervisors/test_random_trees.py tests/actors/test_random_actors.py \
	tests/node/test_random_plugins.py
NEXUS_SOAK_SECONDS ?= 3600

soak: $(STAMP)  ## faults a hundred times, random programs for NEXUS_SOAK_SECONDS (an hour)
	NEXUS_SOAK_ROUNDS=100 $(BIN)/python -m pytest tests/faults
	NEXUS_SOAK_SECONDS=$(NEXUS_SOAK_SECONDS) $(BIN)/python -m pytest -s $(RANDOM_TESTS)

format: $(STAMP)  ## write it as `make check` wants it
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

setup: $(STAMP)  ## only the environment

# The stamp is made last: an environment whose making was interrupted is made anew.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) will not do: Python 3.11 or newer is needed" >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON); the first time takes a minute or two ..."
	@if [ -e $@ ]; then rm $@; else $(PYTHON) -m venv --clear $(VENV); fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test,check]'
	@touch $@

clean:  ## take away all that was made here, but not .nexus, which holds data
	rm -rf .venv .venv313 build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' Makefile
