# Python 3.11 or newer and make are all that must be there beforehand.
# PYTHON: candidates for the interpreter, best first; name one to choose it.
# VENV: where the virtual environment is, so that several Pythons can have their own.
# WORKERS: test processes.
PYTHON ?= python3.13 python3.12 python3.11 python3
VENV ?= .venv
WORKERS ?= 2

BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input -qq
VERSION := import sys; print("%d.%d" % sys.version_info[:2])

.DEFAULT_GOAL := help
.PHONY: help install demo test test-long compilations lint lock clean check-python

help:
	@echo "make demo     plan a MuJoCo cart-pole swing-up and write a report to runs/demo"
	@echo "make test     check style and types, then run the tests"
	@echo "make test-long  run the tests that take long by their nature"
	@echo "make compilations  agree on how many programs each test module compiles"
	@echo "make lint     check style and types only"
	@echo "make install  make $(VENV) from requirements.lock (the others do it when needed)"
	@echo "make lock     resolve requirements.lock again after a change of pyproject.toml"
	@echo "make clean    remove $(VENV), caches and build outputs; runs/ stays"

install: $(STAMP)

demo: $(STAMP)
	@$(BIN)/forethought plan mujoco-cartpole --planner cem --out runs/demo --overwrite

# Heavy files first (tests/compilations.py), so that both processes end together.
PYTEST = $(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

test: lint
	@$(PYTEST) -m "not long"

test-long: $(STAMP)
	@$(PYTEST) -m long

compilations: $(STAMP)
	@$(PYTEST) -m "not long" --write-compilations

lint: $(STAMP)
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/basedpyright --pythonpath $(BIN)/python

# Versions that are already in the lock stay where they can; UPGRADE=1 takes the newest.
lock:
	@[ -x $(BIN)/uv ] || $(MAKE) --no-print-directory install
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate \
	  $(if $(UPGRADE),--upgrade) pyproject.toml -o requirements.lock

clean:
	@rm -rf $(VENV) build dist .hypothesis .pytest_cache .ruff_cache
	@find src tests benchmarks examples -name __pycache__ -prune -exec rm -rf {} + \
	  2>/dev/null || true

# bin/pip is what venv writes last: an interrupted venv is made again.
$(BIN)/pip:
	@for python in $(PYTHON); do \
	  if "$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
	      >/dev/null 2>&1; then \
	    echo "Making $(VENV) with $$("$$python" --version) ..."; \
	    exec "$$python" -m venv $(VENV); \
	  fi; \
	done; \
	echo "No Python 3.11 or newer with its venv module; tried: $(PYTHON)." \
	  "Name one with PYTHON=..." >&2; \
	exit 1

# A Python that was asked for and is not the one in use is an error, never ignored.
check-python: | $(BIN)/pip
ifneq ($(origin PYTHON),file)
	@for python in $(PYTHON); do \
	  [ "$$("$$python" -c '$(VERSION)' 2>&1)" != "$$($(BIN)/python -c '$(VERSION)')" ] \
	    || exit 0; \
	done; \
	echo "$(VENV) has Python $$($(BIN)/python -c '$(VERSION)')," \
	  "but PYTHON=$(PYTHON) was asked for: make clean first, or choose another VENV." >&2; \
	exit 1
endif

$(STAMP): requirements.lock pyproject.toml | check-python
	@echo "Installing forethought and its tools into $(VENV) (about 1.4 GB, once) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@
