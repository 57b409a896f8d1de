# make serve    install what is missing and serve on 127.0.0.1:8080; EMBED_* variables are honoured
# make extras=redis,tracing    install optional packages too; pyproject.toml has their names
# make test     every check: lint, types, import contracts, what is installed, tests
# make bench    the encoder beside the machine's matrix products, the service beside the encoder
# make test-browser    the playground in Chromium (Debian: apt install chromium)
# make soak    ten minutes of mixed load, or SOAK_SECONDS=...: nothing leaks, no vector is wrong
# make test-clients    other projects' clients, in an environment of their own (needs node and npm)
# make test-operations  image, compose, Kubernetes, balancer, alerts, Redis, Ray (needs their tools)
# make test-training  teaching, making the embedded model, and evaluating
# make alerts    write docker/prometheus/alerts.yml anew as the operator's PrometheusRule

PYTHON ?= python3
VENV   ?= .venv
BIN     = $(VENV)/bin

PIP     = $(BIN)/pip install --disable-pip-version-check

CLIENTS = $(VENV)-clients

# Extras that were asked for once are kept up to date.
comma  := ,
EXTRAS  = $(sort $(wildcard $(VENV)/.extra-*) \
	$(patsubst %,$(VENV)/.extra-%,$(subst $(comma), ,$(extras))))
ifneq ($(extras),)
.DEFAULT_GOAL = install
endif

.PHONY: serve install bench test test-browser test-clients test-operations test-training soak lint openapi alerts clean

serve: install
	@$(BIN)/python -m app serve

install: $(or $(EXTRAS),$(VENV)/.serve)

test: lint
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

bench: $(VENV)/.dev
	$(BIN)/python -m tests.bench.bench_model
	$(BIN)/python -m tests.bench.bench_service

test-browser: $(VENV)/.dev
	$(BIN)/pytest -m browser tests/browser

test-clients: $(VENV)/.dev $(CLIENTS)/.installed
	CLIENTS_PYTHON=$(abspath $(CLIENTS))/bin/python NODE_HOME=$(abspath $(CLIENTS)) \
		$(BIN)/pytest -m clients tests/clients

test-operations: $(VENV)/.operations
	$(BIN)/pytest -m operations tests

test-training: $(VENV)/.dev
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile -m 'training and not operations' \
		tests/model tests/app/tools

soak: $(VENV)/.dev
	SOAK_SECONDS=$(or $(SOAK_SECONDS),600) $(BIN)/pytest -s -m operations tests/operations/test_soak.py

lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml app model
	$(BIN)/pip check --disable-pip-version-check

openapi: $(VENV)/.serve
	$(BIN)/python -m app openapi > openapi.json

RULE = docker/kubernetes/components/monitoring/prometheusrule.yaml

alerts:
	{ printf '%s\n' '# Written by `make alerts` from docker/prometheus/alerts.yml.' \
		'apiVersion: monitoring.coreos.com/v1' 'kind: PrometheusRule' \
		'metadata:' '  name: quintet' '  namespace: quintet' 'spec:'; \
		sed -n '/^groups:/,$$ s/^/  /p' docker/prometheus/alerts.yml; } > $(RULE)

# A stamp newer than what it depends on means: installed. That makes the second start quick.
$(VENV)/.serve: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) -c constraints.txt -e .
	@touch $@

$(VENV)/.extra-%: pyproject.toml constraints.txt | $(VENV)/bin/pip
	@sed -n '/^\[project.optional/,/^\[project.scripts/p' pyproject.toml | grep -q '^$* = ' || \
		{ echo 'there is no extra $*; pyproject.toml has their names'; exit 1; }
	$(PIP) -c constraints.txt -e '.[$*]'
	@touch $@ $(VENV)/.serve

# Its setup.py imports torch, so that it is built in this environment and not in one of its own.
$(VENV)/.extra-flash-attn: pyproject.toml constraints.txt | $(VENV)/.serve
	$(PIP) -c constraints.txt ninja packaging psutil setuptools wheel
	$(PIP) -c constraints.txt --no-build-isolation -e '.[flash-attn]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) -c constraints.txt -e '.[dev]'
	@touch $@ $(VENV)/.serve

$(VENV)/.operations: $(VENV)/.dev
	$(PIP) -c constraints.txt -e '.[operations]'
	@touch $@

$(CLIENTS)/.installed: $(wildcard tests/clients/*.txt tests/clients/*.json) | $(VENV)/bin/pip
	@$(PYTHON) -m venv $(CLIENTS)
	$(CLIENTS)/bin/pip install --disable-pip-version-check -c tests/clients/constraints.txt \
		-r tests/clients/requirements.txt
	cp tests/clients/package.json $(CLIENTS)
	npm install --silent --no-audit --no-fund --prefix $(CLIENTS)
	@touch $@

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo 'Quintet needs Python 3.11 or newer; name one with make PYTHON=...'; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo 'this Python makes no virtual environments; on Debian: apt install python3-venv'; exit 1; }
	@echo 'making the virtual environment and installing; this takes a minute or two, once'
	@$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) $(CLIENTS) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
