# `make help` lists the targets. A fresh machine needs Python 3.11 or newer and make; everything else is fetched.

PORT ?= 8000
DATA_DIR ?= ./.userservice
PYTHON ?= $(shell command -v python3.11 || command -v python3 || echo python3)
# Tests to run and further options of pytest: make test-fast ARGS='-k router -x'
ARGS ?=

# Settings of `make load`; none of them is taken from the environment.
SCENARIO :=
URL :=
USERS :=
SECONDS :=
WEB :=
METRICS :=
DSN :=
ACCOUNTS :=

BIN := .venv/bin
RUN_STAMP := .venv/.installed-run
DEV_STAMP := .venv/.installed-dev
CHECKED := userservice_core adapters tests benchmarks docs

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install run servers test test-fast check format docs statements bench bench-compare bench-capacity bench-peers load audit soak constraints clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(DEV_STAMP) ## Create .venv with everything that running and developing need

run: $(RUN_STAMP) ## Start the whole service with its own database on PORT (8000), data in DATA_DIR
	@exec $(BIN)/userservice dev --port $(PORT) --data-dir $(DATA_DIR)

servers: $(DEV_STAMP) ## Prepare the real servers that the tests start (Kafka, Redis, PgBouncer, nginx, promtool, PostgreSQL 15, Lambda, toxiproxy)
	@$(BIN)/python -m tests.servers.prepare

test: servers ## Run every test against real servers
ifeq ($(strip $(ARGS)),)
	@$(BIN)/pytest tests/fast tests/hosts --numprocesses 2
	@$(BIN)/pytest tests --ignore=tests/fast --ignore=tests/hosts
else
	@$(BIN)/pytest $(ARGS)
endif

test-fast: $(DEV_STAMP) ## Run the tests that need no server
	@$(BIN)/pytest tests/fast --numprocesses 2 $(ARGS)

check: $(DEV_STAMP) ## Lint, check the format, the types and the direction of imports
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/mypy $(CHECKED)
	$(BIN)/lint-imports --cache-dir .cache/import-linter

format: $(DEV_STAMP) ## Format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only $(CHECKED)
	$(BIN)/ruff format $(CHECKED)

docs: $(DEV_STAMP) ## Renew what the reference pages say of the code
	@$(BIN)/python -m docs.generate

statements: $(DEV_STAMP) ## Renew the page that says how each statement is run
	@$(BIN)/python -m benchmarks.statements

bench: servers ## Measure all figures, each beside its limit: ONLY=name,name
	@$(BIN)/python -m benchmarks --only "$(ONLY)" $(ARGS)

bench-compare: servers ## Tell what got slower since another commit: REF=commit
	@$(BIN)/python -m benchmarks.compare $(ARGS) "$(REF)"

bench-capacity: servers ## Measure what `userservice capacity` plans with
	@$(BIN)/python -m benchmarks --only planning,scale-out --name capacity $(ARGS)

bench-peers: servers ## Measure beside other libraries of accounts, each in an environment of its own
	@$(BIN)/python -m benchmarks.peers --only "$(ONLY)" $(ARGS)

load: $(DEV_STAMP) ## Load a service as people do, to criteria: SCENARIO=name URL=service USERS=most SECONDS=all WEB=port
	@$(BIN)/python -m benchmarks.load $(SCENARIO) $(if $(URL),--url "$(URL)") $(if $(USERS),--users $(USERS)) \
	  $(if $(SECONDS),--seconds $(SECONDS)) $(if $(WEB),--web $(WEB)) $(if $(METRICS),--metrics "$(METRICS)") \
	  $(if $(DSN),--dsn "$(DSN)") $(if $(ACCOUNTS),--accounts "$(ACCOUNTS)") $(ARGS)

audit: $(DEV_STAMP) ## Look the pinned dependencies up among known vulnerabilities, and list newer ones
	$(BIN)/pip-audit --strict --no-deps --disable-pip --progress-spinner off --requirement constraints.txt
	$(BIN)/pip list --outdated

soak: $(DEV_STAMP) ## Run checks at length: ONLY=part,part MINUTES=each SEED=number
	@ONLY="$(ONLY)" MINUTES="$(MINUTES)" SEED="$(SEED)" $(BIN)/python -m tests.soak

constraints: ## Resolve the newest versions of all dependencies into constraints.txt
	rm -rf .cache/resolve && $(PYTHON) -m venv .cache/resolve
	.cache/resolve/bin/python -m pip install --quiet --editable '.[dev]'
	.cache/resolve/bin/python -m pip freeze --all --exclude-editable --exclude pip > constraints.txt
	rm -rf .cache/resolve

clean: ## Remove what the commands made, except the data in DATA_DIR
	rm -rf .venv .cache build dist *.egg-info .hypothesis
	find $(CHECKED) -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; say which with PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -m venv .venv \
	  || { rm -rf .venv; echo "The venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(RUN_STAMP): setup.cfg pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]'
	@touch $@

$(DEV_STAMP): setup.cfg pyproject.toml constraints.txt | .venv/bin/python
	@echo "Installing into .venv ..."
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(RUN_STAMP)
