# Copyright (c) 2026, memqos.fleet contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The targets that people use carry "##" and a line of help; `make help` prints them.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

# ---- The environment -------------------------------------------------------------------------------------------------
# A stamp stands for an installed set of requirements: what is installed is not asked of pip again.

COLLECTIONS := build/collections
COLLECTION := $(COLLECTIONS)/ansible_collections/memqos/fleet
PYTHON := .venv/bin/python
PIP_INSTALL := -m pip install --quiet --disable-pip-version-check

# Scripts in a virtual environment carry its path: after the checkout has moved, or its Python has gone, it is made anew.
ifneq ($(file <.venv/where)|$(and $(wildcard $(PYTHON)),here),$(CURDIR)|here)
STALE := forget-venv
endif

.PHONY: forget-venv
forget-venv:
	@rm -rf .venv

.venv/.audit: requirements/audit.txt requirements/constraints.txt $(STALE)
	@echo "Setting up .venv with ansible-core and plotly (once)"
	@[ -x $(PYTHON) ] || { python=$$(tests/tools/find-python.sh) && "$$python" -m venv .venv; }
	@$(PYTHON) $(PIP_INSTALL) -r requirements/audit.txt
	@printf '%s' '$(CURDIR)' >.venv/where
	@touch $@

.venv/.test: requirements/test.txt .venv/.audit
	@echo "Setting up the tests' requirements in .venv (once)"
	@$(PYTHON) $(PIP_INSTALL) -r requirements/test.txt
	@touch $@

$(COLLECTION):
	@mkdir -p $(@D)
	@ln -sfn ../../../.. $@

# Programs of .venv and real interpreters come before shims: ansible-test takes the first python3.X in PATH for what it says to be.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/$(COLLECTIONS)$(if $(ANSIBLE_COLLECTIONS_PATH),:$(ANSIBLE_COLLECTIONS_PATH))

# ---- The audit -------------------------------------------------------------------------------------------------------

REPORT ?= build/report
FORKS ?= 20
BUNDLER := roles/audit/files/memqos_bundle.py
is_bundle = $(filter %.tar.gz,$(if $(INVENTORY),,$(ROOT)))
tree = $(if $(is_bundle),build/bundles/$(notdir $(is_bundle:.tar.gz=)),$(ROOT))
on_fleet = -i '$(INVENTORY)'
on_this_machine = -i localhost, -c local -e '{"ansible_python_interpreter": "$(CURDIR)/$(PYTHON)"}'

audit: export ANSIBLE_FORKS = $(FORKS)
audit: export ANSIBLE_PIPELINING = True
audit: export ANSIBLE_GATHERING = explicit
audit: export ANSIBLE_PYTHON_INTERPRETER = auto_silent
audit: export ANSIBLE_LOCALHOST_WARNING = False
audit: export ANSIBLE_INVENTORY_UNPARSED_WARNING = False
audit: export ANSIBLE_DEPRECATION_WARNINGS = False

.PHONY: audit
audit: .venv/.audit | $(COLLECTION) ## Audit this machine. INVENTORY=hosts.yml LIMIT=pool_a: a fleet. ROOT=node.tar.gz: a bundle, or a captured tree. FORKS, ARGS, REPORT.
	@$(if $(is_bundle),mkdir -p build/bundles && rm -rf '$(tree)' && $(PYTHON) $(BUNDLER) --unpack '$(ROOT)' '$(tree)')
	@inventory='$(INVENTORY)' root='$(tree)'; \
	if [ -n "$$inventory" ] && [[ "$$inventory" != *,* ]] && [ ! -e "$$inventory" ]; then echo "There is no inventory $$inventory" >&2; exit 1; fi; \
	if [ -n "$$root" ] && [ -z "$$inventory" ] && [ ! -d "$$root/proc" ]; then echo "$$root is no captured tree: it has no directory proc" >&2; exit 1; fi
	@ansible-playbook memqos.fleet.audit $(if $(INVENTORY),$(on_fleet),$(on_this_machine)) $(if $(LIMIT),--limit '$(LIMIT)') \
	  -e '{"memqos_report_dir": "$(abspath $(REPORT))"}' $(if $(ROOT),-e '{"memqos_root": "$(abspath $(tree))"}') $(ARGS)

NODE ?=
OUT ?= node.tar.gz

