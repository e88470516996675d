# Each verb makes or reuses its own virtual environment, so any of them works alone on a fresh machine that has
# Python 3.11 (or 3.12), pip and a C compiler.
#
#   make quickstart   a tiny model through cold start, ProRL, export and report, in minutes on two cores
#   make demo         quickstart, evaluations of three of its models, where the boundary moved, and a report as a page
#   make test         every test that needs no GPU
#   make check        lint, format, types, scripts, house rules, and the documentation built strictly
#   make format       mend what ruff can mend
#   make docs         the documentation as a site: build/site/index.html
#   make bench        what a step costs beside TRL's, and more: see docs/benchmarks.md

PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
VENV ?= .venv
# Tests wait a lot, for other processes above all: one more at a time than a small machine has cores.
JOBS ?= 3
QUICKSTART ?=
DEMO ?= runs/demo
PYTEST ?=
BENCH ?=
BENCH_VENV ?= .bench-venv

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet -c constraints.txt
TORCH := torch==2.13.0

# PyPI's torch for Linux brings gigabytes of CUDA libraries. A machine without an NVIDIA driver takes the CPU build
# instead, from PyTorch's own index, if it can be reached and pip isn't told of another place (TORCH_INDEX= turns it off).
CPU_INDEX := https://download.pytorch.org/whl/cpu
TORCH_INDEX ?= $(shell [ "$$(uname -s)" = Linux ] && ! command -v nvidia-smi >/dev/null && [ -z "$$PIP_FIND_LINKS" ] \
	&& $(PYTHON) -c "from urllib.request import urlopen; urlopen('$(CPU_INDEX)/torch/', timeout=10)" 2>/dev/null \
	&& echo --extra-index-url $(CPU_INDEX))

.PHONY: quickstart demo test check format docs bench
.DEFAULT_GOAL := test

$(VENV)/.installed: pyproject.toml constraints.txt
	[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH_INDEX) $(TORCH)
	$(PIP) --editable .
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	touch $@

quickstart: $(VENV)/.installed
	$(BIN)/prorl quickstart $(QUICKSTART)

# The model before ProRL, in the midst of it and after it, 64 answers to each of the quickstart's held-out problems.
DEMO_EVALUATE = $(BIN)/prorl evaluate $(1) benchmarks=quickstart sampling.samples_per_prompt=64 \
	sampling.max_response_tokens=64 model.name=$(2) run.dir=$(DEMO)/evaluations/$(2)
DEMO_RUN = $(DEMO)/seed_0/prorl
DEMO_EVALUATIONS = $(foreach name,base middle final,$(DEMO)/evaluations/$(name))

demo: $(VENV)/.installed
	$(BIN)/prorl quickstart --out $(DEMO)
	$(call DEMO_EVALUATE,$(DEMO)/seed_0/hasty/export,base)
	$(call DEMO_EVALUATE,$(DEMO_RUN)/checkpoints/iter_0000030,middle)
	$(call DEMO_EVALUATE,$(DEMO_RUN)/export,final)
	$(BIN)/prorl analyze $(DEMO_EVALUATIONS) --output $(DEMO)/analysis
	$(BIN)/prorl report $(DEMO_RUN) $(DEMO_EVALUATIONS) $(DEMO)/analysis --title "ProRL quickstart" --out $(DEMO)/report.html

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m 'not gpu' -n $(JOBS) $(PYTEST)

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/shellcheck --external-sources slurm/*.sh slurm/*.sbatch .ci/run
	$(BIN)/hadolint Dockerfile
	$(BIN)/python -m docs.build
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) tests/house

docs: $(VENV)/.installed-dev
	$(BIN)/python -m docs.build

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix --show-fixes .
	$(BIN)/ruff format .

# TRL, which the training step is measured against, in an environment of its own.
$(BENCH_VENV)/.installed: benchmarks/peer-requirements.txt constraints.txt
	[ -x $(BENCH_VENV)/bin/python ] || $(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/python -m pip --disable-pip-version-check install --quiet -c constraints.txt $(TORCH_INDEX) \
		-r benchmarks/peer-requirements.txt
	touch $@

bench: $(VENV)/.installed $(BENCH_VENV)/.installed
	$(BIN)/python -m benchmarks --peer-python $(BENCH_VENV)/bin/python $(BENCH)
