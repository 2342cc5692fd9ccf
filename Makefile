# One command for each job, the same at home and in CI. Everything it needs it installs into .venv.
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# The Python to make the environment with: the first here that is 3.11 or newer.
CANDIDATES := python3 python3.13 python3.12 python3.11 python
PYTHON ?= $(shell for python in $(CANDIDATES); do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	&& command -v $$python && break; done)

.PHONY: run test check soak bench format setup clean help

run: $(STAMP)  ## a running node with the shipped plugins, on http://127.0.0.1:8000
	$(BIN)/nexus run

# Tests mostly wait (for servers to start, for deadlines), so two runs beside each other take little
# longer than one. The long ones come first; `rest` is whatever the others do not name.
PORTIONS := rest docs-guide faults database-node system-cli
NAMED := $(addprefix tests/,$(subst -, ,$(filter-out rest,$(PORTIONS))))
JOBS ?= 2
SYNC := $(if $(filter output-sync,$(.FEATURES)),--output-sync)

test: $(STAMP)  ## every test, or those of TESTS
ifdef TESTS
	$(BIN)/python -m pytest $(TESTS)
else
	@echo "Testing $(PORTIONS), $(JOBS) of these at a time; each is shown when it is over."
	@$(MAKE) --no-print-directory --keep-going --jobs=$(JOBS) $(SYNC) $(PORTIONS:%=test-%)
endif

test-rest: $(STAMP)
	@$(BIN)/python -m pytest $(NAMED:%=--ignore=%)

test-%: $(STAMP)
	@$(BIN)/python -m pytest $(addprefix tests/,$(subst -, ,$*))

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

QUESTIONS := http mailbox ask restart spawn events database scale

bench: $(STAMP)  ## every benchmark, ours and its peers in turns; SCALE=0.1 for a quick look
	@status=0; for question in $(QUESTIONS); do \
		$(BIN)/python -m benchmarks.$$question --rounds $(or $(ROUNDS),3) --scale $(or $(SCALE),0.5) || status=1; \
	done; exit $$status

soak: $(STAMP)  ## faults a hundred times, random programs for NEXUS_SOAK_SECONDS (an hour)
	NEXUS_SOAK_ROUNDS=100 $(BIN)/python -m pytest tests/faults
	NEXUS_SOAK_SECONDS=$(NEXUS_SOAK_SECONDS) $(BIN)/python -m pytest -s $(RANDOM_TESTS)

format: $(STAMP)  ## write it as `make check` wants it
	$(BIN)/ruff check --fix --quiet .
	$(BIN)/ruff format .

setup: $(STAMP)  ## only the environment

# What is installed: with `check` also what `make check` runs.
EXTRAS ?= test,check

# The stamp is made last: an environment whose making was interrupted is made anew. The pip of the
# Python that is there saves the time to install one first; and what nobody imports is not compiled.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed, and none was found; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) will not do: Python 3.11 or newer is needed" >&2; exit 1; }
	@echo "Setting up $(VENV) with $(PYTHON); the first time takes a minute or two ..."
	@set -e; flags="--quiet --disable-pip-version-check"; \
	if $(PYTHON) -m pip --python $(PYTHON) --version >/dev/null 2>&1; then \
		pip="$(PYTHON) -m pip --python $(BIN)/python"; new="--without-pip"; \
	else \
		pip="$(BIN)/python -m pip"; new=""; \
	fi; \
	if [ -e $@ ]; then rm $@; else $(PYTHON) -m venv --clear $$new $(VENV); fi; \
	$$pip install $$flags --no-compile pip --editable '.[$(EXTRAS)]'
	@touch $@

clean:  ## take away all that was made here, but not .nexus, which holds data
	rm -rf .venv .venv313 build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1\t/p' Makefile
