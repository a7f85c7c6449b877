# One front door: people, CI and the README all use these targets.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
PYTEST_ARGS ?=
FUZZ_SECONDS ?= 600
FUZZ_TARGETS ?= *
FUZZ_JOBS ?= 1
BIN := .venv/bin
INSTALLED := .venv/installed
CACHE := .cache
PYTEST := $(BIN)/python -m pytest $(PYTEST_ARGS)
ELSEWHERE := kafka or jaeger or prometheus or page or chaos or cluster or soak or viewer
# Where the tests are that need a server or a browser: the others need not be collected for them (tests/test_house.py).
SERVED := tests/streams tests/chaos tests/cluster tests/simulation/test_broker.py tests/test_metrics.py
ON_KAFKA := not (jaeger or prometheus or page or cluster or embedded or soak or viewer)

.PHONY: help install test test-kafka test-cluster soak-budgets soak-breakers test-jaeger test-metrics test-page test-viewer check lint types imports format kafka jaeger viewer demo bench fuzz lock clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: $(INSTALLED) ## a virtual environment in .venv with everything at the locked versions

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo 'installing into .venv'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench,chemistry,backends,plot,page-test]'
	@touch $@

test: $(INSTALLED) ## all tests that need nothing but Python (the broker is the embedded one)
	$(PYTEST) --durations 20 --numprocesses auto --maxprocesses 4 --dist loadfile -m "not broker and not ($(ELSEWHERE))"
	$(BIN)/qmosaic compile
	$(PYTEST) --durations 20 --numprocesses 2 --dist loadfile -m "broker and not ($(ELSEWHERE))" $(SERVED)

test-kafka: $(INSTALLED) kafka ## all tests that touch a broker, on a real Apache Kafka, crashes included
	$(BIN)/qmosaic compile
	QMOSAIC_TEST_BROKER=kafka $(PYTEST) --durations 20 --numprocesses 2 --dist loadfile -m "broker and not (kafka or chaos) and $(ON_KAFKA)" $(SERVED)
	QMOSAIC_TEST_BROKER=kafka $(PYTEST) --durations 20 -m "(kafka or chaos) and $(ON_KAFKA)" $(SERVED)

test-cluster: $(INSTALLED) kafka ## three brokers of a real Kafka, that are killed, slow, or too few
	$(PYTEST) -s -m cluster $(SERVED)

soak-budgets: $(INSTALLED) kafka ## 10,000 problems against crossing budgets while everything that keeps the books dies
	QMOSAIC_BUDGET_PROBLEMS=10000 $(PYTEST) -s tests/chaos/test_budgets.py

soak-breakers: $(INSTALLED) ## ten minutes of a backend that fails half of its jobs, and of one that fails all
	QMOSAIC_BREAKER_SECONDS=600 $(PYTEST) -s -m soak tests/chaos/test_breakers.py

test-jaeger: $(INSTALLED) jaeger ## the tests that ask a real Jaeger for the traces
	$(PYTEST) -m jaeger $(SERVED)

test-metrics: $(INSTALLED) ## the alerts and the dashboard, with a real Prometheus and its promtool (Debian: apt install prometheus)
	@for tool in prometheus promtool; do command -v $$tool >/dev/null || \
		{ echo "$$tool is not here: install Prometheus, in Debian by 'apt install prometheus'" >&2; exit 1; }; done
	$(PYTEST) -m prometheus $(SERVED)

test-page: $(INSTALLED) ## the live page in a real browser: what it shows, keyboard, contrast, hostile names; what goes wrong is told (Prometheus, too)
	@command -v chromium >/dev/null || { echo 'chromium is not there: apt-get install chromium' >&2; exit 1; }
	$(PYTEST) -m page $(SERVED)

test-viewer: $(INSTALLED) $(CACHE)/otelite/built ## the viewer of `make viewer`, with the trace of a problem
	$(PYTEST) -m viewer $(SERVED)

check: test lint types imports ## test, lint, types and imports

lint: $(INSTALLED) ## ruff: rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(INSTALLED) ## mypy, strict
	$(BIN)/mypy

imports: $(INSTALLED) ## import-linter: imports point one way
	$(BIN)/lint-imports

format: $(INSTALLED) ## let ruff format the code and mend what it can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

kafka: $(CACHE)/kafka/fetched ## Apache Kafka's jars into .cache/kafka (needs Java 17 and Maven)

$(CACHE)/kafka/fetched: tools/kafka/pom.xml tools/kafka/fetch.sh
	tools/kafka/fetch.sh $(CACHE)/kafka
	@touch $@

jaeger: $(CACHE)/jaeger/built ## Jaeger into .cache/jaeger (needs Go; minutes the first time)

$(CACHE)/jaeger/built: tools/jaeger/build.sh
	tools/jaeger/build.sh $(CACHE)/jaeger
	@touch $@

viewer: $(CACHE)/otelite/built ## a page of traces at http://127.0.0.1:3000 that takes OTLP at :4318 (needs Rust; minutes the first time)
	$(CACHE)/otelite/bin/otelite serve --storage-path $(CACHE)/otelite/data

$(CACHE)/otelite/built:
	@command -v cargo >/dev/null || { echo 'make viewer needs Rust (https://rustup.rs)' >&2; exit 1; }
	cargo install otelite --version 0.1.156 --root $(CACHE)/otelite
	@touch $@

demo: $(INSTALLED) ## the whole pipeline on this machine, with problems to solve
	@$(BIN)/qmosaic demo

bench: $(INSTALLED) ## the benchmarks
	$(BIN)/python -m benchmarks

fuzz: .venv/fuzz-installed ## the fuzzers, FUZZ_SECONDS each, a table of FUZZ_TARGETS at the end (Linux; findings in .cache/fuzz)
	$(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS) --targets '$(FUZZ_TARGETS)' --jobs $(FUZZ_JOBS)

.venv/fuzz-installed: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[fuzz]'
	@touch $@

lock: ## resolve constraints.txt anew (UPGRADE=--upgrade takes newer versions)
	test -x $(CACHE)/uv/bin/uv || { $(PYTHON) -m venv $(CACHE)/uv && $(CACHE)/uv/bin/python -m pip install --quiet uv; }
	$(CACHE)/uv/bin/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header $(UPGRADE) \
		pyproject.toml -o constraints.txt

clean: ## remove what was built and cached here, .venv and the servers too
	rm -rf .venv $(CACHE) .qmosaic build dist src/*.egg-info .*_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
