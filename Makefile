# make train   set up .venv and run the main job
# make test    set up .venv and run the tests;  make test-slow runs the slow ones too
# make lint    ruff and mypy
# make bench   the documented benchmark: searches SASRec's setting, runs the plan, reports
# make report  its report again
PYTHON ?= python3.11
BIN := .venv/bin
export HF_HUB_OFFLINE := 1

.PHONY: train test test-slow lint bench bench-epoch report ablation cold-start setup

setup: .venv/installed

.venv/installed: requirements.txt setup.py
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

train: setup
	$(BIN)/python run_recbole.py --model=UR4Rec --config_files=properties/balanced.yaml

test: setup
	$(BIN)/python -m pytest

test-slow: setup
	$(BIN)/python -m pytest -m "slow or not slow"

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy ur4rec_recbole

bench: setup
	$(BIN)/python -m ur4rec_recbole benchmark properties/benchmark.yaml --tune
	$(BIN)/python -m ur4rec_recbole benchmark properties/benchmark.yaml

report: setup
	$(BIN)/python -m ur4rec_recbole report runs/benchmark-ml-100k

bench-epoch: setup
	$(BIN)/python -m ur4rec_recbole.experiments.epoch_speed

ablation: setup
	$(BIN)/ur4rec ablation properties/ablation.yaml --out docs/ablation.md

cold-start: setup
	$(BIN)/ur4rec cold-start
