# From a fresh clone: `make demo`, `make test`. Everything is installed into .venv, nothing anywhere else.

# The first of these that is new enough. Another one: make PYTHON=/path/to/python3 demo
PYTHON := $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; exit; }; done; echo python3)

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input
BASE := .venv/base.done
DEV := .venv/dev.done

.PHONY: help demo test lint bench clean
.DEFAULT_GOAL := help

help: ## Say what there is to make
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

demo: $(BASE) ## Three real nodes on this machine, from YAML to files in step; KEEP=1 leaves them running
	@$(BIN)/python examples/demo/demo.py $(if $(KEEP),--keep)

test: $(DEV) ## Run all tests
	$(BIN)/python -m pytest -n 2

lint: $(DEV) ## Style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(DEV) ## Measure, and write bench/RESULTS.md
	$(BIN)/python -m bench

clean: ## Remove .venv and all caches
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What the programs need, then the programs themselves, as links to this checkout. pip gets the build tools
# by the same pinned hashes as everything else, hence no isolated build.
$(BASE): requirements.txt requirements-build.txt pyproject.toml Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "syncgraph needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1 || true)."; \
		echo "Install one, or name one: make PYTHON=/path/to/python3.11 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) comes without its venv module. On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into .venv (only the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) --require-hashes -r requirements-build.txt -r requirements.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(DEV): $(BASE) requirements-dev.txt
	@echo "Installing what the tests need ..."
	@$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@
