# make demo: from nothing to a report of pictures.  make test: the whole test suite.  make help: all targets.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := runs/demo
export OMP_NUM_THREADS ?= $(shell nproc)
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help install demo demo-all test test-slow lint bench tables clean $(addprefix demo-,worlds pack train export pictures report)

help:
	@echo "make install  the environment, in $(VENV)"
	@echo "make demo     videos, shards, training, export, pictures and a report, in $(DEMO) (about ten minutes)"
	@echo "make demo-worlds | demo-pack | demo-train | demo-export | demo-pictures | demo-report   one stage again"
	@echo "make test     the whole test suite"
	@echo "make test-slow  what takes minutes more: training runs that are killed twenty times, compiled methods"
	@echo "make lint     formatting, lint and types"
	@echo "make bench    the benchmarks of benchmarks/"
	@echo "make tables   trains and judges every method and ablation, in runs/tables (an hour on two cores; three with hed-vgg16)"

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml constraints.txt requirements-faces.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "error: $(PYTHON) is older than Python 3.11; name another one: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m pip install --quiet --no-deps --requirement requirements-faces.txt
	@touch $@

# Stages begin by removing what they will make: one make at a time. What runs below one that holds the lock needs none.
LOCK := runs/.demo.lock
REFUSED := { echo "error: another make writes $(DEMO); wait until it has ended" >&2; exit 2; }

# Runs a stage in an empty place and notes how many seconds it took: $(call stage,NAME,OUTPUTS,COMMAND)
define stage
@mkdir -p $(DEMO)/stages && exec 9>> $(LOCK) && { [ "$(HOLDS_LOCK)" ] || flock --nonblock 9 || $(REFUSED); } && \
rm -rf $(2) && echo "── $(1)" && started=$$(date +%s.%N) && set -o pipefail && \
$(3) && echo "$$(date +%s.%N) - $$started" | $(BIN)/python -c 'print(round(eval(input()), 1))' > $(DEMO)/stages/$(1)
endef

demo:
	@mkdir -p runs; flock --nonblock --conflict-exit-code 75 $(LOCK) $(MAKE) --no-print-directory HOLDS_LOCK=yes demo-all; \
	  code=$$?; [ $$code != 75 ] || $(REFUSED); exit $$code

demo-all: install
	@rm -rf $(DEMO)
	@$(MAKE) --no-print-directory demo-worlds
	@$(MAKE) --no-print-directory demo-pack
	@$(MAKE) --no-print-directory demo-train
	@$(MAKE) --no-print-directory demo-export
	@$(MAKE) --no-print-directory demo-pictures
	@$(MAKE) --no-print-directory demo-report

demo-worlds: install
	$(call stage,worlds,$(DEMO)/videos,$(BIN)/python -m shards worlds faces --out $(DEMO)/videos --videos 400 --seconds 6 --fps 4 --size 128 --seed 1)

demo-pack: install
	$(call stage,pack,$(DEMO)/shards,$(BIN)/python -m shards pack --source $(DEMO)/videos --out $(DEMO)/shards/train --pairs 10000 --seed 1 \
	  --size 64 --same-style-rate 0.9 --test-out $(DEMO)/shards/test --test-pairs 240 && \
	  $(BIN)/python -m shards inspect $(DEMO)/shards/train --out $(DEMO)/shards/train.png)

demo-train: install
	$(call stage,train,$(DEMO)/train,$(BIN)/python -m trainer.launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no \
	  --dynamo_backend no trainer/run.py --config trainer/configs/demo.yaml)

demo-export: install
	$(call stage,export,$(DEMO)/model.onnx,$(BIN)/python -m export --checkpoint $(DEMO)/train --out $(DEMO)/model.onnx)

demo-pictures: install
	$(call stage,pictures,$(DEMO)/pictures $(DEMO)/swapped,\
	  $(BIN)/python -m deploy batch --model $(DEMO)/model.onnx --pairs $(DEMO)/shards/test --out $(DEMO)/pictures && \
	  $(BIN)/python -m deploy batch --model $(DEMO)/model.onnx --pairs $(DEMO)/shards/test --out $(DEMO)/swapped --roll-labels 1)

demo-report: install
	@$(BIN)/python -m trainer.report --demo $(DEMO)

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# What takes minutes more: twenty kills, on one and on two processes; torch.compile on whole methods.
test-slow: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m slow

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Those of deploy/ measure a model.
SERVING := benchmarks/batch.py benchmarks/service.py
bench: install
	@$(BIN)/python -m export --config trainer/configs/demo.yaml --untrained --force --out runs/bench/demo.onnx
	@for file in $(filter-out $(SERVING),$(wildcard benchmarks/*.py)); do $(BIN)/python $$file || exit 1; done
	@for file in $(SERVING); do $(BIN)/python $$file --model runs/bench/demo.onnx || exit 1; done
	@$(BIN)/python -m export latency --model runs/bench/demo.onnx --target-ms 100

# The papers' tables, made again; every run that is finished is kept, so that the same command goes on.
tables: install
	$(BIN)/python -m trainer.tables --budget small --out benchmarks/results/tables.md

clean:
	rm -rf $(VENV) runs
