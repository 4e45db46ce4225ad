# SPDX-FileCopyrightText: netpolicy.host contributors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# `make setup` once, `make test` for everything. Needs git, make and Python 3.11; on Debian 12, as root, it gets the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Ansible refuses to start in an environment without UTF-8.
export LC_ALL := C.UTF-8
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/build/collections

tools := tests/tools
collection := build/collections/ansible_collections/netpolicy/host
pytest := .venv/bin/python -m pytest

# Fast ones first.
STEPS ?= lint unit sanity-2.19 units-2.19 sanity-2.21 units-2.21 differential integration
SCENARIO ?= memcached

.PHONY: help
help: ## this list
	@sed -nE 's/^([a-z.0-9-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

# -- Preparation

.PHONY: setup packages venvs link lock clean
setup: packages venvs link ## Debian packages, virtual environments and the collection's link; does what is missing

packages:
	@$(tools)/install_debian_packages.sh $(tools)/debian_packages.txt

# 3: this machine has no Python for the newest ansible-core, which is no reason not to work with the other.
venvs:
	@$(tools)/venv.sh .venv tests/requirements/core-2.19.txt 3.11 3.12 3.13
	@$(tools)/venv.sh .venv-2.21 tests/requirements/core-2.21.txt 3.13 3.14 3.12 || [ $$? -eq 3 ]

link: ## build/collections, where Ansible and Python find the checkout under the collection's name
	@mkdir -p $(dir $(collection))
	@ln -sfn ../../../.. $(collection)

lock: venvs ## new releases of the tools, into tests/requirements/*.txt
	$(tools)/lock_requirements.sh .venv/bin/python tests/requirements/core-2.19.in
	$(tools)/lock_requirements.sh .venv-2.21/bin/python tests/requirements/core-2.21.in

clean: ## remove what make made
	rm -rf build .venv .venv-2.21

# -- Checks

.PHONY: lint lint-python lint-types lint-licences lint-changelog lint-docs lint-yaml lint-ansible lint-artefact format
lint: lint-python lint-types lint-licences lint-changelog lint-yaml lint-docs lint-ansible lint-artefact ## every linter (-k: do not stop at the first)

lint-python: venvs
	ruff check .
	ruff format --check --diff .

# What runs on the managed host is checked for the oldest Python that mypy knows; the tests on Python 3.9 see the rest.
lint-types: venvs link
	mypy --python-version 3.10 $(collection)/plugins/modules $(collection)/plugins/module_utils
	mypy --python-version 3.11 $(collection)/plugins tests

lint-licences: venvs
	reuse lint

lint-changelog: venvs
	antsibull-changelog lint

lint-yaml: venvs
	yamllint --strict .

lint-docs: venvs
	antsibull-docs lint-collection-docs --plugin-docs --validate-collection-refs self --disallow-unknown-collection-refs .

lint-ansible: venvs link
	ANSIBLE_HOME=$(CURDIR)/build/ansible ansible-lint --nocolor

lint-artefact: venvs
	ANSIBLE_HOME=$(CURDIR)/build/ansible $(tools)/check_artefact.sh

format: venvs ## let ruff format the code and correct what it can
	ruff check --fix .
	ruff format .

# -- Tests

.PHONY: unit sanity units differential integration soak test
unit: venvs link ## tests/unit, on one Python
	$(pytest) tests/unit

# ansible-test: each Python that a controller or a managed host may have, on the oldest and the newest ansible-core.
sanity: sanity-2.19 sanity-2.21 ## ansible-test sanity
units: units-2.19 units-2.21 ## ansible-test units

.PHONY: sanity-2.19 sanity-2.21 units-2.19 units-2.21
sanity-2.19: venvs
	$(tools)/ansible_test.sh .venv sanity "3.9 3.10 3.11 3.12 3.13"

sanity-2.21: venvs
	$(tools)/ansible_test.sh .venv-2.21 sanity "3.9 3.10 3.11 3.12 3.13 3.14"

# Between the two of them, and `unit`, every Python once.
units-2.19: venvs
	$(tools)/ansible_test.sh .venv units "3.9 3.10"

units-2.21: venvs
	$(tools)/ansible_test.sh .venv-2.21 units "3.12 3.13 3.14"

differential: setup ## tests/differential: the real kernel against the reference
	$(pytest) tests/differential

integration: setup ## tests/integration: playbooks against the laboratory
	$(pytest) tests/integration

.PHONY: integration-2.21
integration-2.21: setup ## the same on the newest ansible-core
	@if [ -d .venv-2.21 ]; then \
	  PATH=$(CURDIR)/.venv-2.21/bin:$$PATH .venv-2.21/bin/python -m pytest tests/integration; \
	else \
	  echo "SKIPPED: no Python for .venv-2.21"; \
	fi

soak: setup ## the tests against the kernel that run for minutes
	$(pytest) -m soak tests/differential tests/integration

test: setup ## all of it; STEPS="lint unit" for some
	@$(tools)/run_steps.sh $(STEPS)

# -- To look at

.PHONY: demo bench bench-docs
demo: setup ## a laboratory with SCENARIO=memcached, to look at
	.venv/bin/python -m tests.lab.demo --scenario $(SCENARIO)

bench: setup ## the benchmarks, or BENCH="raw sets"; BENCH_JSON=FILE keeps the figures of raw
	PYTHONPATH=build/collections .venv/bin/python -m tests.bench $(if $(BENCH_JSON),--json $(BENCH_JSON)) $(BENCH)

bench-docs: venvs link ## docs/performance.md and docs/raw-path.svg anew from docs/raw-path.json
	.venv/bin/python -m tests.bench.page docs/raw-path.json docs/performance.md
	.venv/bin/python -m tests.bench.plot docs/raw-path.json docs/raw-path.svg
