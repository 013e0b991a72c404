# Two commands matter: `make demo` and `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
PIP_ARGS ?=
PYTEST_ARGS ?=
# A worker a core, a test file after the other. What a file's tests share (captured networks, a Ray cluster) is made once.
WORKERS ?= -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# Runs again only when the inputs changed. The stamp comes last: an interrupted install is repeated.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "relprop needs Python 3.11 or newer; pass one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "Creating $(VENV) failed. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Installing relprop and its tools into $(VENV) (once; torch is large, so this takes minutes) ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: setup
setup: $(STAMP) ## create .venv and install everything that demo and test need

.PHONY: demo
demo: setup ## explain a photograph and a drawn scene by several methods; writes a contact sheet for each
	@$(BIN)/python examples/demo.py

.PHONY: lint
lint: setup ## ruff (rules and format), mypy, and that imports go one way
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

.PHONY: format
format: setup ## let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: docs
docs: setup ## build the documentation into site/ (strict: a warning fails)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

.PHONY: test
test: lint docs ## set-up, lint, types, strict docs build, the whole test suite with doctests
	$(BIN)/python -m pytest $(WORKERS) $(PYTEST_ARGS)

.PHONY: nightly
nightly: setup ## the long checks too
	$(BIN)/python -m pytest --nightly $(WORKERS) $(PYTEST_ARGS)

.PHONY: dist
dist: setup ## build wheel and sdist twice, refuse what differs, leave them in dist/ with their hashes
	@$(BIN)/python scripts/dist.py

.PHONY: clean
clean: ## remove what was built, but not .venv
	rm -rf build dist site out .pytest_cache .mypy_cache .ruff_cache .hypothesis
