# Set-up, checks and the demo. Needs git, make and Python 3.11 or newer with venv; everything else is installed into .venv.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One process per command, as many threads as there are cores: the tests start engines of their own.
PYTEST := $(BIN)/python -m pytest

# Whole files that `make check` leaves out: each takes 6 to 25 seconds.
SLOW_FILES := tests/sr_export/test_export.py tests/sr_export/test_plan.py tests/sr_train/test_cli.py \
	tests/sr_train/test_loop.py tests/sr_train/test_report.py

.PHONY: demo test check types lint format bench results card gpu-check clean

demo: $(VENV)/installed
	$(BIN)/sr-batch samples
	@echo "look at the pictures in $(CURDIR)/samples_x4, beside the originals in $(CURDIR)/samples"

test: $(VENV)/installed-dev types lint
	$(PYTEST)

# The fast part, for every save: under a minute after the first run.
check: $(VENV)/installed-dev types lint
	$(PYTEST) -q -m "not slow and not gpu" $(SLOW_FILES:%=--ignore=%)

types: $(VENV)/installed-dev
	$(BIN)/mypy

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/installed
	$(BIN)/python benchmarks/engines.py
	$(BIN)/python benchmarks/tiles.py
	$(BIN)/python benchmarks/batch.py
	$(BIN)/python benchmarks/peers.py --peers ours,loop,whole,bf16,onnx
	$(BIN)/python benchmarks/scaling.py --plot benchmarks/scaling.png
	$(BIN)/python benchmarks/png.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/colour.py
	$(BIN)/python benchmarks/video.py
	$(BIN)/python benchmarks/video_memory.py
	$(BIN)/python benchmarks/startup.py
	$(BIN)/python benchmarks/scan.py
	$(BIN)/python benchmarks/training.py

# docs/results.md, its pictures and the figures of the model cards, from the shipped checkpoints. With test sets that you
# have: make results SETS="Set5/HR Set14/HR" LPIPS=alexnet_lpips.safetensors; with training curves: RUN="run folders".
results: $(VENV)/installed-dev
	$(BIN)/python benchmarks/results.py $(if $(SETS),--sets $(SETS)) $(if $(LPIPS),--lpips-weights $(LPIPS)) \
		$(if $(RUN),--run $(RUN))

# The figures of one model's card, printed: make card MODEL=srresnet SETS="Set5/HR Set14/HR"
card: $(VENV)/installed
	$(BIN)/python benchmarks/results.py --card $(MODEL) --sets $(SETS) $(if $(LPIPS),--lpips-weights $(LPIPS))

# On a machine with an NVIDIA GPU; writes gpu-check.json. Has never run where this was written.
gpu-check: $(VENV)/installed-dev
	$(BIN)/python benchmarks/gpu_check.py gpu-check.json
	$(PYTEST) -m gpu

clean:
	rm -rf $(VENV) build dist *.egg-info samples_x4

$(VENV)/bin/python:
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
		{ echo "Python 3.11 or newer is needed; name it: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV) || \
		{ echo "Python's venv is missing: on Debian and Ubuntu, apt install python3-venv"; rm -rf $(VENV); exit 1; }

$(VENV)/installed: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): torch and the engines are large, this takes some minutes"
	$(BIN)/pip install --quiet -e .
	@touch $@

$(VENV)/installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "installing into $(VENV): torch and the engines are large, this takes some minutes"
	$(BIN)/pip install --quiet -e ".[dev]"
	@touch $@ $(VENV)/installed
