# ModelBridge. `make` alone lists what can be made. Everything is kept in .venv/ and instance/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test clients torture coverage mutants bench bench-quick check audit fix pictures lock upgrade clean

# What the shell has set for another Python must not reach ours.
unexport PYTHONHOME PYTHONPATH VIRTUAL_ENV

PYTHON := .venv/bin/python
INSTALL := $(PYTHON) -m pip --disable-pip-version-check install -qq --only-binary :all: --require-hashes
JOBS ?= 2

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: .venv/run-ready ## set up and serve on http://127.0.0.1:8000 (PORT=9000 for another port)
	@$(if $(PORT),MODELBRIDGE_PORT=$(PORT)) exec $(PYTHON) app.py

test: check ## set up, check and run every test (ARGS="-k limit" for some; JOBS=4 for more at once)
	@echo "== tests"
	@$(PYTHON) -m pytest -n $(JOBS) $(ARGS)

# Each set of clients has an environment of its own, which no test of the bridge itself needs.
CLIENTS := $(addprefix build/clients/,$(addsuffix /ready,python litellm node))

clients: $(CLIENTS) ## install the clients that tests/clients drives (1.3 GB; with -j3 all at once)

torture: .venv/torture-ready ## the long runs of docs/reliability.md: hours (ARGS=short, ARGS="kills=20")
	@cd tests && PYTHONPATH=.. ../$(PYTHON) -m torture $(ARGS)

# The books, prices and the bound on input, and the tests that hold them.
MONEY := modelbridge/ledger/*,modelbridge/money.py,modelbridge/catalog/prices.py,modelbridge/gateway/bounds.py
MONEY_TESTS := $(addprefix tests/test_,$(addsuffix .py,money bounds prices windows books books_in_sets holds history quotes))

coverage: .venv/test-ready ## branch coverage of the books, prices and the bound: all of it
	@$(PYTHON) -m coverage run -m pytest $(MONEY_TESTS)
	@$(PYTHON) -m coverage report --include='$(MONEY)' --show-missing --fail-under=100

mutants: .venv/torture-ready ## small mistakes in the same code, to be noticed (ARGS="money every=5" for some)
	@cd tests && PYTHONPATH=.. ../$(PYTHON) -m torture.mutants $(ARGS)

bench: .venv/test-ready ## measure beside LiteLLM, Portkey, MLflow and nginx (half an hour; see bench/run.py)
	@$(PYTHON) bench/run.py $(ARGS)

bench-quick: .venv/test-ready ## the same in five minutes, with fewer streams
	@$(PYTHON) bench/run.py --quick --rounds 2 $(ARGS)

check: .venv/test-ready ## lint, format, types and floors, without the tests
	@echo "== lint"
	@$(PYTHON) -m ruff check .
	@echo "== format"
	@$(PYTHON) -m ruff format --check .
	@echo "== types"
	@$(PYTHON) -m mypy
	@echo "== floors"
	@$(PYTHON) -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

audit: .venv/test-ready ## look for known faults in packages, insecure calls and committed secrets
	@PYTHONPATH=. $(PYTHON) tests/audit.py

fix: .venv/test-ready ## format, and mend what the linter can mend
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

# Taken by the tests of the pages, with what those put into the bridge.
pictures: .venv/test-ready ## take the README's pictures anew
	@$(PYTHON) -m pytest -q -n 0 tests/browser -k "somebody_who_spends or somebody_who_has_many"
	@cp build/screenshots/overview-team-light-1440.png docs/images/overview.png
	@cp build/screenshots/keys-dark-1440.png docs/images/keys.png
	@cp build/screenshots/receipt-light-1440.png docs/images/receipt.png

# Lock files hold for every Python from 3.11 on and name no index. httpx2-jsfetch runs in browsers only.
LOCK = UV_CUSTOM_COMPILE_COMMAND="make lock" .venv/bin/uv pip compile --quiet --universal \
	--python-version 3.11 --generate-hashes --no-emit-package httpx2-jsfetch $(UPGRADE)

lock: .venv/test-ready ## pin what the requirements*.in files ask for
	$(LOCK) requirements.in -o requirements.txt
	$(LOCK) -c requirements.txt requirements-test.in -o requirements-test.txt
	$(LOCK) --no-deps requirements-models.in -o requirements-models.txt
	$(LOCK) --no-deps requirements-torture.in -o requirements-torture.txt
	$(LOCK) tests/clients/requirements-python.in -o tests/clients/requirements-python.txt
	$(LOCK) tests/clients/requirements-litellm.in -o tests/clients/requirements-litellm.txt
	npm install --silent --package-lock-only --omit-lockfile-registry-resolved --prefix tests/clients

upgrade: ## pin the newest of everything
	@$(MAKE) lock UPGRADE=--upgrade

clean: ## remove .venv and what the tools left; instance/ and its data stay
	rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .coverage

# The stamps are newer than the lock files that they were made from, so nothing is installed twice.

.venv/run-ready: requirements.txt | .venv/bin/python
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo ".venv is older than Python 3.11: run \`make clean\`, then this again." >&2; exit 1; }
	@echo "Installing what ModelBridge needs into .venv (under a minute) ..."
	@$(INSTALL) -r requirements.txt
	@touch $@

.venv/test-ready: requirements-test.txt requirements-models.txt .venv/run-ready
	@echo "Installing what the tests need into .venv (a minute or two) ..."
	@$(INSTALL) -r requirements-test.txt
	@$(INSTALL) --no-deps -r requirements-models.txt || { $(if $(CI),exit 1;) \
		echo "No model server for this machine: tests with a real model will be skipped."; }
	@touch $@

.venv/torture-ready: requirements-torture.txt .venv/test-ready
	@echo "Installing tokenizers into .venv/tokenizers (a minute) ..."
	@$(INSTALL) --no-deps --upgrade --target .venv/tokenizers -r requirements-torture.txt
	@touch $@

build/clients/%/ready: tests/clients/requirements-%.txt | .venv/bin/python
	@echo "Installing clients into $(@D) (a minute) ..."
	@$(PYTHON) -m venv --clear $(@D)
	@$(@D)/bin/python -m pip --disable-pip-version-check install -qq --no-compile --only-binary :all: \
		--require-hashes -r $<
	@touch $@

build/clients/node/ready: tests/clients/package.json tests/clients/package-lock.json
	@echo "Installing clients into $(@D) (a minute) ..."
	@mkdir -p $(@D) && cp $^ $(@D)
	@npm ci --silent --no-audit --no-fund --prefix $(@D) </dev/null
	@touch $@

.venv/bin/python:
	@for name in python3.14 python3.13 python3.12 python3.11 python3 python; do \
		$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
		if $$name -c 'import ensurepip, venv' 2>/dev/null; then found=$$name; break; fi; \
		bare=$$name; \
	done; \
	if [ -n "$$found" ]; then \
		echo "Making .venv with $$($$found --version) ..."; $$found -m venv --clear .venv; \
	elif [ -n "$$bare" ]; then \
		echo "$$bare cannot make virtual environments: install its venv package" \
			"(on Debian and Ubuntu: apt-get install python3-venv)." >&2; exit 1; \
	else \
		echo "ModelBridge needs Python 3.11 or newer; none was found" \
			"(python3 is $$(python3 --version 2>&1 | head -n 1))." >&2; exit 1; \
	fi
