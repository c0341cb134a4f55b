# make train   set up .venv and run the main job
# make test    set up .venv and run the tests;  make test-slow runs the slow ones too
# make lint    ruff and mypy
# make bench   the documented benchmark: searches SASRec's setting, runs the plan, reports
# make report  its report again
# make test-numpy2  a short suite with numpy 2, laid over .venv
# make test-other   the same in each environment of OTHERS="/path/to/its/python ..."
#
# PYTHON=python3.13, or any other of 3.10 to 3.13, chooses the interpreter; a .venv of another version
# is made anew. Left out, it is that of .venv, and before there is one python3.11, where RecBole has
# all that it requires, ray included, or else the newest that there is.
# (PYENV_VERSION lets pyenv find a version that is not its own default.)
AS = PYENV_VERSION=$(1:python%=%) $(1)
FIRST = for each in $(1); do PYENV_VERSION=$${each\#python} $$each -c "" && echo $$each && break; done
PYTHON ?= $(shell ($(call FIRST,.venv/bin/python python3.11 python3.13 python3.12 python3.10)) 2>/dev/null)
VERSION := $(shell $(call AS,$(PYTHON)) -c "import sys; print('%d.%d' % sys.version_info[:2])" 2>/dev/null)
PINS := $(or $(wildcard requirements-$(VERSION:3.13=3.12).txt),requirements.txt)
INSTALLED := .venv/installed-$(VERSION)
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check install
# What tells whether RecBole works at all with other versions of Python and numpy.
SHORT := tests/workflows tests/patches tests/test_registration.py
export HF_HUB_OFFLINE := 1

.PHONY: train test test-numpy2 test-other test-slow lint bench bench-epoch report ablation cold-start setup version

setup: version $(INSTALLED)

version:
	@case "$(VERSION)" in 3.10|3.11|3.12|3.13) ;; *) \
		echo "PYTHON=$(PYTHON) is '$(VERSION)'; it must run Python 3.10, 3.11, 3.12 or 3.13." >&2; \
		exit 2;; esac

$(INSTALLED): $(PINS) setup.py | version
	@echo "Installing $(PINS) for Python $(VERSION) into .venv; torch and CUDA are about 3 GB."
	test -e $(INSTALLED) || test $(PYTHON) = .venv/bin/python || \
		$(call AS,$(PYTHON)) -m venv --clear .venv
	$(PIP) -r $(PINS)
	$(PIP) --quiet --no-deps recbole==1.2.1
	$(PIP) --quiet --no-deps --no-build-isolation -e .
	touch $@

train: setup
	$(BIN)/python run_recbole.py --model=UR4Rec --config_files=properties/balanced.yaml

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-numpy2: setup .venv/numpy2
	PYTHONPATH=$(CURDIR)/.venv/numpy2 $(BIN)/python -m pytest $(SHORT)

.venv/numpy2: $(INSTALLED)
	$(PIP) --quiet --no-deps --upgrade --target $@ numpy==2.4.6

test-other:
	for each in $(OTHERS); do PYTHONPATH=$(CURDIR) $$each -m pytest $(SHORT) || exit; done

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
	$(BIN)/ur4rec ablation properties/ablation.yaml --markdown docs/ablation.md

cold-start: setup
	$(BIN)/ur4rec cold-start
