# Everything a person or CI runs. `make` alone lists it.

PYTHON ?= python3

# Tools come from the clone first: its Python, and its Node where the machine has none.
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# A spinning OpenMP thread starves its neighbours a hundredfold on a busy machine.
export OMP_WAIT_POLICY := PASSIVE
export GOMP_SPINCOUNT := 0
export ROWEN_MODELS_DIR := $(CURDIR)/models

# Not npx: its launcher exits 0 when a test fails.
FORGE := cd contracts && node tools/foundry forge
PYTEST := pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow contracts-long check fix bench soak abuse lock clean distclean

help: ## List the commands
	@echo "Needs Python 3.11 to 3.13 and make. Everything else is fetched, pinned, into this directory."
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Fetch everything (done by the others when needed)
	@$(PYTHON) tools/setup.py

demo: setup ## An owner, a developer and an auditor on this machine, with a real model and chain
	@rowen demo

# The bytecode that is shipped is what is tested, and its gas is compared with the committed snapshot.
test test-slow: export ROWEN_SHIPPED := true
test test-slow: export FORGE_SNAPSHOT_CHECK := true

test: setup ## Contract tests, then every Python test that is not slow
	$(FORGE) test --summary
	$(PYTEST)

test-slow: setup ## The slow tier too: more seeds, more kill points, long simulations
	$(FORGE) test --summary
	$(PYTEST) -m "slow or not slow"

contracts-long: setup ## Coverage, static analysis, proofs, mutants and long fuzzing of the contracts; TOOLS=halmos runs one
	@python -m tools.assurance $(TOOLS)

check: setup ## Format, lint, types, layers, house rules
	ruff format --check .
	ruff check .
	mypy
	lint-imports --no-logo
	pytest -q tests/test_tidy.py tests/test_layers.py
	$(FORGE) fmt --check src test script assurance
	$(FORGE) lint src

fix: setup ## Format, and mend what lint can mend
	ruff check --fix .
	ruff format .
	$(FORGE) fmt src test script assurance

bench: setup ## Measure, as ratios against a baseline run on the same machine
	@python -m benchmarks

soak: setup ## Ten minutes of 64 paid streams: ledger, memory, latency (MINUTES=2 for less)
	@python -m benchmarks.soak --minutes $(or $(MINUTES),10)

abuse: setup ## What one abusive peer costs the others' streams; ATTACKS="pings jobs" for some
	@python -m benchmarks.abuse $(ATTACKS)

lock: ## Resolve requirements/ anew; `make lock UPGRADE=--upgrade` lifts every version
	@$(PYTHON) tools/lock.py $(UPGRADE)

clean: ## Remove what tests and builds left
	rm -rf build dist htmlcov .coverage* .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -rf contracts/out contracts/cache contracts/out-ship contracts/cache-ship contracts/broadcast
	find node scheduler tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean ## Remove what setup fetched, too
	rm -rf .venv .setup models contracts/node_modules tests/interop/node_modules
