# The commands of this project; people and CI use the same ones.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := runs/demo

.DEFAULT_GOAL := help
.PHONY: help install demo test check format bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/.installed  ## make the virtual environment (about 5 GB: torch with CUDA libraries)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else f"Python 3.11 or later is needed; $(PYTHON) is {sys.version.split()[0]}: make PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: install  ## prepare the embedded corpus, train two models on it side by side, compare them (10 minutes)
	$(BIN)/asr-prepare embedded $(DEMO)/data
	@$(MAKE) --no-print-directory --jobs 2 demo-grid_lstm demo-stacked_lstm
	$(BIN)/asr test $(DEMO)/stacked_lstm
	$(BIN)/asr test $(DEMO)/grid_lstm
	$(BIN)/asr compare $(DEMO)/grid_lstm $(DEMO)/stacked_lstm --picture $(DEMO)/comparison.png \
		--groups data_prep/embedded/voices.tsv
	$(BIN)/asr report $(DEMO)/grid_lstm $(DEMO)/stacked_lstm --groups data_prep/embedded/voices.tsv \
		-o $(DEMO)/report.html

demo-%:  # one thread each: small products gain nothing from a second one
	OMP_NUM_THREADS=1 $(BIN)/asr fit -c configs/demo/$*.yaml

test: install  ## run the tests (ten to fifteen minutes on two cores)
	OMP_NUM_THREADS=1 $(BIN)/pytest -n 2 $(PYTEST_OPTIONS)

check: install  ## lint, types and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install  ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: install  ## time the Grid LSTM's engines beside nn.LSTM; count the models' parameters and multiply-adds
	$(BIN)/asr bench grid
	$(BIN)/asr models configs/*.yaml

clean:  ## remove the virtual environment (runs/ is left alone)
	rm -rf $(VENV)