.PHONY: bundle
bundle: ## Capture this machine, or NODE=root@host, for `make audit ROOT=node.tar.gz`, without personal data. OUT=node.tar.gz, ARGS=--hash-names.
	@$(if $(NODE),ssh '$(NODE)') python3 - $(ARGS) <$(BUNDLER) >'$(OUT).partial' || { rm -f '$(OUT).partial'; exit 1; }
	@mv '$(OUT).partial' '$(OUT)'

# ---- The tests -------------------------------------------------------------------------------------------------------
# Each leaves JUnit files in build/junit/TARGET; tests/tools/run_steps.py runs them one after the other and counts.

CORE ?=
SCENARIO ?=
MACHINE ?=
JUNIT := build/junit
NOX := nox --no-error-on-missing-interpreters --reuse-existing-virtualenvs --no-install
NODE_PYTHONS ?= 3.8 3.9 3.10 3.11 3.12 3.13

TEST_SCENARIOS := default debian12_v1 containers

.PHONY: test
test: .venv/.test ## Everything that the CI runs: lint, sanity, units, whole audits, browser, three kinds of VM.
	@NODE_PYTHONS='3.8 3.9 3.11' $(PYTHON) tests/tools/run_steps.py --beside test-images lint sanity units node-units integration integration-targets browser bench-redis-smoke $(addprefix molecule-,$(TEST_SCENARIOS))

.PHONY: nightly
nightly: .venv/.test ## `make test` with a kill at every write of swap, sanity on every supported ansible-core, all scenarios.
	@MEMQOS_EVERY_KILL=1 $(PYTHON) tests/tools/run_steps.py lint sanity-all units node-units integration integration-targets browser faults crash shrinking swap-lab chaos contention bench-redis $(addprefix molecule-,$(SCENARIOS))

.nox/.stamp: requirements/constraints.txt requirements/audit.txt antsibull-nox.toml noxfile.py
	@rm -rf .nox && mkdir .nox && touch $@

.PHONY: lint
lint: .venv/.test .nox/.stamp | $(COLLECTION) ## Formatting, ruff, yamllint, mypy, docs, licenses, ansible-lint, changelog, generated pages.
	@CI=true $(NOX) -s lint docs-check license-check extra-checks ansible-lint changelog generated

.PHONY: format
format: .venv/.test .nox/.stamp ## Format the Python files.
	@CI=false $(NOX) -s formatters

.PHONY: docs
docs: .venv/.test | $(COLLECTION) ## Make the generated pages anew.
	@for tool in tests/tools/make_*.py; do PYTHONPATH=$(COLLECTIONS) $(PYTHON) $$tool; done

.PHONY: alerts
alerts: .venv/.test | $(COLLECTION) ## Make examples/prometheus/memqos.rules.yml anew, from the critical rules.
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) tests/tools/make_alerts.py

ANSIBLE_TEST := tests/tools/ansible_test.py --junit
OWN_PYTHON = $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
CORE_PYTHONS_2.18 := 3.13 3.12 3.11
CORE_PYTHONS_2.19 := 3.13 3.12 3.11
CORE_PYTHONS_2.20 := 3.13 3.12
CORE_PYTHONS_2.21 := 3.13 3.12

.cache/core-%/.ready: requirements/core-%.txt requirements/constraints.txt
	@rm -rf $(@D)
	@python=$$(tests/tools/find-python.sh $(CORE_PYTHONS_$*)) || { echo "ansible-core $* needs one of Python $(CORE_PYTHONS_$*)" >&2; exit 1; }; "$$python" -m venv $(@D)
	@$(@D)/bin/python $(PIP_INSTALL) -r $<
	@touch $@

.PHONY: sanity
sanity: $(if $(CORE),.cache/core-$(CORE)/.ready,.venv/.test) ## ansible-test sanity. CORE=2.18: with this ansible-core.
	@$(if $(CORE),.cache/core-$(CORE)/bin/python,$(PYTHON)) $(ANSIBLE_TEST) $(JUNIT)/sanity$(CORE) sanity --venv --color no

.PHONY: sanity-all
sanity-all: ## ansible-test sanity on ansible-core 2.18 to 2.21.
	@failed=0; for core in 2.18 2.19 2.20 2.21; do $(MAKE) sanity CORE=$$core || failed=1; done; exit $$failed

.PHONY: units
units: .venv/.test ## All unit tests, by ansible-test, on the controller's Python.
	@$(PYTHON) $(ANSIBLE_TEST) $(JUNIT)/units units --venv --color no --python $(OWN_PYTHON)

