# One virtual environment, one line a target. `make demo` and `make test` are all that a
# fresh machine needs.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
.PHONY: demo test test-full lint types bench conformance tamper docs clean

demo: $(VENV)/.installed ; $(BIN)/wm demo
test: $(VENV)/.installed ; $(BIN)/python -m pytest
test-full: $(VENV)/.installed ; $(BIN)/python -m pytest && $(BIN)/python -m benchmarks fpr --full --out benchmarks/results && $(BIN)/python -m benchmarks.diffusion.older
lint: $(VENV)/.installed ; $(BIN)/ruff check . && $(BIN)/ruff format --check . && PATH="$(abspath $(BIN)):$$PATH" cython-lint kernels && $(BIN)/lint-imports
types: $(VENV)/.installed ; $(BIN)/mypy
bench: $(VENV)/.installed ; $(BIN)/python -m benchmarks all --full --out benchmarks/results
# DATA: C2PA's published rubrics
conformance: $(VENV)/.installed ; $(BIN)/python -m benchmarks.conformance $(DATA)
tamper: $(VENV)/.installed ; $(BIN)/python -m benchmarks.conformance.tampering --full
docs: $(VENV)/.installed ; $(BIN)/python -m pdoc --output-directory build/docs watermark
clean: ; rm -rf build dist .venv demo

$(VENV)/.installed: pyproject.toml setup.py constraints.txt $(wildcard kernels/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all]" --group dev
	touch $@
