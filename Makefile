# Everything runs inside .venv, made on first use with any Python from 3.11 on; nothing else has to be installed.
# Another interpreter: make PYTHON=/path/to/python3.12 ...

SHELL := /bin/sh
PYTHON ?=
PIP_OPTIONS ?= --quiet --disable-pip-version-check
TESTS ?= tests
WORKERS ?= 2
CHAOS ?=
FUZZ ?=

VENV := .venv
STAMP := $(VENV)/installed
RUN := $(VENV)/bin/python -m

.DEFAULT_GOAL := help
.PHONY: help demo up test chaos fuzz audit lint format

help: ## show these commands
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(STAMP) ## train, deploy, update without a failed request, split traffic, delete; about a minute
	@$(RUN) stack demo

up: $(STAMP) ## run everything on this machine until Ctrl-C: API, workers, Flower, bundled broker
	@$(RUN) stack up

test: $(STAMP) ## run the tests; TESTS=tests/stack for some of them
	@$(RUN) pytest -n $(WORKERS) --dist loadfile --durations 30 $(TESTS)

chaos: $(STAMP) ## kill, freeze and restart everything while 500 operations run, and count the damage; CHAOS="--faults 50"
	@$(RUN) tests.chaos $(CHAOS)

fuzz: $(STAMP) ## over 5,000 requests out of the OpenAPI document and over 100,000 inputs; FUZZ="--cases 20"
	@$(RUN) tests.fuzz $(FUZZ)

audit: $(STAMP) ## known vulnerabilities of the pinned packages, and every licence
	@$(RUN) stack.supply

lint: $(STAMP) ## ruff, mypy, and who may import whom
	@$(RUN) ruff check .
	@$(RUN) ruff format --check .
	@$(RUN) mypy
	@$(VENV)/bin/lint-imports --no-logo

format: $(STAMP) ## put the code into its standard form
	@$(RUN) ruff check --fix .
	@$(RUN) ruff format .

$(STAMP): pyproject.toml constraints.txt
	@set -eu; \
	usable() { "$$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }; \
	if [ -n "$(PYTHON)" ]; then \
	    python="$(PYTHON)"; \
	    usable "$$python" || { echo "error: $$python is no Python from 3.11 on with venv and ensurepip" >&2; exit 1; }; \
	else \
	    python=; \
	    for candidate in python3.13 python3.12 python3.11 python3 python python3.14; do \
	        if usable "$$candidate"; then python=$$candidate; break; fi; \
	    done; \
	    if [ -z "$$python" ]; then \
	        echo "error: no Python from 3.11 on with venv and ensurepip was found on PATH." >&2; \
	        echo "Install one (on Debian and Ubuntu: apt install python3 python3-venv), or name it: make PYTHON=..." >&2; \
	        exit 1; \
	    fi; \
	fi; \
	if ! $(VENV)/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$("$$python" --version) ..."; \
	    "$$python" -m venv --clear $(VENV); \
	fi; \
	echo "installing the packages of constraints.txt ..."; \
	$(RUN) pip install $(PIP_OPTIONS) -c constraints.txt -e '.[dev]'; \
	: "plugins of others for the bridge's tests; what they need of MLflow is in mlflow-skinny"; \
	$(RUN) pip install $(PIP_OPTIONS) -c constraints.txt --no-deps mlflow-crusoe mlflow-triton-control; \
	touch $(STAMP)