.PHONY: node-units
node-units: .venv/.audit | $(COLLECTION) ## Unit tests of node code on Python 3.8 to 3.13, as far as they are here. That of .venv is left out: `make units` has it. NODE_PYTHONS="3.9": these.
	@tests/tools/node-units.sh $(JUNIT)/node-units $(filter-out $(OWN_PYTHON),$(NODE_PYTHONS))

# Programs that the tests run themselves; none of it is installed.
PROGRAMS := build/programs

.PHONY: integration
integration: .venv/.test | $(COLLECTION) ## Whole audits on this machine: the built archive, the example fleet, Prometheus, vendor kernels as a file system.
	@tests/tools/debian-packages.sh git systemd fuse3
	@tests/tools/debian-programs.sh $(PROGRAMS) prometheus prometheus-node-exporter
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m pytest -q -p no:cacheprovider --numprocesses auto --dist loadfile --junit-xml=$(JUNIT)/integration/integration.xml tests/integration

.PHONY: integration-targets
integration-targets: .venv/.test ## The modules as tasks of plays, by ansible-test.
	@$(PYTHON) $(ANSIBLE_TEST) $(JUNIT)/integration-targets integration --venv --color no --python $(OWN_PYTHON)

# What the lab needs.
LAB_PACKAGES := qemu-system-x86 qemu-utils mmdebstrap busybox-static cpio kmod e2fsprogs zstd openssh-client
MACHINES ?=

.PHONY: fixtures
fixtures: .venv/.test | $(COLLECTION) ## Make the unit tests' captured nodes anew, in VMs. MACHINES="debian13_v2": only these.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) tests/tools/refresh_fixtures.py $(MACHINES)

.PHONY: browser
browser: .venv/.test | $(COLLECTION) ## Drive report.html in headless Chromium.
	@tests/tools/debian-packages.sh chromium
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m pytest -q -p no:cacheprovider --numprocesses auto --dist loadfile --junit-xml=$(JUNIT)/browser/browser.xml tests/browser

.PHONY: screenshots
screenshots: .venv/.test | $(COLLECTION) ## Make the pictures of report.html in docs/images anew.
	@tests/tools/debian-packages.sh chromium
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) tests/tools/screenshots.py

.PHONY: test-images
test-images: .venv/.test ## Build the disk images of the scenarios of `make test`.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@$(PYTHON) tests/lab build $(foreach one,$(TEST_SCENARIOS),$$(sed -n 's/^ *machine: *//p' molecule/$(one)/molecule.yml))

