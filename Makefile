# make help lists what there is.
#
# PYTHON=python3.13, or any other of 3.10 to 3.13, chooses the interpreter; a .venv of another version
# is made anew (VENV=.venv-3.13 makes one beside it). Left out, it is that of .venv, and before there is
# one python3.11, where RecBole has all that it requires, ray included, or else the newest that there is.
# (PYENV_VERSION lets pyenv find a version that is not its own default.)
AS = PYENV_VERSION=$(1:python%=%) $(1)
VENV ?= .venv
FIRST = for each in $(1); do PYENV_VERSION=$${each\#python} $$each -c "" && echo $$each && break; done
PYTHON ?= $(shell ($(call FIRST,$(VENV)/bin/python python3.11 python3.13 python3.12 python3.10)) 2>/dev/null)
VERSION := $(shell $(call AS,$(PYTHON)) -c "import sys; print('%d.%d' % sys.version_info[:2])" 2>/dev/null)
PINS := $(or $(wildcard requirements-$(VERSION:3.13=3.12).txt),requirements.txt)
INSTALLED := $(VENV)/installed-$(VERSION)
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check install
# What tells whether RecBole works at all with other versions of Python and numpy.
SHORT := tests/workflows tests/patches tests/test_registration.py tests/serving/test_recommender.py
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := help
.PHONY: help train test test-short test-numpy2 test-slow coverage lint audit docs licences bench bench-short tables pages \
	bench-epoch report ablation cold-start setup version

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## /make \1|/p' $(MAKEFILE_LIST) | \
		while IFS='|' read -r target what; do printf '%-18s %s\n' "$$target" "$$what"; done
	@echo "PYTHON=python3.13, or any other of 3.10 to 3.13, chooses the interpreter."

setup: version $(INSTALLED) ## .venv with pinned requirements; 3 GB and minutes at the first time

version:
	@case "$(VERSION)" in 3.10|3.11|3.12|3.13) ;; *) \
		echo "PYTHON=$(PYTHON) is '$(VERSION)'; it must run Python 3.10, 3.11, 3.12 or 3.13." >&2; \
		exit 2;; esac

$(INSTALLED): $(PINS) setup.py | version
	@echo "Installing $(PINS) for Python $(VERSION) into $(VENV); torch and CUDA are about 3 GB."
	test -e $(INSTALLED) || test $(PYTHON) = $(BIN)/python || \
		$(call AS,$(PYTHON)) -m venv --clear $(VENV)
	$(PIP) -r $(PINS)
	$(PIP) --quiet --no-deps recbole==1.2.1
	$(PIP) --quiet --no-deps --no-build-isolation -e .
	touch $@

train: setup ## set up .venv and run the main job: the preset balanced, half an hour
	$(BIN)/python run_recbole.py --model=UR4Rec --config_files=properties/balanced.yaml

test: setup ## set up .venv and run the tests: minutes
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-short: setup ## a short suite: RecBole's workflows and their repairs, tune
	$(BIN)/python -m pytest -n 2 --dist loadfile $(SHORT)

test-numpy2: setup $(VENV)/numpy2 ## the same with numpy 2, laid over .venv
	PYTHONPATH=$(CURDIR)/$(VENV)/numpy2 $(BIN)/python -m pytest $(SHORT)

$(VENV)/numpy2: $(INSTALLED)
	$(PIP) --quiet --no-deps --upgrade --target $@ numpy==2.4.6

test-slow: setup ## the slow tests, too
	$(BIN)/python -m pytest -m "slow or not slow"

lint: setup ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy ur4rec_recbole

coverage: setup ## the tests, and the share of lines that they run: at least 90%
	$(PIP) --quiet pytest-cov==7.1.0
	$(BIN)/python -m pytest -n 2 --dist loadfile --cov=ur4rec_recbole \
		--cov-report=term-missing:skip-covered --cov-fail-under=90

audit: setup ## known vulnerabilities of the pinned requirements; asks an online service
	$(PIP) --quiet pip-audit==2.10.1
	$(BIN)/pip-audit --requirement $(PINS) --no-deps --disable-pip

docs: setup ## the documentation as a site, in site/; fails for a broken link (Python 3.11 or later)
	$(PIP) --quiet --no-build-isolation -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

