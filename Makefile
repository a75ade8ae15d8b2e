# make run      install into .venv and start the gateway on the embedded default
# make test     install what the tests need, and run them all
# make check    style, types, import directions, generated files
# make generate write the generated files again
# make bench    measure beside peers, and write docs/performance.md; a part of it: make bench BENCH_ARGS="--quick"
# make torture  every crash point, 1,000 power failures, 10,000 kills under load, and what is left of the mail

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TOOLS := $(VENV)/.tools

.PHONY: run test check generate bench torture servers clean

run: $(INSTALLED)
	$(BIN)/mailsluice serve

test: $(TOOLS) servers
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.project.generated --check

generate: $(TOOLS)
	$(BIN)/python -m tests.project.generated

bench: $(TOOLS) servers
	$(BIN)/python -m pip install --quiet --group bench
	$(BIN)/python -m tests.bench $(BENCH_ARGS)

torture: $(TOOLS) servers
	$(BIN)/python -m tests.torture.crashpoints
	$(BIN)/python -m tests.torture.power_loss
	$(BIN)/python -m tests.torture $(TORTURE_ARGS)

servers: $(TOOLS)
	$(BIN)/python -m tests.servers.install

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Mailsluice needs Python 3.11 or newer; say which with PYTHON=…")'
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1' # the first that knows dependency groups
	$(BIN)/python -m pip install --quiet --editable '.[all]'
	touch $@

$(TOOLS): $(INSTALLED) pyproject.toml
	$(BIN)/python -m pip install --quiet --group test --group check --group build
	touch $@

clean:
	rm -rf $(VENV) .cache dist
