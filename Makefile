# `make` prints the targets. Everything runs in .venv; the cluster's own folder is .serin/cluster.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CLUSTER := $(BIN)/python -m tests.cluster

.PHONY: help
help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' $(MAKEFILE_LIST) | while read -r name text; do printf '%-15s %s\n' "$$name" "$$text"; done

.PHONY: venv
venv: $(BIN)/.ready ## make .venv with the package and all that its development needs

$(BIN)/.ready: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

.PHONY: cluster
cluster: venv ## start a Kubernetes cluster with one real node (root; the first time builds Kubernetes: minutes)
	$(CLUSTER) up

.PHONY: control-plane
control-plane: venv ## start only a control plane, with a simulated node (no root)
	$(CLUSTER) up --level control-plane

.PHONY: cluster-down
cluster-down: venv ## stop the cluster and remove all of it
	$(CLUSTER) down

.PHONY: cluster-status
cluster-status: venv ## say which components of the cluster run
	$(CLUSTER) status

.PHONY: kubeconfig
kubeconfig: venv ## print the path of the cluster's kubeconfig
	@$(CLUSTER) kubeconfig

.PHONY: kind
kind: venv ## make a cluster with kind instead, where Docker runs
	$(CLUSTER) kind

.PHONY: lint
lint: venv ## format check, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: venv ## run all tests (clusters start when a test needs them)
	$(BIN)/pytest

COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --custom-compile-command 'make lock'

.PHONY: lock
lock: venv ## write the lock files anew after a change of dependencies (keeps what is locked; UPGRADE=1 takes newer ones)
	$(COMPILE) --universal --python-version 3.11 $(if $(UPGRADE),--upgrade) --excludes operator/not-in-image.txt \
	    pyproject.toml -o operator/requirements.txt
	$(COMPILE) --universal --python-version 3.11 $(if $(UPGRADE),--upgrade) --extra dev \
	    pyproject.toml -o tests/requirements.txt
	$(COMPILE) --python-version 3.11 --python-platform linux $(if $(UPGRADE),--upgrade) \
	    tests/e2e/models/requirements.in -o tests/e2e/models/requirements.txt
