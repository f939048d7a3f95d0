# Everything below needs Python 3.11+, make and a package index; nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Label Studio's SDK needs an older numpy, and some seventy packages: tests ask it in a Python of its own.
LABEL_STUDIO := .venv-label-studio
LABEL_STUDIO_READY := $(LABEL_STUDIO)/.ready

.PHONY: demo test lint unit clean

demo: $(READY)
	$(BIN)/overread demo

test: lint unit

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Two processes of one thread each; the tests of a file stay together, since they share what is dear to make.
unit: $(READY) $(LABEL_STUDIO_READY)
	OVERREAD_LABEL_STUDIO_PYTHON=$(CURDIR)/$(LABEL_STUDIO)/bin/python OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

$(LABEL_STUDIO_READY): Makefile
	$(PYTHON) -m venv $(LABEL_STUDIO)
	$(LABEL_STUDIO)/bin/python -m pip install --quiet --upgrade pip
	$(LABEL_STUDIO)/bin/python -m pip install --quiet 'label-studio-sdk>=2.1'
	touch $(LABEL_STUDIO_READY)

clean:
	rm -rf $(VENV) $(LABEL_STUDIO) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
