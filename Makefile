# `make` lists the targets. Everything is installed below this folder, from the lock files in requirements/;
# only uv, where there is none, and the servers that the demo and the tests run go to the cache.

unexport PYTHONDONTWRITEBYTECODE # it would double the time that Airflow takes to start

CACHE := $(or $(VECTORBACKUP_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/vectorbackup)
UV := $(or $(shell command -v uv 2>/dev/null),$(CACHE)/uv/bin/uv)
PYTHON_WANTED := >=3.11,<3.14
BIN := .venv/bin
# What that Airflow and newer libraries under it think of each other is not this package's matter.
SIDE_BY_SIDE := --numprocesses 2
# Tests with services wait more than they compute. Those of one file share servers, so they stay together; files in their
# own order, because by number of tests the longest would come last.
FILE_BY_FILE := --numprocesses 3 --dist loadfile --no-loadscope-reorder
OLD_PYTEST := .venv-airflow-3.1/bin/pytest -W ignore::DeprecationWarning
# Folders of tests in which no version of Airflow can make a difference: the parts of the package may not import it
# (import-linter), and the tests don't either (tests/test_imports.py looks).
WITHOUT_AIRFLOW := actions backups storage transfer trees weaviate

.DEFAULT_GOAL := help
.PHONY: help demo test lint all-tests unit contract e2e airflow-3.1 official-hooks bench lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9.-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: .venv/.installed ## watch Airflow back up a real Weaviate and restore it into another (ONCE=1: end by itself)
	@$(BIN)/python -m demo.run $(if $(filter-out 0,$(ONCE)),--once)

test: lint all-tests airflow-3.1 official-hooks ## run all checks and tests, real services and Airflow 3.1 included

lint: .venv/.installed ## check style, types, and which part imports which
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

all-tests: unit .venv/.installed ## run all tests, real services included
	$(BIN)/pytest tests -m services $(FILE_BY_FILE)

unit: .venv/.installed ## run the tests that need no services
	$(BIN)/pytest tests -m "not services" $(SIDE_BY_SIDE)

contract: .venv/.installed ## run the tests of what servers and stores promise
	$(BIN)/pytest tests/contract $(FILE_BY_FILE)

e2e: .venv/.installed ## run the tests with real services and a real Airflow
	$(BIN)/pytest tests/e2e $(FILE_BY_FILE)

airflow-3.1: .venv-airflow-3.1/.installed ## under Airflow 3.1, run the tests of what uses it without services, and a backup and restore
	$(OLD_PYTEST) tests -m "not services" $(patsubst %,--ignore=tests/%,services $(WITHOUT_AIRFLOW)) $(SIDE_BY_SIDE)
	$(OLD_PYTEST) tests/e2e/test_backup_and_restore.py

official-hooks: .venv-official/.installed ## with the providers of Amazon, Google and Microsoft, run the tests of connections
	.venv-official/bin/python -c 'import airflow.providers.amazon, airflow.providers.google, airflow.providers.microsoft.azure'
	.venv-official/bin/pytest tests/hooks
	.venv-official/bin/pytest tests/contract -k Credentials

bench: .venv/.installed ## run one benchmark: make bench NAME=parse
	@test -f "benchmarks/$(NAME).py" -a -n "$(NAME)" || { \
	  echo "make bench NAME=x, with x one of:" $(filter-out _%,$(notdir $(basename $(wildcard benchmarks/*.py)))); exit 1; }
	@$(BIN)/python -m benchmarks.$(NAME)

COMPILE = $(UV) pip compile --quiet --no-emit-index-url --universal --python-version 3.11 --generate-hashes --no-header
lock: | $(UV) ## make the lock files anew from pyproject.toml, keeping versions that still fit
	$(COMPILE) pyproject.toml --group dev -o requirements/airflow-3.3.txt
	echo 'apache-airflow==3.1.8' | $(COMPILE) pyproject.toml --group test --group services -c - -o requirements/airflow-3.1.txt
	echo 'apache-airflow>=3.3' | $(COMPILE) pyproject.toml --extra amazon --extra google --extra microsoft-azure --group test \
	  -c - -o requirements/official-hooks.txt

clean: ## delete the environments and whatever tools left here; the cache of servers stays
	rm -rf .venv .venv-airflow-3.1 .venv-official .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: requirements/airflow-3.3.txt pyproject.toml | $(UV)
	$(call install,.venv,$<)

.venv-airflow-3.1/.installed: requirements/airflow-3.1.txt pyproject.toml | $(UV)
	$(call install,.venv-airflow-3.1,$<)

.venv-official/.installed: requirements/official-hooks.txt pyproject.toml | $(UV)
	$(call install,.venv-official,$<)

# $(1): the environment's folder, $(2): its lock file.
define install
	@echo "Installing $(2) into $(1)"
	@test -x $(1)/bin/python || { rm -rf $(1) && $(UV) venv --quiet --python '$(PYTHON_WANTED)' $(1); } || { \
	  echo "No Python $(PYTHON_WANTED) was found, and none could be got. Install python3.11, 3.12 or 3.13."; exit 1; }
	@$(UV) pip sync --quiet --python $(1) --require-hashes --compile-bytecode $(2)
	@$(UV) pip install --quiet --python $(1) --no-deps -e .
	@touch $@
endef

$(CACHE)/uv/bin/uv:
	@echo "Installing uv into $(CACHE)/uv"
	@python3 -m venv "$(CACHE)/uv" || { rm -rf "$(CACHE)/uv"; \
	  echo "That takes python3 with its module venv (Debian, Ubuntu: python3-venv), or uv on PATH."; exit 1; }
	@"$(CACHE)/uv/bin/pip" install --quiet uv
