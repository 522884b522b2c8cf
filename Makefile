# Everything starts here; `make` alone lists the targets. setup_host.py holds the steps.
ARGS ?=
PYTHON ?=
BOOT := $(shell for p in python3 "$(PYTHON)" python; do command -v "$$p" && break; done)
SETUP = $(or $(BOOT),$(error No Python is installed: install Python 3.11, 3.12 or 3.13)) setup_host.py --python "$(PYTHON)"
VENV := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help setup setup-tests run test test-full check clean docs/findings.md docs/life-cycle.md docs/benchmarks.md probe.pyz

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z./-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo '  ARGS="..." is handed on: make run ARGS="--port 7861 --no-browser", make test ARGS="tests/presets"'
	@echo '  PYTHON=... picks the Python (3.11, 3.12 or 3.13) for .venv'

setup: ## install all that the panel needs into .venv
	@$(SETUP)

setup-tests:
	@$(SETUP) --tests

run: setup ## set up and start the panel
	@$(VENV)/pdpanel $(ARGS)

test: setup-tests ## set up and run the tests, as many at once as there are cores, four at most
	@$(VENV)/python -m pytest -m "not slow" -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-full: setup-tests ## the tests with the slow ones
	@$(VENV)/python -m pytest $(ARGS)

check: setup-tests ## ruff, its format and pyright
	@$(VENV)/python -m ruff check .
	@$(VENV)/python -m ruff format --check .
	@$(VENV)/python -m pyright

docs/findings.md: setup ## the list of what the doctor knows, from its rules
	@$(VENV)/python -m pdpanel.panel.doctor.findings_doc > $@

docs/life-cycle.md: setup ## the state machines of workers and router, drawn from their tables
	@$(VENV)/python -m pdpanel.engine.life_cycle_doc > $@

docs/benchmarks.md: setup ## the benchmarks' tables and charts, from docs/benchmarks/*.jsonl
	@$(VENV)/python -m pdpanel.panel.bench.document docs

probe.pyz: setup ## one file that makes a dump of a node where nothing is installed
	@$(VENV)/pdpanel probe --pyz $@

clean: ## remove .venv and everything that was built
	rm -rf .venv probe.pyz build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
