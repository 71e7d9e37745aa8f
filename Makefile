# Every target sets itself up: .venv, locked versions, then the work. Nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CACHE := $(CURDIR)/.cache
export UV_CACHE_DIR := $(CACHE)/uv
export PIP_CACHE_DIR := $(CACHE)/pip
export MPLCONFIGDIR := $(CACHE)/matplotlib
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: demo demo-full real test lint types unit gpu official soak lock install clean

demo: install ## raw logs -> trained detectors -> official score -> runs/demo/report.html; ARGS=--fused trains one with cameras as well
	$(BIN)/python -m configs.demo --out runs/demo $(ARGS)

demo-full: install ## the demo, longer, and STT learned on the town beside the other trackers: runs/demo-full/summary.json
	$(BIN)/python -m configs.demo_full --out runs/demo-full

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

gpu: ## every CUDA kernel and the tensor loop against its reference, right and how fast; needs a GPU, torch and numba, installs nothing
	$(PYTHON) -m ops check --cuda
	$(PYTHON) -m ops bench --cuda
	$(PYTHON) -m benchmarks.closed_loop_tensors --device cuda

official: install .official/.installed ## our numbers against the official programs, TensorFlow and all
	DRIVE_PYTHON=$(CURDIR)/$(BIN)/python .official/bin/python tests/official/run.py $(ONLY)

.official/.installed: tests/official/requirements.txt
	@command -v python3.11 >/dev/null || { echo "error: no python3.11 found: the official packages need it; install it, then run make official again" >&2; exit 2; }
	python3.11 -m venv .official
	$(BIN)/uv pip install --quiet --python .official/bin/python -r tests/official/requirements.txt
	$(BIN)/uv pip install --quiet --python .official/bin/python --no-deps waymo-open-dataset-tf-2-12-0==1.6.7
	touch $@

install: $(VENV)/.installed

$(VENV)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: $(PYTHON) is older than 3.11; run make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

soak: install ## hours: 10,000 damaged files a format, 50 kills of a conversion
	nice $(BIN)/python tests/soak.py

lock: ## renew requirements.lock (see docs/install.md)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==0.13.9
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --upgrade pyproject.toml --override overrides.txt \
	  --extra train --extra camera --extra view --extra nuscenes --extra dev --no-emit-index-url --no-header --no-annotate -o requirements.lock

clean:
	rm -rf $(VENV) .official $(CACHE) runs build dist *.egg-info
