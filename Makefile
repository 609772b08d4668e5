# asyncauth: everything a fresh machine with python3 and make needs, set-up included.
#   make demo    the main job: both systems, hundreds of requests a second, faults on the way
#   make quick   lint, and the tests to run after each change: some 60 s
#   make test    all tests but two kinds, with the newest dependencies: make test-fleet: fleets of processes over one store
#                make test-pages: each page of the documentation is run as it is printed
#   make test-newest  all tests on the newest Python that this machine has; make test-py3.12: on another; make test-all-pythons
#   make test-uvloop, test-oldest  what can differ on uvloop, and with the oldest dependencies; ALL=1: all tests
#   make test-modes  the core under python -X dev, -O, asyncio's debug mode, eager tasks, and as on Windows and macOS
#   make coverage  all tests, and fails if a line or a branch was not run (the command line's aside)
#   make fuzz    the fuzz tests with FUZZ times as many examples (default 50: some 10 min)
#   make attack  tries to break each promise of SECURITY.md, and counts: some 4 min; ARGS="--only redirects --seed 7"
#   make soak    short lifetimes and faults at random, and what grows: 5 min; ARGS="--seconds 30 --seed 7"
#                ARGS="--fleet": a Redis that several managers share, with faults at random
#   make recovery  how long callers wait beyond the end of an outage, and what it costs the token endpoint: 3 min
#   make test-browser  the sandbox's page and the documentation in Chromium, some 100 s
#   make mutation  changes each deciding module in every way, to see that a test notices: 15 min of CPU; docs/mutation.md
#   make bench   speed beside other libraries: results/ in benchmarks/; QUICK=1: what is counted alone, < 1 min
#   make measure  how large the package is, and how much of it a cold token() passes through
#   make docs    the documentation, to docs/_build/html; make pictures makes its pictures anew
#   make dist    the wheel and the sdist, in dist/, checked; make extras: the wheel with each extra alone
#   make audit   bandit on the package; make audit-dependencies: known vulnerabilities, from an advisory service
#   make lint    ruff, and the words of all prose; make subjects: the subjects of commits; make format: ruff, and it changes what it can; make types: mypy and pyright
#   make check   what CI runs: all tests on the newest Python, uvloop, the oldest dependencies, the modes, lint, audit, types,
#                docs, the wheel with each extra; each environment is made at the same time as the others
PYTHON ?= python3
VENV := .venv
OLDEST := .venv-oldest
# The Pythons that asyncauth is tested on, the newest first. Those of OTHER_PYTHONS only where the machine has them.
PYTHONS := 3.13 3.12 3.11
OTHER_PYTHONS := 3.14 3.14t 3.13t
NEWEST := $(firstword $(foreach version,$(PYTHONS),$(if $(shell scripts/find_python.sh $(version)),$(version))))
BENCH := .venv-bench
# Where an environment has its programs: Windows has a name of its own for it.
PROGRAMS := $(if $(filter Windows_NT,$(OS)),Scripts,bin)
BIN := $(VENV)/$(PROGRAMS)
EXTRAS := cli,crypto,file,httpx,keyring,otel,redis,testing
# Much of the tests' time is waiting: five at once, on two cores.
PARALLEL ?= -n 5 --dist worksteal
# The fleets' tests do little else: they watch servers fail, and come back.
PARALLEL_FLEETS ?= -n 5 --dist worksteal
# tests/README.md says why nothing is lost where these are left out.
SAME_ON_UVLOOP := attack fuzz property integration/test_cli_*.py integration/test_docs*.py integration/test_examples_queues.py \
	integration/test_hostile_processes.py integration/test_pytest_plugin.py unit/test_cli_page.py unit/test_documents.py
SAME_ON_OLDEST := attack fuzz property soak unit/test_core_*.py integration/test_docs*.py integration/test_fleet*.py \
	integration/test_other_systems.py integration/test_cli_demo_fleet.py integration/test_hostile_processes.py
without = $(foreach path,$(1),--ignore-glob='$(CURDIR)/tests/$(path)')
PIP_FLAGS := --quiet --disable-pip-version-check
# Compiled once, not by each of the hundreds of processes that tests start, nor by each of pytest's own.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo quick test test-fleet test-pages test-newest test-all-pythons test-uvloop test-oldest test-modes test-browser fuzz attack soak recovery audit audit-dependencies lint subjects types docs pictures dist extras mutation measure bench environments computed check format coverage clean

help:
	@sed -n 's/^#   //p' Makefile

# Each environment is made when missing, and made up to date when pyproject.toml changes.
$(VENV)/.ready: pyproject.toml requirements/newest.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP_FLAGS) --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install $(PIP_FLAGS) --upgrade --editable '.[$(EXTRAS)]' --group dev --constraint requirements/newest.txt
	touch $@

