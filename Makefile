# Each target does its own set-up on a fresh clone; it needs Python 3.11 or newer, and never sudo.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= $(shell scripts/find_python)
BIN := .venv/bin
PACKAGES := packages/livepin packages/livepin-server
# Tests start Python by the hundred: each would compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup lint test demo serve bench torture wheel-test pythons readme-test wheels lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

.venv/.ready: requirements/dev.txt $(PACKAGES:=/pyproject.toml)
	@scripts/make_venv "$(PYTHON)"
	@touch $@

setup: .venv/.ready  ## a virtual environment in .venv with locked dependencies

lint: setup  ## ruff, mypy, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: setup  ## all tests and the coverage gates; ARGS=... runs a part without them
	@rm -rf .coverage
	$(BIN)/python -m pytest -n 4 --dist worksteal $(or $(ARGS),--cov --cov-report= --coverage-gates)

demo: setup  ## see every promise kept; ARGS=--exit ends at once
	$(BIN)/livepin demo $(ARGS)

serve: setup  ## run a server on ./livepin-data, made for trials if there is none
	@test -e livepin-data || $(BIN)/livepin init livepin-data --account trial --url https://localhost:8443 --online-root
	$(BIN)/livepin serve $(ARGS)

bench: setup  ## measure, and write benchmarks/README.md
	$(BIN)/python -m benchmarks $(ARGS)

.venv/.torture: .venv/.ready requirements/torture.txt
	@scripts/install_locked $(BIN)/python requirements/torture.txt
	@touch $@

torture: .venv/.torture  ## fuzz, kill, and write benchmarks/torture.md; ARGS="PART --seed N --scale N"
	$(BIN)/python -m torture $(ARGS)

wheels: setup  ## build both wheels into dist/
	$(BIN)/python -m build --no-isolation --wheel --outdir dist packages/livepin
	$(BIN)/python -m build --no-isolation --wheel --outdir dist packages/livepin-server

wheel-test: setup  ## install the livepin wheel alone, and run its tests there
	scripts/wheel_alone

pythons: setup  ## run the tests of the TLS layer and of all adapters on each other Python here
	scripts/every_python

readme-test: setup  ## run the README's commands, word for word, from built wheels
	$(BIN)/python scripts/readme_commands

lock: setup  ## resolve requirements/*.in anew
	scripts/lock

clean:  ## remove what make made
	rm -rf .venv dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
