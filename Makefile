# What is made lies in .venv/; results lie in runs/, which nothing here removes.

PYTHON ?= python3
VENV   := .venv
IN_ENV := $(VENV)/bin/python

# The search of `make tune`, small enough for a first look; ARGS adds overrides:
#   make tune ARGS="model=dmu,rhn depth=1,2"
TRIALS ?= 6
EPOCHS ?= 4
CORPUS ?= auto
ARGS   ?=

# Where `make docs` puts its pages.
SITE ?= site

# The store of `make mlflow`.
RUNS ?= runs
PORT ?= 5000

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help tune music report reproduce-small test lint docs lower-bounds release-check mlflow clean

help:
	@echo 'make tune     a small search on polyphonic music  [TRIALS=6 EPOCHS=4 CORPUS=auto ARGS=..]'
	@echo 'make music    trains the best setting found and lets it play  [EPOCHS=60 RUNS=runs ARGS="temperature=0.8" ..]'
	@echo 'make report   docs/results/ from the runs recorded there, without training  [ARGS="table=3" ..]'
	@echo 'make reproduce-small   trains what is recorded there anew, for a few epochs: does it agree?  [RUNS=runs]'
	@echo 'make test     the quick tests                     [ARGS="-m slow", ARGS=tests/engine ..]'
	@echo 'make lint     ruff and mypy'
	@echo 'make docs     the documentation as pages in site/, without a network'
	@echo 'make lower-bounds    the quick tests with the oldest dependencies that pyproject.toml admits'
	@echo 'make release-check   whether what is committed can be released'
	@echo 'make mlflow   the pages of the recorded runs      [RUNS=runs PORT=5000]'
	@echo 'make clean    removes $(VENV)/ and caches, never runs/'
	@echo
	@echo 'Each installs what it needs into $(VENV)/ first, with PYTHON=$(PYTHON).'

tune: $(VENV)/.installed
	$(IN_ENV) -m dmu_search tune task=polymusic data.corpus=$(CORPUS) search.trials=$(TRIALS) training.max_epochs=$(EPOCHS) $(ARGS)

music: EPOCHS := 60
music: BEST   := search_spaces/best/polymusic/dmu-d1.yaml
music: $(VENV)/.installed
	$(IN_ENV) -m dmu_search train config=$(BEST) training.replicas=1 training.max_epochs=$(EPOCHS) \
		tracking.uri=none output_dir=$(RUNS)
	$(IN_ENV) -m dmu_search generate config=$(BEST) output_dir=$(RUNS) $(ARGS)

reproduce-small: $(VENV)/.installed
	$(IN_ENV) -m dmu_search reproduce short=true records=docs/results output_dir=$(RUNS)/small $(ARGS)

report: $(VENV)/.installed
	$(IN_ENV) -m dmu_search report records=docs/results report_dir=docs/results \
		output_dir=docs/results $(ARGS)

test: $(VENV)/.installed-test
	$(IN_ENV) -m pytest $(ARGS)

lint: $(VENV)/.installed-dev
	$(IN_ENV) -m ruff format --check .
	$(IN_ENV) -m ruff check .
	$(IN_ENV) -m mypy

docs: $(VENV)/.installed-docs
	NO_MKDOCS_2_WARNING=1 $(IN_ENV) -m mkdocs build --strict --site-dir '$(SITE)'
	@echo 'open $(SITE)/index.html'

lower-bounds:
	PYTHON='$(PYTHON)' bash .ci/lower-bounds $(ARGS)

release-check: $(VENV)/.installed-dev
	bash .ci/release-check $(IN_ENV)

mlflow: $(VENV)/.installed
	bash mlflow/serve '$(RUNS)' $(PORT)

clean:
	rm -rf $(VENV) build dist site .mypy_cache .pytest_cache .ruff_cache
	find dmu_search docs tests -type d -name __pycache__ -prune -exec rm -rf {} +

# A stamp is written last, so that an installation that failed is tried again.
$(VENV)/.installed: EXTRAS :=
$(VENV)/.installed-test: EXTRAS := [test]
$(VENV)/.installed-dev: EXTRAS := [test,dev]
$(VENV)/.installed-docs: EXTRAS := [docs]
$(VENV)/.installed $(VENV)/.installed-test $(VENV)/.installed-dev $(VENV)/.installed-docs: pyproject.toml constraints.txt
	@'$(PYTHON)' -c '' || \
	    { echo "error: $(PYTHON) cannot be run; name a Python 3.11 or newer with PYTHON=.." >&2; exit 2; }
	@'$(PYTHON)' -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "error: $$('$(PYTHON)' --version 2>&1) is too old, dmu_search needs 3.11 or newer;" \
	        "name another with PYTHON=.." >&2; exit 2; }
	@'$(PYTHON)' -c 'import ensurepip, venv' 2>/dev/null || \
	    { echo "error: $(PYTHON) cannot make environments; install its module venv" \
	        "(Debian and Ubuntu: apt install python3-venv)" >&2; exit 2; }
	'$(PYTHON)' -m venv $(VENV)
	$(IN_ENV) -m pip install --constraint constraints.txt --editable '.$(EXTRAS)'
	@touch $@
