# Tallyflow's commands; `make` alone lists them. .venv is made, or brought up to date, when needed.
#   PYTHON=python3.12   the Python to make .venv with, 3.11 to 3.13
#   DATE=2013-07-04     the day that `make demo` aggregates
#   PORT=8080           where `make dev` and `make up` serve Airflow
#   IMAGE=REGISTRY/NAME:TAG OUT=gs://bucket/templates    of which images `make templates` makes templates, and where
#   ENV=prod DRY_RUN=1  where `make deploy` deploys, deploy/prod.env, and that it only prints how
#   SCALE=10 CASES=tpch_q1_csv,stations ROUNDS=3   what `make bench` measures; SCALE=0.01 is quick

SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
DATE ?= 2013-01-01
PORT ?= 8080
SCALE ?= 1
CASES ?=
ROUNDS ?= 3
OUT ?= dist/templates
ENV_FILE ?= .env
COMPOSE = docker compose --env-file '$(ENV_FILE)'
BIN := .venv/bin
# Makes the jobs importable also for processes that Airflow starts in another folder.
export PYTHONPATH := $(CURDIR)

.PHONY: help demo dev up down logs shell secrets test test-compose check reliability bench lock package templates deploy clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

demo: check ## Run the daily DAG for a day of real flights on the local cloud and show the results
	@$(BIN)/python -m demo.run_demo --date '$(DATE)'

dev: check ## Run the local cloud and all of Airflow until Ctrl-C
	@exec $(BIN)/python -m demo.run_dev --port '$(PORT)'

up: secrets ## Run all of it in containers, in the background; prints the login
	@docker compose version >/dev/null || { echo 'make up takes Docker with Compose; make dev does without' >&2; exit 1; }
	@AIRFLOW_PORT='$(PORT)' $(COMPOSE) up --build --detach --wait
	@password=$$(sed -n 's/^AIRFLOW_ADMIN_PASSWORD=//p' '$(ENV_FILE)' | tail -1); \
	echo "Airflow: http://localhost:$(PORT) (user admin, password $$password)"

down: ## End the containers; the data stays for the next `make up`
	@$(COMPOSE) down

logs: ## Show what the containers say, until Ctrl-C
	@$(COMPOSE) logs --follow --tail 100

shell: ## Open a shell in a container, with the settings of the DAGs
	@$(COMPOSE) exec scheduler bash

# Each is made once: the database keeps the password that it was first started with.
secrets:
	@set -eu; umask 077; touch '$(ENV_FILE)'; \
	for name in POSTGRES_PASSWORD AIRFLOW_ADMIN_PASSWORD AIRFLOW_SECRET_KEY AIRFLOW_JWT_SECRET AIRFLOW_FERNET_KEY; do \
	  grep -q "^$$name=." '$(ENV_FILE)' || { \
	    [ -z "$$(tail -c 1 '$(ENV_FILE)')" ] || echo >> '$(ENV_FILE)'; \
	    echo "$$name=$$(head -c 32 /dev/urandom | base64 | tr '+/' '-_')" >> '$(ENV_FILE)'; \
	  }; \
	done

test: .venv/installed ## Check style and types and run all tests
	@mkdir -p .tallyflow; PYTHONPATH='$(CURDIR):$(CURDIR)/plugins' $(BIN)/python -m deploy.source > .tallyflow/testing || :
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 4 --dist loadfile --no-loadscope-reorder
	@cat .tallyflow/testing >> .tallyflow/tested

test-compose: .venv/installed ## Run a day in containers of its own, its scheduler killed; takes Docker
	@$(BIN)/python -m pytest -s -rs tests/e2e/compose_up.py

check: .venv/installed ## Check all dataset files, queries included, and the compose file
	@$(BIN)/python -m beam_jobs.check_datasets
	@if docker compose version >/dev/null 2>&1; then \
	  docker compose --env-file /dev/null config --quiet --no-interpolate; \
	else \
	  $(BIN)/check-jsonschema --quiet --builtin-schema vendor.compose-spec docker-compose.yaml; \
	fi