licences: setup ## the table of docs/licences.md again
	$(PIP) --quiet pip-licenses==5.5.5
	sed -i '/^<!-- table -->$$/q' docs/licences.md
	echo >> docs/licences.md
	$(BIN)/pip-licenses --from=mixed --format=markdown --ignore-packages ur4rec-recbole pip | \
		sed 's/  *|/ |/g; s/| *-[-]*/| ---/g' >> docs/licences.md

# DATA and TABLES name the folders of the data sets that cannot be shipped and of their tables.
DATA ?= data
TABLES ?= tables
BENCH = $(BIN)/python -m ur4rec_recbole benchmark
SHOPS := --data-path $(DATA) --tables $(TABLES)
NAIVE := Popularity,Transitions,Content kNN,Naive sum
SPARSE := UR4Rec sparse,UR4Rec sparse without texts
TIMED := UR4Rec sparse with times,UR4Rec sparse with times without texts
FILMS := UR4Rec small,UR4Rec small with the request's time,UR4Rec small without times

bench: setup ## three data sets: searches the rivals' settings, runs the plans, reports; goes on where it was stopped; two nights
	$(BENCH) properties/benchmark.yaml --tune
	$(BENCH) properties/benchmark.yaml
	$(BENCH) properties/benchmark-scientific.yaml $(SHOPS) --tune
	$(BENCH) properties/benchmark-scientific.yaml $(SHOPS)
	$(BENCH) properties/benchmark-movietweetings.yaml $(SHOPS) --tune
	$(BENCH) properties/benchmark-movietweetings.yaml $(SHOPS)
	$(BENCH) properties/benchmark-time-ml-100k.yaml --output runs/benchmark-ml-100k-time
	$(BENCH) properties/benchmark-time-movietweetings.yaml $(SHOPS) --output runs/benchmark-movietweetings-100k-time
	for each in ml-100k movietweetings-100k; do $(BIN)/python -m ur4rec_recbole report \
		runs/benchmark-$$each --beside runs/benchmark-$$each-time || exit; done

bench-short: setup ## one seed of its main rows, settings as they were searched; under two hours
	$(BENCH) properties/benchmark-scientific.yaml $(SHOPS) --seeds 1 --models "$(NAIVE),$(SPARSE),SASRec tuned,CORE tuned"
	$(BENCH) properties/benchmark.yaml --seeds 1 --models "$(FILMS),Pop,Transitions,Naive sum,SASRec tuned,RecTools HSTU tuned"
	$(BENCH) properties/benchmark-movietweetings.yaml $(SHOPS) --seeds 1 --models "$(NAIVE),$(TIMED),RecTools SASRec tuned"

tables: setup ## text tables of the data sets in DATA, into TABLES
	mkdir -p $(TABLES)
	for each in amazon-scientific movietweetings-100k; do \
		$(BIN)/ur4rec extract text --dataset $$each --data-path $(DATA) --texts $(DATA)/$$each/texts.json \
			--encoder tfidf:1024+sentence-transformers/all-MiniLM-L6-v2 --output $(TABLES)/$$each-text.npz && \
		$(BIN)/ur4rec extract text --dataset $$each --data-path $(DATA) --texts $(DATA)/$$each/texts.json \
			--encoder random --output $(TABLES)/$$each-random.npz || exit; done

report: setup ## the benchmark's report again
	for each in runs/benchmark-*; do $(BIN)/python -m ur4rec_recbole report $$each || exit; done

pages: setup ## the benchmark's pages in docs/ again, from the committed runs; minutes
	for each in ml-100k amazon-scientific movietweetings-100k; do \
		runs=docs/results/benchmark-$$each; test -d $$runs-time && beside="--beside $$runs-time" || beside=; \
		$(BIN)/ur4rec report $$runs $$beside --markdown docs/benchmark-$$each.md || exit; done

bench-epoch: setup ## an epoch of UR4Rec's encoder against SASRec of RecBole and of RecTools
	$(BIN)/python -m ur4rec_recbole.experiments.epoch_speed
	test ! -d $(DATA)/amazon-scientific || $(BIN)/python -m ur4rec_recbole.experiments.epoch_speed \
		--dataset amazon-scientific --data-path $(DATA)

ablation: setup ## what each component brings; hours
	$(BIN)/ur4rec ablation properties/ablation.yaml --markdown docs/ablation.md

cold-start: setup ## items that never occur in training, scored by content
	$(BIN)/ur4rec cold-start
