# `make test` and `make demo` are complete on a bare machine with make and Python 3.10+: they create .venv and install into it.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.installed
PACKAGES := runtime train export benchmarks

.PHONY: help test demo lint types imports unit wheel-test clean

help:
	@echo "make demo        train, export, explain and bench on a procedural data set; writes demo-run/report.html"
	@echo "make test        everything that must hold: lint, types, imports, unit, wheel-test"

test: lint types imports unit wheel-test

demo: $(READY)
	$(BIN)/whymask demo -o demo-run

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

unit: $(READY)
	$(BIN)/python -m pytest -q

wheel-test: $(READY)
	$(BIN)/python tests/wheel/check_wheel.py

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "whymask needs Python 3.10 or newer, and $(PYTHON) is `$(PYTHON) --version 2>&1`. Run: make PYTHON=python3.11 …"; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { rm -rf .venv; echo "$(PYTHON) cannot create .venv. On Debian and Ubuntu run: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[all,dev]'
	touch $@

clean:
	rm -rf build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
