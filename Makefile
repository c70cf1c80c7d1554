PYTHON ?= python3
VENV := .venv
ISA ?= native
RUN := $(VENV)/bin/python -m

.PHONY: repro test lint bench preset-%

repro: $(VENV)/ready            ## download, fine-tune, quantize, evaluate, time, compare, export
	$(RUN) stages.commands.repro

test: $(VENV)/ready-dev lint    ## linters, unit tests, then the pipeline in throw-away repositories
	$(RUN) pytest tests/unit
	$(RUN) pytest tests/pipeline

bench: $(VENV)/ready-bench      ## the race against every peer; ISA=avx2 hides what this CPU has more
	$(RUN) bench --isa $(ISA) $(ARGS)

lint: $(VENV)/ready-dev
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

preset-%: $(VENV)/ready         ## write the settings of presets/<name>.yaml into params.yaml
	$(RUN) stages.commands.preset $*

$(VENV)/ready: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; set PYTHON=")'
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/ready-dev: $(VENV)/ready requirements-dev.txt
	$(VENV)/bin/python -m pip install --quiet -r requirements-dev.txt
	touch $@

$(VENV)/ready-bench: $(VENV)/ready requirements-bench.txt
	$(VENV)/bin/python -m pip install --quiet -r requirements-bench.txt
	touch $@
