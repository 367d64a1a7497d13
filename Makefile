# The two commands of the README are `make demo` and `make test`; both install what they need and can be repeated.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# By trying, not by name: a version manager's shim may answer to a name that it cannot run.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)
BUILD  := build
VENV   := $(BUILD)/venv
BIN    := $(VENV)/bin
# Several tests at once, each worker with fixtures of its own; what one has begun last is given to whoever is free. Half
# again as many as there are cores, since a test that waits for a timeout or a process leaves its core idle.
WORKERS  := $(shell n=$$(($$(nproc) * 3 / 2)); echo $$((n < 8 ? n : 8)))
PARALLEL := -n $(WORKERS) --dist worksteal

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/.stamp: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c "import ensurepip" 2>/dev/null || scripts/system-packages
	@echo "== Python environment in $(VENV) (about a minute, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@

venv: $(VENV)/.stamp ## the Python environment of all other targets

# Two workers with guests: each boots two of its own, and one guest at work keeps one core busy. A file stays on one worker,
# as its tests share what is installed; the longest files come first (tests/e2e/conftest.py).
test: venv system-packages kerberos collections ## every test but the nightly ones, real guests included (some 35 minutes on 2 cores without KVM)
	@echo "== 1/3 Tests that need no guest"
	$(BIN)/pytest $(PARALLEL) -m 'not guest and not nightly'
	@echo "== 2/3 Tests on real guests: two workers, two VMs each"
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -v -m 'guest and not nightly' tests/e2e
	@echo "== 3/3 Molecule: the whole flow, and customization"
	PATH=$(abspath $(BIN)):$$PATH scripts/molecule -s default -s customize

# A test is nightly when what it promises is tested in `make test` as well, smaller or on another way, and it takes its time.
nightly: venv system-packages kerberos collections ## what make test leaves out: great sizes, bundles, all Molecule scenarios
	$(BIN)/pytest $(PARALLEL) -m 'nightly and not guest'
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder -v -m 'nightly and guest' tests/e2e
	PATH=$(abspath $(BIN)):$$PATH scripts/molecule

quick: venv collections ## the tests that need no guest
	$(BIN)/pytest $(PARALLEL) -m 'not guest and not slow'

lint: venv collections ## ruff, mypy, ansible-lint, ansible-test sanity, changelog, generated pages, documentation of plugins
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -q tests/architecture
	scripts/generated --check
	PATH=$(abspath $(BIN)):$$PATH scripts/ansible-lint
	$(BIN)/antsibull-changelog lint
	scripts/plugin-docs
	scripts/sanity

sanity-all: venv ## ansible-test sanity on the oldest ansible-core that is supported and on the newest that installs here
	scripts/sanity-all

docs: venv ## the documentation site, in build/docs/html
	scripts/docs

collections: venv ## other people's collections that ours calls or is measured with, in build/collections
	@scripts/collections

$(VENV)/.kerberos: $(VENV)/.stamp | system-packages
	@$(BIN)/pip install --quiet --editable '.[kerberos]' && touch $@ || echo "== Kerberos cannot be built here: its tests are skipped"

kerberos: $(VENV)/.kerberos ## Kerberos for WinRM in that environment; the tests of it are skipped without

MITOGEN := $(BUILD)/peers/mitogen
$(MITOGEN)/.stamp: | venv
	@echo "== Peer of the benchmarks: mitogen in $(MITOGEN)"
	@rm -rf $(MITOGEN)
	$(BIN)/pip install --quiet --no-deps --no-compile --target $(MITOGEN) 'mitogen==0.3.54'
	@touch $@

bench: venv system-packages collections $(MITOGEN)/.stamp ## every benchmark; a table, and build/bench.json
	$(BIN)/python -m bench

dist: venv ## the collection's tarball and the wheel, in build/dist
	scripts/dist

bundle: venv ## for sites without a network: collections, wheels, checksums, bill of materials; PYTHONS="3.11 3.12 3.13" MACHINE=x86_64
	@$(BIN)/python scripts/bundle.py --out $(BUILD)/dist $(if $(PYTHONS),--python $(PYTHONS)) $(if $(MACHINE),--machine $(MACHINE))

newcomer: venv system-packages collections ## the README followed literally in an empty Debian; root; GUESTS=1 boots VMs as well
	@$(BIN)/python -m tests.newcomer $(if $(GUESTS),--guests)

release: venv ## tarball, wheel and bundle in build/release, judged as users get them; refuses what does not agree
	@$(BIN)/python scripts/release.py

clean: ## remove build/ (the guest image stays in the user's cache)
	rm -rf $(BUILD)

.PHONY: help venv kerberos test nightly quick lint sanity-all docs collections bench dist bundle newcomer release clean

# -- Real VMs -------------------------------------------------------------------------------------------------------

DEMO := $(BUILD)/demo

system-packages: ## what apt must install for real VMs, tests and benchmarks; nothing when all is there
	@scripts/system-packages

image: venv system-packages ## the guest image of the lab, in the user's cache
	@$(BIN)/openngt lab image

demo: system-packages dist ## two VMs from nothing to a proven link; KEEP=1 leaves them running
	@$(BIN)/python -m openngt_service.lab.demo --directory $(DEMO) --dist $(BUILD)/dist $(if $(KEEP),--keep)

demo-down: venv ## end what make demo KEEP=1 left running
	@$(BIN)/python -m openngt_service.lab.demo --directory $(DEMO) --dist $(BUILD)/dist --down

.PHONY: system-packages image demo demo-down
