# What a developer or a newcomer types. Everything happens in .venv; nothing else is touched.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install --quiet -c constraints.txt

.PHONY: help demo test lint check foreign format bench bench-full soak soak-steps soak-clients fuzz lock clean

help:
	@echo "make demo    a running proxy on two simulated pools"
	@echo "make test    all tests (XOPROXY_REQUIRE_ALL=1: skip nothing)"
	@echo "make foreign fetch the npm client that some tests drive (skipped without it)"
	@echo "make web     fetch what the web's tests need (skipped without it)"
	@echo "make web-test lint, types and tests of the web"
	@echo "make lint    format, lint, types, layers"
	@echo "make check   the same, with unit and property tests"
	@echo "make bench   measure, with the floor beside each figure"
	@echo "make bench-full  how cost grows with clients, objects and changes, as curves"
	@echo "make soak    both: soak-steps, 1,000,000 random steps on the property tests' scenes (STEPS=),"
	@echo "             and soak-clients: 2,000 clients, 300 changes/s, 30 minutes (SOAK='--minutes 5')"
	@echo "make fuzz    what no good client sends, 10 minutes (SECONDS=, SEED=)"
	@echo "make lock    write constraints.txt anew"

$(VENV)/.run: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e '.[dev]'
	@touch $@

demo: $(VENV)/.run
	@$(BIN)/xoproxy demo

test: $(VENV)/.dev
	$(BIN)/pytest -q -n 3 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint
	$(BIN)/pytest -q tests/unit tests/properties

foreign: tests/foreign/node_modules/.fetched

tests/foreign/node_modules/.fetched: tests/foreign/package-lock.json
	cd tests/foreign && npm ci --silent
	@touch $@

web: web/node_modules/.fetched

web/node_modules/.fetched: web/package-lock.json
	cd web && npm ci --silent
	@touch $@

web-test: web
	cd web && npm run --silent check && npm test --silent

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python -m benchmarks

$(VENV)/.bench: $(VENV)/.dev
	$(PIP) -e '.[dev,bench]'
	@touch $@

bench-full: $(VENV)/.bench
	$(BIN)/python -m benchmarks.growth

soak: soak-steps soak-clients

soak-clients: $(VENV)/.dev
	$(BIN)/python -m tests.soak $(SOAK)

STEPS ?= 1000000
soak-steps: $(VENV)/.dev
	$(BIN)/python -m tests.soak.storms --steps $(STEPS) $(if $(SEED),--seed $(SEED))

SECONDS ?= 600
fuzz: $(VENV)/.dev
	$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

# Versions only: no address of any package index may stand in it.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip --disable-pip-version-check install --quiet '.[dev,bench]'
	( echo "# Versions that were tested together; written by 'make lock'."; \
	  build/lock/bin/pip --disable-pip-version-check freeze --exclude xoproxy ) > constraints.txt
	rm -rf build/lock

clean:
	rm -rf $(VENV) tests/foreign/node_modules web/node_modules build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis benchmarks/out
