# Everything a developer runs. `make` alone tells what there is.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

VENV := .venv
PYTHON := $(VENV)/bin/python
STAMP := $(VENV)/.installed
BENCHMARKS := offline embedded memory restore restore,--kafka kafka distinct workers latency
CORE := model state frames intake correlate
CORE_TESTS := $(CORE) laws golden

.DEFAULT_GOAL := help
.PHONY: help setup demo test check coverage docs bench simulate kafka chaos chaos-embedded night clean

help: ## tell what there is
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

setup: $(STAMP) ## make .venv and install the project into it (done once)

$(STAMP): pyproject.toml constraints.txt scripts/create-venv
	@[ -x $(PYTHON) ] || sh scripts/create-venv $(VENV)
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: setup ## a storm of alerts on this machine, without Kafka
	@$(VENV)/bin/correlator demo

test: setup ## all tests, in random order
	@$(PYTHON) -m pytest

check: setup ## lint, format, types, import contracts
	@$(VENV)/bin/ruff check --quiet
	@$(VENV)/bin/ruff format --check --quiet
	@$(VENV)/bin/mypy --no-error-summary
	@PYTHONPATH=src $(VENV)/bin/lint-imports --no-logo

# The core's own tests alone, with few examples: they meet the same branches as many do, and `make test` runs all of them. Too much for
# `make test`, little enough for .ci/run and `make night`. Branches are judged by package; lines and `fail_under` would hide them.
coverage: setup ## branch coverage of the core by its own tests: at least 95 % of each package
	@HYPOTHESIS_PROFILE=brief $(PYTHON) -m pytest --quiet $(CORE_TESTS:%=tests/%) $(CORE:%=--cov=correlator.%) --cov-branch --cov-report=json:.coverage.json --cov-report=
	@$(PYTHON) -m tests.architecture.branches .coverage.json

docs: setup ## regenerate the documents that are written from code
	@$(PYTHON) -m correlator.cli.docs

bench: setup ## speed, memory and restore against their targets; runs all, then fails when one was missed
	@missed=; \
	for name in $(BENCHMARKS); do $(PYTHON) -m benchmarks.$${name//,/ } || missed="$$missed $$name"; done; \
	[ -z "$$missed" ] || { echo "missed:$$missed" >&2; exit 1; }

simulate: setup ## random workloads, splits and crashes on virtual time
	@$(PYTHON) -m tests.simulation

kafka: setup ## a Kafka broker on this machine, without Docker, until Ctrl-C
	@$(PYTHON) -m loadtest.broker

chaos: setup ## kill, freeze, join and leave workers on a real broker, and kill that too; nothing may be lost or doubled
	@$(PYTHON) -m loadtest.chaos

chaos-embedded: setup ## kill the embedded service again and again; nothing may be lost or doubled
	@$(PYTHON) -m loadtest.chaos_embedded

night: coverage ## branch coverage, the tests with the large hypothesis profile, 200 kills on Kafka, then the simulation (hours)
	@HYPOTHESIS_PROFILE=night $(PYTHON) -m pytest --timeout=3600
	@for seed in 1 2 3 4 5 6 7; do $(PYTHON) -m loadtest.chaos --seed $$seed || exit 1; done
	@$(PYTHON) -m tests.simulation

clean: ## remove .venv, caches, benchmark inputs and the jars of make kafka
	@rm -rf $(VENV) .bench .kafka .coverage .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist htmlcov
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
