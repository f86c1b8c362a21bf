# Everything a developer runs. `make help` says what each does.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# suite:minutes[:workers] — each suite is stopped at its budget.
SUITES ?= unit:5:2 privacy:6:2 integration:18:4 e2e:6:2 chaos:14:3

# The long runs of make chaos (tests/chaos.sh says what each is), and how many kills the first has.
PARTS ?= kills network clocks containers
KILLS ?= 800
SEED ?= 7

.PHONY: help demo half-year toronto run test privacy bench chaos check contract format lock clean
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/ready ## replay 5,000 real requests through the whole system and print the ledger (ARGS="--rows 500")
	@$(RUN) -m deploy.local demo $(ARGS)

half-year: $(VENV)/ready ## Boston's requests through routing and clocks, held against what the city did (ARGS="--file EXPORT")
	@$(RUN) -m deploy.half_year $(ARGS)

toronto: $(VENV)/ready ## eight years of Toronto's recorded crime imported, closed, released, beside what was counted
	@IBUURT_TEST_LONG=1 $(RUN) -m pytest -q -s tests/integration/test_toronto.py

run: $(VENV)/ready ## run the whole system on this machine until Ctrl-C
	@$(RUN) -m deploy.local run $(ARGS)

test: $(VENV)/ready ## every suite on real Kafka and PostgreSQL, each within its minutes (SUITES="unit:3"; IBUURT_TEST_LONG=1: the long ones too)
	@for tool in node npm kcat javac promtool; do command -v $$tool >/dev/null || echo "no $$tool: what needs it is skipped, by name; \
	apt install nodejs npm kcat openjdk-17-jdk-headless prometheus, or brew install node kcat openjdk prometheus"; done
	@PYTHON=$(RUN) sh tests/suites.sh $(SUITES)

privacy: $(VENV)/ready ## the attacks on the statistics at their full size, and their table
	@IBUURT_PRIVACY_LONG=1 $(RUN) -m pytest -q tests/privacy

bench: $(VENV)/ready ## speed against named peers; B=relay for one, ARGS="--size 0.1 --hold", ARGS=--help says more
	@$(RUN) -m bench $(B) $(ARGS)

chaos: $(VENV)/ready ## the long runs of the fault tests, and their ledgers (PARTS="network", KILLS=800, SEED=7)
	@PYTHON=$(RUN) IBUURT_CHAOS_LONG=1 IBUURT_CHAOS_KILLS=$(KILLS) IBUURT_CHAOS_SEED=$(SEED) sh tests/chaos.sh $(PARTS)

check: $(VENV)/ready ## ruff, mypy --strict, the borders between modules, the municipalities, the contract, docs/privacy.md, the alarms
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/mypy
	@$(VENV)/bin/lint-imports --no-logo
	@for town in deploy/municipalities/*/; do $(RUN) -m shared.municipality $$town || exit 1; done
	@$(RUN) -m deploy.contract check
	@$(RUN) -m deploy.privacy check
	@if command -v promtool >/dev/null; then promtool check rules deploy/prometheus/rules/*.yml && promtool test rules tests/prometheus/*.yml; \
	else echo "no promtool: the alarms' rules are not checked; apt install prometheus, or brew install prometheus"; fi

contract: $(VENV)/ready ## write docs/contract/ from shared/events.py, refusing what subscribers would not survive; and docs/privacy.md's part
	@$(RUN) -m deploy.contract write
	@$(RUN) -m deploy.privacy write

format: $(VENV)/ready ## put the code in its form
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

lock: $(VENV)/ready ## write requirements/*.txt anew from pyproject.toml, with hashes and without hosts
	@for group in tips notify stats operator dev; do \
	  $(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
	    --no-emit-index-url --group pyproject.toml:$$group --output-file requirements/$$group.txt >/dev/null || exit 1; \
	done

clean: ## remove the virtual environment and what was downloaded
	@rm -rf $(VENV) .cache tests/contract/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/ready: requirements/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed; name one with PYTHON=python3.13"; exit 1; }
	@command -v java >/dev/null && command -v mvn >/dev/null || { echo "Java 17 or newer and Maven are needed for Kafka: \
	apt install openjdk-17-jre-headless maven, or dnf install java-21-openjdk-headless maven, or brew install openjdk maven"; exit 1; }
	@echo "installing what requirements/dev.txt names into $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@
