# Every target sets itself up: .venv, locked versions, then the work. Nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CACHE := $(CURDIR)/.cache
export UV_CACHE_DIR := $(CACHE)/uv
export PIP_CACHE_DIR := $(CACHE)/pip
export MPLCONFIGDIR := $(CACHE)/matplotlib
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo real test lint types unit gpu lock install clean

demo: install ## raw logs -> trained detectors -> official score -> runs/demo/report.html
	$(BIN)/python -m configs.demo --out runs/demo

real: install ## the same on real recordings (../shared/data): runs/real/summary.json
	$(BIN)/python -m configs.real --out runs/real

test: install lint types unit

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

unit: install
	$(BIN)/python -m pytest -n 2

gpu: ## every CUDA kernel against its reference; needs a GPU, torch and numba, installs nothing
	$(PYTHON) -m ops check --cuda

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: $(PYTHON) is older than 3.11; run make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

lock: ## renew requirements.lock (see docs/install.md)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade pyproject.toml --override overrides.txt \
	  --extra train --extra view --extra nuscenes --extra dev --no-emit-index-url --no-header --no-annotate -o requirements.lock

clean:
	rm -rf $(VENV) $(CACHE) runs build dist *.egg-info
