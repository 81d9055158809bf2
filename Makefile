# The whole of it: `make` lists the targets. Each installs what it needs into .venv, once.

PYTHON ?= $(shell for python in python3.12 python3.11 python3 python; do \
	$$python -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null \
	&& echo $$python && break; done)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
RUN_READY := $(VENV)/.ready-to-run
DEV_READY := $(VENV)/.ready-to-develop
FLOW ?=
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help run test lint format bench proof interop kafka lock sbom clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

run: $(RUN_READY) ## Run the quickstart, which needs nothing else; FLOW=flow.yaml runs that flow
	@$(BIN)/logweir run $(FLOW) $(ARGS)

test: $(DEV_READY) ## Run the tests; ARGS='-k name' chooses some
	@$(BIN)/python -m tests.servers
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

lint: $(DEV_READY) ## Check style, format and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	cd logger && ../$(BIN)/mypy

format: $(DEV_READY) ## Format the code and fix what can be fixed without a thought
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(DEV_READY) ## Measure what the README claims
	$(BIN)/python -m benchmarks $(ARGS)

proof: $(DEV_READY) ## Run the long proofs: crashes, outages, ledgers that balance
	$(BIN)/python -m pytest tests/proofs -m proof -s $(ARGS)
	$(BIN)/python -m pytest -m hypothesis --hypothesis-profile=proof $(ARGS)

interop: $(DEV_READY) ## Try each destination against independent servers, and print the table (needs Go, a JDK, Maven)
	$(BIN)/python -m pytest tests/interop -m interop $(ARGS)

kafka: $(DEV_READY) ## Run a Kafka broker for development on port 9092 until Ctrl-C (needs a JDK and Maven)
	@$(BIN)/python -m tests.servers.kafka $(ARGS)

lock: $(DEV_READY) ## Resolve anew what the image installs, with the digests of the wheels
	$(BIN)/python deploy/lock.py

sbom: $(BIN)/python ## List what the image installs, with licences: build/sbom.json (CycloneDX) and build/licences.md
	rm -rf build/image && $(BIN)/python -m venv build/image
	build/image/bin/python -m pip install --quiet --constraint constraints.txt '.[archive]'
	build/image/bin/python -m pip uninstall --quiet --yes pip setuptools
	$(BIN)/python -m venv build/tools && build/tools/bin/python -m pip install --quiet cyclonedx-bom pip-licenses
	build/tools/bin/cyclonedx-py environment --output-reproducible --output-file build/sbom.json build/image/bin/python
	build/tools/bin/pip-licenses --python build/image/bin/python --format markdown --with-urls --output-file build/licences.md

clean: ## Remove the environment, caches, fetched servers and what runs leave behind
	rm -rf $(VENV) .servers dist build out recovery dead-letter .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "logweir needs Python 3.11 or 3.12 with venv; set PYTHON=/path/to/it." >&2; exit 1; fi
	$(PYTHON) -m venv $(VENV)

$(RUN_READY): pyproject.toml constraints.txt | $(BIN)/python
	$(PIP) install --constraint constraints.txt --editable .
	@touch $@

# `--group` came with pip 25.1.
$(DEV_READY): $(RUN_READY)
	$(PIP) install --upgrade 'pip>=25.1'
	$(PIP) install --constraint constraints.txt --group dev
	@touch $@