reliability: .venv/installed ## Do faults to our operator and the provider's, into docs/reliability.md
	@$(BIN)/python -m tests.e2e.faults

bench: .venv/installed .tallyflow/bench/installed ## Measure Tallyflow and its peers into docs/benchmarks.md
	@$(BIN)/python -m benchmarks --scale '$(SCALE)' --cases '$(CASES)' --rounds '$(ROUNDS)'

lock: ## Bring requirements.txt in line with requirements.in, keeping versions that still fit
	@set -eu; $(find_uv); "$$uv" pip compile --quiet --universal --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
	  requirements.in --output-file requirements.txt; \
	"$$uv" pip compile --quiet --universal --python-version 3.11 \
	  --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
	  benchmarks/requirements.in --output-file benchmarks/requirements.txt

package: ## Build the wheel of beam_jobs, for the workers on Dataflow, into dist/
	@set -eu; $(find_uv); rm -rf build; "$$uv" build --quiet --wheel --out-dir dist; ls dist/*.whl

templates: .venv/installed ## Write the flex templates of the jobs, whose images are IMAGE, into OUT
	@$(BIN)/python -m beam_jobs.templates --image '$(IMAGE)' --out '$(OUT)'

deploy: .venv/installed ## Deploy the commit where deploy/ENV.env says; with DRY_RUN=1 only show how
	@PYTHONPATH='$(CURDIR):$(CURDIR)/plugins' $(BIN)/python -m deploy $(if $(DRY_RUN),--dry-run) '$(ENV)'

clean: ## Remove caches, builds and Airflow's own files; keeps .venv and data/
	@rm -rf .tallyflow build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find beam_jobs benchmarks dags demo deploy local_cloud plugins tests -name __pycache__ -prune -exec rm -rf {} +

# Touched last: an installation that was interrupted is taken up again.
.venv/installed: requirements.txt
	@set -eu; $(find_python); \
	if uv=$$(command -v uv); then \
	  echo "Installing requirements.txt into .venv with uv and $$version (the first time: minutes)"; \
	  "$$uv" venv --quiet --allow-existing --python "$$python" .venv; \
	  "$$uv" pip sync --quiet --python $(BIN)/python requirements.txt; \
	else \
	  echo "Installing requirements.txt into .venv with pip and $$version (minutes; uv is faster)"; \
	  "$$python" -m venv .venv; \
	  $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps -r requirements.txt; \
	fi; \
	touch $@

# The peers of the benchmark, apart from the project's environment, with the project's Python.
.tallyflow/bench/installed: benchmarks/requirements.txt .venv/installed
	@set -eu; $(find_uv); \
	echo "Installing benchmarks/requirements.txt into .tallyflow/bench (the first time: minutes)"; \
	"$$uv" venv --quiet --allow-existing --python $(BIN)/python .tallyflow/bench; \
	"$$uv" pip sync --quiet --python .tallyflow/bench/bin/python benchmarks/requirements.txt; \
	touch $@

# Sets $python to the first Python that is suitable and $version to its name.
define find_python
version=; \
for python in '$(PYTHON)' python3.13 python3.12 python3.11; do \
  version=$$("$$python" -c 'import sys; v = sys.version_info; \
    print(f"Python {v[0]}.{v[1]}.{v[2]}") if (3, 11) <= v < (3, 14) else sys.exit(1)' \
    2>/dev/null) && break; \
done; \
if [ -z "$$version" ]; then \
  echo "Tallyflow needs Python 3.11, 3.12 or 3.13; '$(PYTHON)' is none: make PYTHON=/path/to/python" >&2; \
  exit 1; \
fi
endef

# Sets $uv to the one on the PATH, or else to one in an environment of its own.
define find_uv
uv=$$(command -v uv) || { \
  uv=.tallyflow/uv/bin/uv; \
  [ -x $$uv ] || { \
    $(PYTHON) -m venv .tallyflow/uv; \
    .tallyflow/uv/bin/python -m pip install -qq --disable-pip-version-check uv; \
  }; \
}
endef