$(OLDEST)/.ready: pyproject.toml requirements/oldest.txt
	test -x $(OLDEST)/$(PROGRAMS)/python || $(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/$(PROGRAMS)/python -m pip install $(PIP_FLAGS) --upgrade 'pip>=25.1'
	$(OLDEST)/$(PROGRAMS)/python -m pip install $(PIP_FLAGS) --upgrade --editable '.[$(EXTRAS)]' --group test --constraint requirements/oldest.txt
	touch $@

.PRECIOUS: .venv-py%/.ready
.venv-py%/.ready: pyproject.toml requirements/newest.txt
	test -x .venv-py$*/$(PROGRAMS)/python || $$(scripts/find_python.sh $*) -m venv .venv-py$*
	.venv-py$*/$(PROGRAMS)/python -m pip install $(PIP_FLAGS) --upgrade 'pip>=25.1'
	.venv-py$*/$(PROGRAMS)/python -m pip install $(PIP_FLAGS) --upgrade --editable '.[$(EXTRAS)]' --group test --constraint requirements/newest.txt
	touch $@

demo: $(VENV)/.ready
	$(BIN)/asyncauth demo $(ARGS)

# What is in it: tests/quick.args. Little of it waits.
quick: PARALLEL := -n 2 --dist worksteal
quick: lint
	ASYNCAUTH_EXAMPLES=20 ASYNCAUTH_RUNS=3 $(BIN)/python -m pytest $(PARALLEL) --hypothesis-profile=quick @tests/quick.args $(ARGS)

test: $(VENV)/.ready
	$(BIN)/python -m pytest $(PARALLEL) -m "not fleet and not pages" $(ARGS)

test-pages: $(VENV)/.ready
	$(BIN)/python -m pytest $(PARALLEL) -m pages tests/integration $(ARGS)

# Redis comes from the system's packages where it is missing (as root, on Debian and its like).
test-fleet: $(VENV)/.ready
	scripts/install_redis.sh
	$(BIN)/python -m pytest $(PARALLEL_FLEETS) -m fleet tests/integration $(ARGS)

# All tests on one Python: make test-py3.12.
test-py%: .venv-py%/.ready
	$(MAKE) suite-py$*
	$(MAKE) fleet-py$*

suite-py%: .venv-py%/.ready
	.venv-py$*/$(PROGRAMS)/python -m pytest $(PARALLEL) -m "not fleet" $(ARGS)

fleet-py%: .venv-py%/.ready
	.venv-py$*/$(PROGRAMS)/python -m pytest $(PARALLEL_FLEETS) -m fleet tests/integration $(ARGS)

test-newest: test-py$(NEWEST)

test-all-pythons: $(PYTHONS:%=test-py%)
	for version in $(OTHER_PYTHONS); do \
		if scripts/find_python.sh $$version >/dev/null; then $(MAKE) test-py$$version || exit; \
		else echo "not tested on Python $$version, which this machine lacks"; fi; done

test-uvloop: .venv-py$(NEWEST)/.ready
	.venv-py$(NEWEST)/$(PROGRAMS)/python -m pytest $(PARALLEL) --loop=uvloop $(if $(ALL),,-m "not fleet" $(call without,$(SAME_ON_UVLOOP))) $(ARGS)

test-oldest: $(OLDEST)/.ready
	$(OLDEST)/$(PROGRAMS)/python -m pytest $(PARALLEL) $(if $(ALL),,$(call without,$(SAME_ON_OLDEST))) $(ARGS)

# python -X dev (with asyncio's debug mode) and -O as their variables, which reach the processes that pytest-xdist starts. Under -O pytest runs the
# asserts of tests all the same, but not those of kits. What macOS lacks has nothing to do with that: one run for both.
CORE := .venv-py$(NEWEST)/$(PROGRAMS)/python -m pytest $(PARALLEL) --quiet @tests/core.args $(ARGS)
test-modes: .venv-py$(NEWEST)/.ready
	PYTHONDEVMODE=1 PYTHONASYNCIODEBUG=1 $(CORE)
	PYTHONOPTIMIZE=1 ASYNCAUTH_TESTS_AS=macos $(CORE) -W ignore::pytest.PytestConfigWarning
	$(CORE) --eager
	ASYNCAUTH_TESTS_AS=windows $(CORE)

# Some minutes of short lifetimes and faults at random: requests that failed and need not have, and what grows.
soak: $(VENV)/.ready
	PYTHONPATH=tests:tests/integration $(BIN)/python -W error tests/soak/soak_run.py $(ARGS)

# How long callers wait beyond the end of an outage, and what it costs the endpoint: three minutes.
recovery: $(VENV)/.ready
	PYTHONPATH=tests:tests/integration $(BIN)/python tests/soak/recovery_run.py $(ARGS)

# Every class of attack, many times: SECURITY.md's table. It fails if one broke through.
attack: $(VENV)/.ready
	PYTHONPATH=tests:tests/integration:tests/fuzz $(BIN)/python tests/attack/attack_run.py $(ARGS)

# What it finds goes to tests/fuzz/corpus, see tests/fuzz/test_fuzz_corpus.py.
fuzz: export FUZZ ?= 50
fuzz: $(VENV)/.ready
	$(BIN)/python -m pytest $(PARALLEL) --timeout 7200 --hypothesis-show-statistics tests/fuzz $(ARGS)

# Chromium comes from the system's packages where it is missing (as root, on Debian and its like).
# One browser for all of them: no second process.
test-browser: $(VENV)/.ready
	scripts/install_chromium.sh
	$(BIN)/python -m pytest -p no:xdist tests/browser $(ARGS)

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python scripts/check_prose.py

# The subjects of the commits since a revision: make subjects SINCE=main.
SINCE ?= origin/main
subjects: $(VENV)/.ready
	$(BIN)/python scripts/check_subjects.py $(SINCE)

# What is excused is in pyproject.toml, each with its reason.
audit: $(VENV)/.ready
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive asyncauth pytest_asyncauth.py

# Needs an advisory service on the network: .github/workflows/audit.yml runs it, `make check` does not.
audit-dependencies: $(VENV)/.ready
	$(BIN)/python scripts/install_group.py audit $(PIP_FLAGS)
	$(BIN)/pip-audit --skip-editable --progress-spinner off

types: $(VENV)/.ready
	$(BIN)/mypy
	$(BIN)/pyright

# The wheel and the sdist, in dist/, and what is in them.
dist: $(VENV)/.ready
	$(BIN)/python scripts/check_dist.py

# The wheel alone, and with each extra alone, in a new environment each.
extras: dist
	$(BIN)/python scripts/check_extras.py

# Every warning is an error. Nothing is fetched: what other projects' pages are called is kept in docs/inventories.
docs: $(VENV)/.ready
	rm -rf docs/_build
	$(BIN)/sphinx-build --fail-on-warning --nitpicky --quiet --builder html docs docs/_build/html
	$(BIN)/python scripts/check_site.py

pictures: $(VENV)/.ready
	$(BIN)/python docs/pictures/draw.py
	scripts/install_chromium.sh
	$(BIN)/python scripts/pictures.py

# Cosmic Ray is nobody's but this target's.
mutation: $(VENV)/.ready
	$(BIN)/python scripts/install_group.py mutation $(PIP_FLAGS)
	$(BIN)/python scripts/mutation.py $(ARGS)

measure: $(VENV)/.ready
	$(BIN)/python scripts/measure.py

$(BENCH)/.ready: pyproject.toml
	test -x $(BENCH)/$(PROGRAMS)/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/$(PROGRAMS)/python -m pip install $(PIP_FLAGS) --upgrade 'pip>=25.1'
	$(BENCH)/$(PROGRAMS)/python -m pip install $(PIP_FLAGS) --upgrade --editable '.[file,redis]'
	$(BENCH)/$(PROGRAMS)/python scripts/install_group.py bench $(PIP_FLAGS) --upgrade
	touch $@

bench: $(BENCH)/.ready
	$(BENCH)/$(PROGRAMS)/python -m benchmarks $(if $(QUICK),--quick) $(ARGS)

# Makes several targets at once, each with its output in one piece where make can do that.
AT_ONCE = $(MAKE) $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)

environments: $(VENV)/.ready .venv-py$(NEWEST)/.ready $(OLDEST)/.ready $(BENCH)/.ready

# What is one process that computes. The tests of fleets mostly wait, so it runs beside them.
computed: types audit docs extras

check:
	$(AT_ONCE) --jobs 4 environments
	$(MAKE) lint
	$(MAKE) suite-py$(NEWEST)
	$(AT_ONCE) --jobs 2 fleet-py$(NEWEST) computed
	$(MAKE) test-uvloop
	$(MAKE) test-oldest
	$(MAKE) test-modes

format: $(VENV)/.ready
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# All tests, and each line and branch outside the command line's: [tool.coverage] in pyproject.toml. Processes that
# tests start count as well, wherever they run, so the path is absolute. It takes two thirds more time than `make test`.
coverage: export COVERAGE_FILE := $(CURDIR)/.coverage/data
coverage: $(VENV)/.ready
	rm -rf .coverage && mkdir .coverage
	$(BIN)/coverage run -m pytest $(PARALLEL) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

clean:
	rm -rf $(VENV) .venv-py* $(OLDEST) $(BENCH) build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage
