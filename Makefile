# `make demo` and `make test` are all a newcomer needs; both work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := runtime/m8d/runtime/demo

.PHONY: demo test lint clean

demo: $(VENV)/runtime
	$(BIN)/m8d-run convert --source $(DEMO)/source.flac --reference $(DEMO)/reference.flac --output demo.wav

test: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/runtime: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[cpu]'
	touch $@

$(VENV)/test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@ $(VENV)/runtime

clean:
	rm -rf $(VENV) demo.wav
