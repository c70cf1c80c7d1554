PYTHON ?= python3
VENV := .venv
ISA ?= native
SEED ?= 1
SIZE ?= 500
EACH ?= 600
RUN := $(VENV)/bin/python -m

# What a user gives reaches the programs through the environment, as it was typed: neither make nor
# the shell reads what stands in it ($, quotes, backticks).
GIVEN := MODEL DATA TEXT PAIR LABEL LABELS BUDGET TIME ENCODING DELIMITER QUOTE REMOTE ISA SEED SIZE EACH IN OUT
$(foreach word,$(GIVEN),$(eval override export $(word) := $$(value $(word))))

.PHONY: help repro check score report plots push pull restore test test-fast lint faults fuzz tables bench other-tools preset-%
.DEFAULT_GOAL := help

help:                           ## what there is to make
	@grep -hE '^[a-z%-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z%-]+):.*## /  make \1|/' | column -t -s '|'
	@echo "  presets: $(basename $(notdir $(wildcard presets/*.yaml)))"

repro: $(VENV)/ready            ## the whole pipeline; ends with five lines: what ships, and why
	$(RUN) stages.commands.repro

check: $(VENV)/ready            ## your fine-tuned model, your file: what ships. MODEL= DATA= and more, docs/how_to.md
	@$(RUN) stages.commands.check -- "$$MODEL" "$$DATA" "$$TEXT" "$$PAIR" "$$LABEL" "$$LABELS" "$$BUDGET" "$$TIME" \
		"$$ENCODING" "$$DELIMITER" "$$QUOTE"

report: $(VENV)/ready           ## open the page of each task: verdict, tables, pictures, changed answers
	@$(RUN) stages.commands.report

plots: $(VENV)/ready            ## dvc_plots/index.html, as `dvc plots show` writes it, but for reading offline
	@$(RUN) stages.commands.plots

test: $(VENV)/ready-dev lint    ## linters, unit tests, then the pipeline in throw-away repositories
	$(RUN) pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=20 tests/pipeline tests/unit

test-fast: $(VENV)/ready-dev    ## the unit tests alone, without the slow ones
	$(RUN) pytest tests/unit -m "not slow"

lint: $(VENV)/ready-dev         ## linters and type checker
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) mypy

faults: $(VENV)/ready-dev       ## kills, full disks, two at once, cut networks, flipped bits. SEED= SIZE=
	$(RUN) tests.faults --seed "$$SEED" --size "$$SIZE" --out docs/evidence/faults.json; found=$$?; \
		$(RUN) pytest tests/faults && exit $$found

fuzz: $(VENV)/ready-fuzz        ## every parser of outside bytes, ten minutes each. EACH= seconds
	$(RUN) tests.fuzz all "$$EACH" --out docs/evidence/fuzz.json

score: $(VENV)/ready            ## label a corpus of any size with an export. IN= OUT= MODEL= ARGS=, docs/how_to.md
	@$(RUN) stages.score --model "$$MODEL" $(ARGS) -- "$$IN" "$$OUT"

push: $(VENV)/ready             ## `dvc push`; where it fails, what to set. REMOTE=
	@$(RUN) stages.commands.share push -- "$$REMOTE"

pull: $(VENV)/ready             ## `dvc pull`, the same
	@$(RUN) stages.commands.share pull -- "$$REMOTE"

restore: $(VENV)/ready          ## remove what is damaged, from DVC's cache too, which `dvc checkout` trusts
	@$(RUN) stages.commands.restore

tables: $(VENV)/ready           ## write the tables in README and docs/ anew, from committed results
	$(RUN) stages.commands.write_tables

bench: $(VENV)/ready-bench      ## the race against every peer; ISA=avx2 hides what this CPU has more
	$(RUN) bench --isa "$$ISA" $(ARGS)

other-tools: $(VENV)/ready      ## your fine-tuned model and CSV, here and in Olive and optimum-onnx. MODEL= DATA=
	$(RUN) bench.other_tools -- "$$MODEL" "$$DATA"

preset-%: export PRESET = $*
preset-%: $(VENV)/ready         ## write the settings of presets/<name>.yaml into params.yaml
	$(RUN) stages.commands.preset -- "$$PRESET"

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

$(VENV)/ready-fuzz: $(VENV)/ready-dev requirements-fuzz.txt
	$(VENV)/bin/python -m pip install --quiet -r requirements-fuzz.txt
	touch $@
