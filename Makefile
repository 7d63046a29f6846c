# Two commands do everything on a fresh machine: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
PROOFS := build/proofs
PYTEST = $(BIN)/pytest --proofs=$(PROOFS)
ORDINARY = "not hostile and not cluster and not soak and not alone"
BESIDE = tests/docs tests/integration tests/contract tests/property
# Runs last: it holds what the cluster's tests asked for against what the operator may do.
RIGHTS = tests/cluster/test_rights.py
BED = PYTHONPATH=tests $(BIN)/python -m cluster.bed

.PHONY: help setup demo check test cluster cluster-down cluster-soak bench golden docs clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(VENV)/.ready ## Make .venv with the command line at .venv/bin/batchyard
	@# Where Python may write no bytecode, each start of the command line would compile it anew.
	@$(BIN)/python -m compileall -q operator/batchyard

$(VENV)/.ready: pyproject.toml requirements.lock tools/make-venv.sh
	@PYTHON="$(PYTHON)" tools/make-venv.sh "$(VENV)"
	@touch $@

demo: setup ## Run the example and show which variant wins
	@DEMO="$$(mktemp -d)"; trap 'rm -rf "$$DEMO"' EXIT; \
	set -e; mkdir -p build; \
	$(BIN)/batchyard run examples/docs_search/batchtest.yaml --store "$$DEMO/demo.db" --report build/report.html; \
	echo; echo "The audit trail of this run:"; \
	$(BIN)/batchyard audit verify docs-search --store "$$DEMO/demo.db"; \
	echo; echo "The report, to open in a browser: build/report.html"; \
	echo; $(BIN)/batchyard show docs-search --store "$$DEMO/demo.db" | tail -n 1

check: setup ## Format, lint, types, layers
	$(BIN)/ruff format --check operator tests examples benchmarks tools
	$(BIN)/ruff check operator tests examples benchmarks tools
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_tree.py

test: check ## Everything that must pass before a change lands
	@rm -rf $(PROOFS); mkdir -p build
	@$(MAKE) --no-print-directory -j2 .test-beside .test-cluster-alone
	$(PYTEST) -n 2 --dist worksteal -m $(ORDINARY) $(BESIDE:%=--ignore=%) $(PYTEST_ARGS)
	$(PYTEST) -m "alone and not cluster" $(PYTEST_ARGS)
	$(PYTEST) -m "hostile and not cluster" $(PYTEST_ARGS)
	$(PYTEST) -n 3 -m "cluster and not alone" tests/cluster $(PYTEST_ARGS)
	$(PYTEST) $(RIGHTS) $(PYTEST_ARGS)
	$(BIN)/python tools/original_design.py check $(PROOFS)

# What has the cluster to itself waits most of its time, and one process of other tests leaves it enough.
.PHONY: .test-beside .test-cluster-alone
.test-beside:
	$(PYTEST) -m $(ORDINARY) $(BESIDE) $(PYTEST_ARGS)

.test-cluster-alone:
	@{ $(BED) up --if-possible && \
	$(PYTEST) -m "cluster and alone" tests/cluster --ignore=$(RIGHTS) $(PYTEST_ARGS); } > build/cluster-alone.log 2>&1; \
	ended=$$?; cat build/cluster-alone.log; exit $$ended

cluster: setup ## Bring up, or repair, the Kubernetes of the tests
	@$(BED) up

cluster-down: setup ## Stop it; what was built is kept
	@$(BED) down

cluster-soak: cluster ## Break, load and measure the cluster; half an hour
	$(BIN)/pytest -m soak tests/cluster $(PYTEST_ARGS)

bench: setup ## Measure against peers, side by side; minutes
	$(BIN)/python benchmarks/run.py

golden: setup ## Write the generated files anew; read the diff
	$(BIN)/python tools/golden.py

docs: golden ## Build the documentation's site into build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean: ## Remove what setup made
	rm -rf $(VENV) build dist operator/batchyard.egg-info