SCENARIOS := $(sort $(patsubst molecule/%/molecule.yml,%,$(wildcard molecule/*/molecule.yml)))

.PHONY: molecule
molecule: $(addprefix molecule-,$(or $(SCENARIO),$(SCENARIOS))) ## All scenarios in VMs, one after the other; SCENARIO=default: one. MACHINE=ours: on a machine of your own.

.PHONY: $(addprefix molecule-,$(SCENARIOS))
$(addprefix molecule-,$(SCENARIOS)): molecule-%: .venv/.test | $(COLLECTION)
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@$(PYTHON) tests/lab build $(or $(MACHINE),$$(sed -n 's/^ *machine: *//p' molecule/$*/molecule.yml))
	@$(if $(MACHINE),MEMQOS_LAB_MACHINE='$(MACHINE)' )molecule test --scenario-name $*

PROFILE ?=
PROFILES ?=
MACHINE ?=
BUNDLE ?=
SECONDS ?=
ROUNDS ?=

.PHONY: lab
lab: .venv/.audit | $(COLLECTION) ## What a profile does to a VM under load: PROFILE=colocated [MACHINE=debian13_v2] [BUNDLE=node.tar.gz] [PROFILES=dir] [SECONDS=15] [ROUNDS=3].
	@[ -n '$(PROFILE)' ] || { echo "make lab needs PROFILE=NAME; docs/profiles.md lists the built-in ones" >&2; exit 1; }
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m ansible_collections.memqos.fleet.tests.lab.effect --profile '$(PROFILE)' $(if $(PROFILES),--profiles '$(PROFILES)') \
	  $(if $(MACHINE),--machine '$(MACHINE)') $(if $(BUNDLE),--bundle '$(BUNDLE)') $(if $(SECONDS),--seconds '$(SECONDS)') $(if $(ROUNDS),--rounds '$(ROUNDS)') \
	  --more='$(ARGS)'

ONLY ?=

.PHONY: faults
faults: .venv/.test | $(COLLECTION) ## Seed faults, each in a VM of its own, and see that the audit names them first. ONLY=N36, or a glob of names: some.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m ansible_collections.memqos.fleet.tests.lab.faults --junit $(JUNIT)/faults/faults.xml $(if $(ONLY),--only '$(ONLY)')

SEED ?=
RUNS ?=
FAULT ?=
drawn = $(if $(SEED),--seed '$(SEED)') $(if $(RUNS),--runs '$(RUNS)')

.PHONY: crash
crash: .venv/.test | $(COLLECTION) ## Cut tunes short by kills, power cuts, full disks and more, in two VMs, and see that all or nothing is left. ONLY='kill*', MACHINE=: some.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m ansible_collections.memqos.fleet.tests.lab.crash --junit $(JUNIT)/crash/crash.xml $(if $(ONLY),--only '$(ONLY)') \
	  $(if $(MACHINE),--machine '$(MACHINE)')

.PHONY: shrinking
shrinking: .venv/.test | $(COLLECTION) ## Set limits below what is in use, 200 times, in VMs: no kill. RUNS=, SEED=, MACHINE=: others.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m ansible_collections.memqos.fleet.tests.lab.shrink --junit $(JUNIT)/shrinking/shrinking.xml $(drawn) $(if $(MACHINE),--machine '$(MACHINE)')

.PHONY: swap-lab
swap-lab: .venv/.test | $(COLLECTION) ## Swap of a tune on real kernels: made, found after a reboot, refused, taken back. MACHINE=debian12_v1: one of both.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m ansible_collections.memqos.fleet.tests.lab.swap --junit $(JUNIT)/swap-lab/swap.xml $(if $(MACHINE),--only '$(MACHINE)')

.PHONY: chaos
chaos: .venv/.test | $(COLLECTION) ## Runs of a tune with a fault in each: all or nothing, no OOM kill. RUNS=1000, SEED=N ONLY=debian12_v1: again, FAULT=kill.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m ansible_collections.memqos.fleet.tests.lab.chaos --junit $(JUNIT)/chaos/chaos.xml $(drawn) \
	  $(if $(ONLY),--only '$(ONLY)') $(if $(FAULT),--fault '$(FAULT)')

.PHONY: contention
contention: .venv/.test | $(COLLECTION) ## Two controllers, a human, TuneD and daemon-reloads at once; and strace on the modules. RUNS=100, SEED=N.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m ansible_collections.memqos.fleet.tests.lab.chaos.contention --junit $(JUNIT)/contention/contention.xml $(drawn)

ARMS ?=
PAIRS ?=
SCENES ?=
LOADS ?=
RESUME ?=

.PHONY: bench-redis
bench-redis: .venv/.test | $(COLLECTION) ## Redis beside batch work: arms in alternated pairs, in a VM, for hours; writes docs/results.md. ARMS=untouched,colocated PAIRS=2 SCENES=hog LOADS=mixed: some. RESUME=1: go on.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m ansible_collections.memqos.fleet.tests.lab.redis --junit $(JUNIT)/bench-redis/redis.xml $(if $(ARMS),--arms '$(ARMS)') \
	  $(if $(PAIRS),--pairs '$(PAIRS)') $(if $(SCENES),--scenes '$(SCENES)') $(if $(LOADS),--loads '$(LOADS)') $(if $(RESUME),--resume)

.PHONY: bench-redis-smoke
bench-redis-smoke: .venv/.test | $(COLLECTION) ## The same with two arms, two pairs and short windows, and without goals.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) -m ansible_collections.memqos.fleet.tests.lab.redis --smoke --out build/bench-redis-smoke --junit $(JUNIT)/bench-redis-smoke/redis.xml

.PHONY: benchmark
benchmark: .venv/.test | $(COLLECTION) ## Speed: pairs in one run, ratios printed. An hour: one of them tunes a VM.
	@tests/tools/debian-packages.sh $(LAB_PACKAGES)
	@PYTHONPATH=$(COLLECTIONS) $(PYTHON) tests/benchmark

# ---- The artifact ----------------------------------------------------------------------------------------------------

.PHONY: build
build: .venv/.audit ## Build the collection's archive into build/.
	@ansible-galaxy collection build --force --output-path build

.PHONY: clean
clean: ## Remove what the targets above made.
	@rm -rf .venv .cache .nox .ansible build tests/output

.PHONY: help
help: ## This list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done
