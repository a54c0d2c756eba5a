# `make` alone lists the targets. .venv is made, and kept up to date, by .ci/setup.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
BIN := .venv/bin
STAMP := .venv/.installed
LOCK := requirements-dev.lock
PROJECTS := pyproject.toml agent/pyproject.toml seccomp/pyproject.toml
CHECKED := mirrord agent/mirrord_agent seccomp/mirrord_seccomp tests $(wildcard bench)
PYTEST_ARGS ?= -n 2

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-cluster lint types bench soak clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1\t\2/p' Makefile | expand -t 20

setup: $(STAMP) ## make .venv, with the command at .venv/bin/mirrord

$(STAMP): $(LOCK) $(PROJECTS) .ci/setup
	@.ci/setup
	@touch $@

demo: setup ## show one program bare and under mirrord
	@examples/identity/demo

test: lint types ## lint, types and all tests
	@$(BIN)/python -m pytest -q $(PYTEST_ARGS)

test-cluster: setup ## the tests in a real Kubernetes
	@$(BIN)/python -m pytest -q tests/cluster $(PYTEST_ARGS)

lint: setup ## style, formatting, and which layer may import which
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --check --quiet .
	@report=$$($(BIN)/lint-imports --no-cache 2>&1) || { echo "$$report"; exit 1; }

types: setup ## mypy --strict
	@$(BIN)/mypy --strict $(CHECKED)

bench: setup ## measure, and print a table
	@$(BIN)/python -m bench

soak: setup ## stress tests in full, everything with both engines; write docs/soak.md
	@$(BIN)/python tests/support/soak_report.py

clean: ## remove .venv, caches and what was built
	@rm -rf .venv .build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
