# Two commands do all their own set-up on a fresh machine:
#   make quickstart   install, compress a small model, print the result and where its report is
#   make test         install, lint, check types, run the tests
# Settings: PYTHON (the interpreter the environment is made with), VENV (where it is made), RECIPE (what quickstart
# applies), JOBS (processes that it trains with, side by side), MUTANTS (that fuzz tries).

PYTHON ?= python3
VENV ?= .venv
RECIPE ?= recipes/quickstart.yaml
JOBS ?= 2
MUTANTS ?= 10000

BIN := $(VENV)/bin
# Byte code is made when a module is first imported: making all of it would take longer than the installing.
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: quickstart test lint types unit fuzz fuzz-kills benchmark install install-dev clean help

help:
	@sed -n '2,6s/^# \{0,1\}//p' Makefile

quickstart: install
	@$(BIN)/prunekit apply $(RECIPE) --jobs $(JOBS)

test: lint types unit

lint: install-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install-dev
	$(BIN)/mypy

unit: install-dev
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

# As many mutants, dealt out to recipes, overrides, parts, data, models and runs: other ones each time.
fuzz: install-dev
	PRUNEKIT_MUTANTS=$(MUTANTS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest --timeout 0 --hypothesis-show-statistics \
	  tests/fuzz/test_mutants.py

# Kills a small run so often, at random moments, and compares what it ends with: KILLS=100 SEED=1
KILLS ?= 100
fuzz-kills: install-dev
	$(BIN)/python tests/fuzz/kill.py --kills $(KILLS) $(if $(SEED),--seed $(SEED))

benchmark: install-dev
	$(BIN)/python -m pytest -m benchmark tests/benchmarks

install: $(VENV)/.installed
install-dev: $(VENV)/.installed-dev

# torch goes first and alone: the tested build is then there, and nothing later asks for another one.
$(VENV)/.torch: constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 10) <= v < (3, 14) else \
	  "prunekit needs Python 3.10 to 3.13, and %s is %d.%d: choose another with PYTHON=..." % (sys.executable, *v))'
	@test -x $(BIN)/python || { echo "making the environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "installing torch"
	@$(PIP) install --no-compile --constraint constraints.txt torch
	@touch $@

$(VENV)/.installed: $(VENV)/.torch pyproject.toml
	@echo "installing prunekit"
	@$(PIP) install --no-compile --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.torch pyproject.toml
	@echo "installing prunekit and its development tools"
	@$(PIP) install --no-compile --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache
