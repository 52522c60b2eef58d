# make demo · make test · make browser-test · make screens · make bench · make fuzz · make simulate · make drills · make docs · make openapi · make pins
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What runs; with what tests and documents; and what generates a client, in an environment of its own.
RUNS := $(VENV)/runs
READY := $(VENV)/ready
GENERATOR := $(VENV)/client
# What drives a browser.
BROWSER := $(VENV)/browser
PIP := -m pip install --quiet --disable-pip-version-check
ARGS ?=
WORKERS ?= 2
BENCH ?= .gridloop-bench

.PHONY: demo test check browser-test screens bench fuzz simulate drills docs openapi pins clean

demo: $(RUNS)
	$(BIN)/gridloop demo $(ARGS)

test: check $(GENERATOR)/ready
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# The pages in a real Chromium, which has to be installed: on Debian apt-get install chromium fonts-wqy-microhei
browser-test: $(BROWSER)
	$(BIN)/python -m pytest tests/browser $(ARGS)

# Pictures of every page in a folder: on a desktop, on a phone, in the dark, and on paper; with ARGS='build/screens docs/images' also those of the documents.
screens: $(BROWSER)
	$(BIN)/python -m tests.browser.screens $(or $(ARGS),build/screens)

# The sync path, a day of the city, and reads, also over 1 and 14 million visits: some half an hour and 25 GB of disk the first time.
# What was filled stays in the folder BENCH for the next time; ARGS go to the first, as '--rounds 1 --large 0' for a quick look.
bench: $(READY)
	$(BIN)/python -m tests.bench.sync --keep $(BENCH) --large 14000000 $(ARGS)
	$(BIN)/python -m tests.bench.day --keep $(BENCH)
	$(BIN)/python -m tests.bench.reads --keep $(BENCH)
	$(BIN)/python -m tests.bench.fairness
	$(BIN)/python -m tests.bench.check --keep $(BENCH)
	$(BIN)/python -m tests.bench.log_rewrite --keep $(BENCH)
	$(BIN)/python -m tests.bench.roster_import

# Requests made up from the OpenAPI document, ten minutes for each of three roles.
fuzz: $(READY)
	FUZZ_SECONDS=600 FUZZ_EXAMPLES=500 FUZZ_ODD_EXAMPLES=2000 $(BIN)/python -m pytest -n $(WORKERS) tests/fuzz $(ARGS)

# Thousands of seeded histories.
simulate: $(READY)
	$(BIN)/gridloop simulate $(or $(ARGS),--seeds 2000)

# Real faults, each with a table of what was answered and what was kept, and one of all; under 20 minutes. ARGS names some; some need root.
drills: $(READY)
	$(BIN)/python -m tests.drills $(ARGS)

# The site of docs/ in build/site; a broken link is an error (not with --quiet, which hides it). ARGS go to mkdocs.
docs: $(READY)
	$(BIN)/python scripts/wrap_docs.py --check
	$(BIN)/python -m mkdocs build --strict $(ARGS)
	@echo "The site lies in build/site; open build/site/index.html."

openapi: $(READY)
	$(BIN)/gridloop openapi

# Writes requirements/*.txt anew from pyproject.toml, with hashes and without any address.
pins: $(READY)
	$(BIN)/python scripts/pins.py

$(RUNS): requirements/run.txt requirements/build.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Gridloop needs Python 3.11 or newer; $(PYTHON) is older or missing. Name another: make PYTHON=python3.11 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "$(PYTHON) lacks the module venv; install it (on Debian: the package python3-venv)."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python $(PIP) --require-hashes -r requirements/run.txt -r requirements/build.txt
	$(BIN)/python $(PIP) --no-deps --no-build-isolation --no-index -e .
	@touch $(RUNS)

$(READY): $(RUNS) requirements/dev.txt requirements/docs.txt
	$(BIN)/python $(PIP) --require-hashes -r requirements/dev.txt -r requirements/docs.txt
	@touch $(READY)

$(BROWSER): $(READY) requirements/browser.txt
	$(BIN)/python $(PIP) --require-hashes -r requirements/browser.txt
	@touch $(BROWSER)

$(GENERATOR)/ready: $(RUNS) requirements/client.txt
	$(PYTHON) -m venv $(GENERATOR)
	$(GENERATOR)/bin/python $(PIP) --require-hashes -r requirements/client.txt
	@touch $(GENERATOR)/ready

clean:
	rm -rf $(VENV) .gridloop .gridloop-demo $(BENCH) .pytest_cache .mypy_cache .ruff_cache *.egg-info build
