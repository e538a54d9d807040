# What can be done here, on a machine with git, make and Python 3.11 or newer: `make help`.
# Written for every make since GNU make 3.81, for any shell, and for a folder with spaces in its name.

# The interpreter to build with; "": python3 where that is new enough, else the newest there is.
PYTHON  ?=
# The environment, and what is installed into it; .ci/run has others beside it.
VENV    ?= .venv
LOCK    ?= requirements/dev.lock
# pytest's processes: as many as there are cores, and at most four.
WORKERS ?= auto
# What else to say to pytest: make test ARGS='-k pointer'
ARGS    ?=

BIN    = $(VENV)/bin
READY  = $(VENV)/ready
FIND   = sh tools/find-python $(if $(PYTHON),"$(PYTHON)")
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist worksteal
# Where the quick tests have their repositories: in memory, where there is a disk of it with room,
# since half of their time would be spent waiting for flushes. The slow ones use a real disk.
MEMORY = $$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 && $$4 > 4000000 { print "/dev/shm" }')

# An environment that was moved, or whose interpreter is gone, is not ready however new it is.
IS_READY := $(shell test -x "$(BIN)/python" && head -n 1 "$(READY)" 2>/dev/null)
ifneq ($(IS_READY),$(CURDIR)/$(VENV))
STALE = stale
endif

.DEFAULT_GOAL := help
.PHONY: help demo azurite test test-slow test-all reliability lint fmt bench bench-quick dvc lock clean stale

help:       ## show this
	@sed -n 's/^\([a-z-]*:\)[^#]*## /\1 /p' Makefile | while IFS=: read -r name what; do \
	    printf '  make %-12s %s\n' "$$name" "$${what# }"; done

demo: $(READY)        ## watch a commit come back, byte for byte, in a repository of its own
	@$(BIN)/python tools/demo.py

test: $(READY)        ## the tests that take minutes at most (ARGS='-k word' for some of them)
	PYTEST_DEBUG_TEMPROOT="$(MEMORY)" $(PYTEST) -m 'not slow' $(ARGS)

# What stands for Azure's storage is npm's; where there is no npm, what asks it is skipped.
azurite:
	@sh tools/azurite build/azurite

test-slow: $(READY) azurite ## the others, with all the servers that they ask
	TEST_SERVERS=required $(PYTEST) -m slow $(ARGS)

test-all: $(READY) azurite ## all tests, with all the servers that they ask
	TEST_SERVERS=required $(PYTEST) $(ARGS)

reliability: $(READY) ## try what goes wrong, and write down in docs/ how often it was survived
	$(PYTEST) --reliability=docs/reliability.md tests $(ARGS)

lint: $(READY)        ## style, types, and who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo --cache-dir .ruff_cache/importlinter

fmt: $(READY)         ## mend what the lint can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY)       ## measure against DVC, and write down what came out
	$(BIN)/python benchmarks/run.py $(ARGS)

bench-quick: $(READY) ## the same, smaller
	$(BIN)/python benchmarks/run.py --quick $(ARGS)

dvc: $(READY)         ## save this project's own data: what its pre-commit entry calls
	@$(BIN)/mlrepro track

lock:                 ## write the lock files anew (UPGRADE=1: with the newest versions)
	@UPGRADE='$(UPGRADE)' sh tools/lock "$$($(FIND))"

clean:                ## remove what can be made again, environments included
	rm -rf .venv .venv-* .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find benchmarks config src tests tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# Made by whoever comes first, when two run at once; done in milliseconds when nothing changed but
# the files' times, as after a checkout.
$(READY): $(LOCK) requirements/build.lock pyproject.toml tools/bootstrap.py $(STALE)
	@python="$$($(FIND))" && "$$python" tools/bootstrap.py "$(VENV)" "$(LOCK)"
