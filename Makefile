# make demo    watch a site work: emulated inverter, meter and battery on real protocol frames (DURATION_S, SUMMARY, REPORT)
# make test    prove it: style, types, import contracts, tests
# make bench   the figures
# make mutate  break each line of gate, rules and engine, and see whether a test notices (half an hour; ROOM=gate for one)
# make matrix  every datum of every device going wrong, in every state of a site (some minutes)
# make sweep   kill the controller at every step of a cycle, cut and flip its journal at every byte (some minutes)
# make campaign  random faults by seed (SEEDS=200 JOBS=2; an hour or more)
# make lint | docs | clean
# Needs Python 3.11 or newer and nothing else; everything is installed into .venv (PYTHON=... picks another one).

DURATION_S ?= 60
SUMMARY ?=
REPORT ?= out/demo.html

newest = 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	command -v $$p >/dev/null 2>&1 && $$p -c $(newest) 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-input

SEEDS ?= 200
JOBS ?= 2
ROOM ?=

.PHONY: demo test lint bench mutate matrix sweep campaign docs clean
.NOTPARALLEL:

demo: .venv/.hil
	@mkdir -p $(dir $(REPORT)) $(if $(SUMMARY),$(dir $(SUMMARY)))
	@$(BIN)/linepack-hil demo --duration-s $(DURATION_S) $(if $(SUMMARY),--summary $(SUMMARY)) --report $(REPORT)

test: lint
	@echo "== tests"
	@$(BIN)/python -m pytest

lint: .venv/.test
	@echo "== style"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== types"
	@$(BIN)/mypy
	@echo "== contracts"
	@$(BIN)/lint-imports --no-logo

bench: .venv/.bench
	@$(BIN)/python -m hil.bench

mutate: .venv/.test
	@$(BIN)/python -m tests.mutation --jobs $(JOBS) $(if $(ROOM),--room $(ROOM))

matrix: .venv/.test
	@LINEPACK_MATRIX=all $(BIN)/python -m pytest -q tests/test_data_matrix.py

sweep: .venv/.hil
	@$(BIN)/python -m hil.run.sweep

campaign: .venv/.hil
	@$(BIN)/linepack-hil campaign --seeds $(SEEDS) --jobs $(JOBS) --site profiles/sites/home.toml

docs: .venv/.hil
	@$(BIN)/python -m controller.app.docs README.md
	@$(BIN)/python -m hil.docs hil/README.md
	@if [ -f out/demo.json ]; then $(BIN)/linepack-hil picture hil/picture.svg --summary out/demo.json; else \
		echo "README's picture is kept; make demo SUMMARY=out/demo.json docs draws it anew"; fi

clean:
	rm -rf .venv out build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/.hil .venv/.test .venv/.bench: .venv/.%: pyproject.toml | $(BIN)/python
	@echo "installing Linepack for $* into .venv (a minute or two the first time)"
	@$(PIP) -e '.[$*]'
	@touch $@

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Linepack needs Python 3.11 or newer; none was found. Install it (Debian 12:" \
		"apt-get install python3) or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c $(newest) || { echo "$(PYTHON) is older than Python 3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv: installing the package python3-venv"; \
		if [ "$$(id -u)" = 0 ]; then root=; else root=sudo; fi; \
		$$root apt-get update -qq && $$root apt-get install -qq -y python3-venv >/dev/null || { \
		echo "that did not work; run: apt-get install python3-venv"; exit 1; }; }
	@echo "making .venv with $$($(PYTHON) --version)"
	@rm -rf .venv && $(PYTHON) -m venv .venv
