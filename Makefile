# `make` prints the targets. Everything runs in .venv; the cluster's own folder is .serin/cluster.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
CLUSTER_COMMAND := $(BIN)/python -m tests.cluster
# Three processes side by side, on two cores: most tests wait more than they compute.
PROCESSES ?= 3
# Every test that starts a program would compile all of Serin anew.
unexport PYTHONDONTWRITEBYTECODE
# A run can be repeated: what is played at random on the simulated cluster follows the order of sets, too.
export PYTHONHASHSEED ?= 0
PYTEST  := $(BIN)/pytest --numprocesses=$(PROCESSES) --dist=loadscope --max-worker-restart=0 --budget

.PHONY: help
help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' $(MAKEFILE_LIST) | while read -r name text; do printf '%-15s %s\n' "$$name" "$$text"; done

.PHONY: venv
venv: $(BIN)/.ready ## make .venv with the package and all that its development needs

$(BIN)/.ready: pyproject.toml tests/requirements.txt
	@echo "serin: installing locked Python packages into $(VENV) (a minute the first time)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	sed -n '/^uv==/,/[^\\]$$/p' tests/requirements.txt > $(VENV)/uv.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement $(VENV)/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes --requirement tests/requirements.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

.PHONY: cluster
cluster: venv ## start a Kubernetes cluster with one real node (root; the first time builds Kubernetes: minutes)
	$(CLUSTER_COMMAND) up

.PHONY: control-plane
control-plane: venv ## start only a control plane, with a simulated node (no root)
	$(CLUSTER_COMMAND) up --level control-plane

.PHONY: cluster-down
cluster-down: venv ## stop the cluster and remove all of it
	$(CLUSTER_COMMAND) down

.PHONY: cluster-status
cluster-status: venv ## say which components of the cluster run
	$(CLUSTER_COMMAND) status

.PHONY: kubeconfig
kubeconfig: venv ## print the path of the cluster's kubeconfig
	@$(CLUSTER_COMMAND) kubeconfig

.PHONY: kind
kind: venv ## make a cluster with kind instead, where Docker runs
	$(CLUSTER_COMMAND) kind

.PHONY: demo
demo: venv ## the main job, on a real cluster: one version promoted, three rolled back (root; KEEP=1, CLUSTER=current)
	$(BIN)/python -m tests.e2e.demo

.PHONY: lint
lint: venv ## format check, lint, types, import contract
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

.PHONY: test
test: lint ## run everything: lint, then all tests (clusters start when a test needs them; root for the real node)
	$(PYTEST)

.PHONY: test-unit
test-unit: venv ## run the tests of functions and rules: no cluster, a minute (of random plays every seventh, no long simulation)
	$(PYTEST) -m "not more and not stories" tests/property tests/unit tests/narratives  # the longest module first

.PHONY: test-stories
test-stories: venv ## tell all golden stories of the planner, word for word, and what the command line says of them
	$(PYTEST) -m stories tests/narratives tests/unit

.PHONY: test-system
test-system: venv ## play crashes, and the whole operator on the simulated cluster: stories, faults, seeded bugs
	$(PYTEST) tests/system tests/crash tests/simulation

.PHONY: prove
prove: venv ## play every fault at every write of every story of the whole operator (hours; SHARE=0.01: a hundredth)
	$(BIN)/python -m tests.system.prove $(SHARE)

.PHONY: test-cluster
test-cluster: venv ## run the tests against real API servers, Prometheus, Envoy and pods
	$(PYTEST) tests/cluster tests/conformance tests/integration tests/chart tests/e2e

.PHONY: bench-scale
bench-scale: venv ## measure what 100, 300 and 1,000 rollouts at once cost (half an hour; docs/scale.md)
	$(BIN)/python -m tests.bench.scale

.PHONY: bench-react
bench-react: venv ## measure how long from a fault until no request reaches it (FAULTS=30 of each kind: an hour; docs/react-bench.md)
	$(BIN)/python -m tests.bench.react --faults $(or $(FAULTS),30)

.PHONY: bench-guard
bench-guard: venv ## measure what an exchange with the guard costs, beside libraries for gRPC, and what it adds to a request (two minutes; docs/guard.md)
	$(BIN)/python -m tests.bench.guard_servers
	$(BIN)/python -m tests.bench.guard_latency

.PHONY: bench-router
bench-router: venv ## measure what one router pod carries: memory by deployments, CPU and latency of a request (two minutes; docs/scale.md)
	$(BIN)/python -m tests.bench.router

.PHONY: bench-analysis
bench-analysis: venv ## measure the analysis engine: false rollbacks and requests to a verdict (minutes)
	$(BIN)/python -m tests.bench.analysis
	$(BIN)/python -m tests.bench.experiments
	$(BIN)/python -m tests.bench.watching
	$(BIN)/python -m tests.bench.slices

.PHONY: manifests
manifests: venv ## write all that is generated from chart and CRDs anew
	$(BIN)/python -m manifests.generate

.PHONY: screenshots
screenshots: venv ## take the pictures of docs/dashboard.md anew: tests in real Chromium on a control plane
	folder=$$(mktemp -d) && trap "rm -r $$folder" EXIT \
	    && SERIN_SCREENSHOTS=$$folder $(BIN)/pytest -q tests/integration/test_dashboard.py -k each_view_in_each_state \
	    && $(BIN)/uv run --no-project --quiet --with pillow==13.0.0 python tests/integration/pictures.py $$folder

.PHONY: check-chart
check-chart: venv ## look for insecure settings in what the chart installs, by checkov (which it installs the first time)
	$(BIN)/uv tool run --quiet checkov==3.3.30 --config-file manifests/checkov.yaml --file manifests/install.yaml

# Reproducible: the same lock file is the same text.
.PHONY: sbom
sbom: venv ## write what the operator's image holds beside Debian's packages, as CycloneDX JSON (SBOM=file: sbom.json)
	folder=$$(mktemp -d) && trap "rm -r $$folder" EXIT \
	    && $(BIN)/uv venv --quiet --python 3.11 $$folder/venv \
	    && $(BIN)/uv pip sync --quiet --python $$folder/venv --require-hashes operator/requirements.txt \
	    && $(BIN)/uv tool run --quiet --from cyclonedx-bom==7.5.0 cyclonedx-py environment --pyproject pyproject.toml \
	        --mc-type application --output-reproducible --output-file $(or $(SBOM),sbom.json) $$folder/venv/bin/python

COMPILE := $(BIN)/uv pip compile --quiet --generate-hashes --no-annotate --custom-compile-command 'make lock'

.PHONY: lock
lock: venv ## write the lock files anew after a change of dependencies (keeps what is locked; UPGRADE=1 takes newer ones)
	$(COMPILE) --universal --python-version 3.11 $(if $(UPGRADE),--upgrade) --excludes operator/not-in-image.txt \
	    pyproject.toml -o operator/requirements.txt
	$(COMPILE) --universal --python-version 3.11 $(if $(UPGRADE),--upgrade) --extra dev \
	    pyproject.toml -o tests/requirements.txt
	$(COMPILE) --python-version 3.11 --python-platform linux $(if $(UPGRADE),--upgrade) \
	    tests/e2e/models/requirements.in -o tests/e2e/models/requirements.txt
