# Each target sets up what it needs: a virtual environment of the locked packages, in .venv.
.DEFAULT_GOAL := help
.PHONY: help setup azureml azurite run approve test test-azure engine-base lab bench bench-serving inference-server lint lock clean

PYTHON ?= $(firstword $(shell command -v python3.11 python3.12 python3))
BIN := .venv/bin
SCENARIO ?= diabetes
PLATFORM ?= local
# The platform of Azure has an environment of its own.
ENV := $(if $(filter azureml,$(PLATFORM)),.venv-azureml,.venv)
ARGS ?=

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/ready ## install the locked packages

# uv is installed first, by its own pin and hashes from the lock, because it installs the others some times faster.
.venv/ready: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null || \
		{ echo "Python 3.11 or 3.12 is needed; name yours: make PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the locked packages into .venv (once)..."
	@awk '/^[a-z]/ { keep = /^uv==/ } keep' requirements.lock > .venv/uv.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --requirement .venv/uv.lock
	@$(BIN)/uv pip sync --quiet --compile-bytecode --system-certs --require-hashes --python $(BIN)/python requirements.lock || \
		{ echo "uv could not; trying pip, which takes some minutes..."; $(BIN)/python -m pip install --quiet \
		--disable-pip-version-check --require-hashes --requirement requirements.lock; }
	@$(BIN)/uv pip install --quiet --offline --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

azureml: .venv-azureml/ready ## install the packages with azureml-sdk, for --platform azureml

# In an environment of its own: the SDK holds some packages back, which nobody else should have to use.
.venv-azureml/ready: azureml.lock pyproject.toml | .venv/ready
	@echo "Installing the locked packages with azureml-sdk into .venv-azureml (once)..."
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	@$(BIN)/uv pip sync --quiet --compile-bytecode --system-certs --require-hashes --python $(@D)/bin/python azureml.lock
	@$(BIN)/uv pip install --quiet --offline --python $(@D)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@

run: $(ENV)/ready ## setup … staging, then wait at the gate (ARGS="-p alpha 0.5", SCENARIO=breast_cancer, PLATFORM=azureml)
	@$(ENV)/bin/python -m ci run --scenario $(SCENARIO) --platform $(PLATFORM) $(ARGS)

approve: $(ENV)/ready ## approve what waits at the gate, and go on to production (ARGS=<run-id>)
	@$(ENV)/bin/python -m ci approve $(ARGS)

test: .venv/ready ## run every test
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder $(ARGS)

test-azure: .venv-azureml/ready ## try the lifecycle on Azure itself, with the AZURE_* variables of docs/azure.md; it costs money
	@MLOPS_TEST_AZURE=1 .venv-azureml/bin/python -m pytest -s tests/live/test_azure.py $(ARGS)

engine-base: .engine/ready ## download the Debian packages that the tests' own images are made of

# No hub is asked by the tests: they unpack these, and need no network then.
.engine/ready: tests/engine/python.packages tests/engine/haproxy.packages
	@mkdir -p .engine
	@cd .engine && { apt-get download -qq $$(cat $(addprefix ../,$^)) 2>/dev/null || \
		{ apt-get update -qq && apt-get download -qq $$(cat $(addprefix ../,$^)); }; }
	@touch $@

azurite: .azurite/ready ## install the storage emulator that the tests of the Azure platform use, by npm

.azurite/ready: tests/azure/azurite/package-lock.json
	@mkdir -p .azurite
	@cp tests/azure/azurite/package*.json .azurite
	@npm ci --prefix .azurite --silent --no-fund --no-audit
	@touch $@

lab: $(ENV)/ready ## open JupyterLab on the notebooks
	@JUPYTER_PATH="$(CURDIR)/ci/kernels/jupyter$${JUPYTER_PATH:+:$$JUPYTER_PATH}" $(ENV)/bin/jupyter lab --notebook-dir=. $(if $(filter 0,$(shell id -u)),--allow-root) notebooks/01_setup.ipynb $(ARGS)

bench: .venv/ready ## time the runner against papermill and a plain process; write docs/performance.md
	@$(BIN)/python -m tests.benchmarks.bench $(ARGS)

bench-serving: .venv/ready .venv-inference-server/ready ## time the scoring service against others, by wrk; write docs/performance.md
	@$(BIN)/python -m tests.benchmarks.serving $(ARGS)

inference-server: .venv-inference-server/ready ## install Azure's own scoring server, which tests and benchmarks compare with

# In an environment of its own: it wants an older pydantic, psutil and OpenTelemetry than the rest.
.venv-inference-server/ready: tests/inference_server.lock | .venv/ready
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(@D)
	@$(BIN)/uv pip sync --quiet --compile-bytecode --system-certs --require-hashes --python $(@D)/bin/python $<
	@touch $@

lint: .venv/ready ## ruff, mypy, import-linter, notebooks free of outputs
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports
	@$(BIN)/nbstripout --keep-id --verify notebooks/*.ipynb

lock: .venv/ready ## resolve the newest allowed versions into requirements.lock
	@$(BIN)/uv pip compile --quiet --universal --upgrade --generate-hashes --no-emit-index-url --no-header \
		--extra dev pyproject.toml --output-file requirements.lock
	@cp requirements.lock azureml.lock # whose versions are kept wherever the SDK allows them
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header \
		--extra dev --extra azureml pyproject.toml --output-file azureml.lock
	@cp azureml.lock utils/platforms/azureml/server.lock # what packages pin, scoring images pin alike
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		utils/platforms/azureml/server.in --output-file utils/platforms/azureml/server.lock
	@cp requirements.lock tests/inference_server.lock # whose versions are kept wherever Azure's server allows them
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
		tests/inference_server.in --output-file tests/inference_server.lock

clean: ## remove .venv and caches; runs/ and workspace/ stay
	@rm -rf .venv .venv-azureml .venv-inference-server .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .coverage .coverage.* *.egg-info
