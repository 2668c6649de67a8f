# `make` lists the verbs. Each one installs what it needs first.
BIN := .venv/bin
PYTEST := $(BIN)/pytest -n 2 --dist loadgroup --durations=25

.DEFAULT_GOAL := help
.PHONY: help install demo dev test test-all test-dagster-sagemaker test-sagemaker-double check check-terraform check-security audit definitions docs check-newest-dagster

help:  ## list the verbs
	@grep -hE '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 24

install: .venv/installed  ## install the locked dependencies into .venv (1 minute)

.venv/installed: requirements.lock pyproject.toml packages/dagster-sagemaker/pyproject.toml packages/sagemaker-double/pyproject.toml scripts/install
	scripts/install
	touch $@

demo: install  ## run the whole chain on a small history, and read its forecasts back from Kafka (3 minutes)
	$(BIN)/ruter-dagster demo

dev: install  ## start Dagster's UI at http://127.0.0.1:3000, with the dashboard, MLflow and a Kafka broker. ARGS='--port 3001': another port
	$(BIN)/ruter-dagster dev $(ARGS)

check: install  ## check style, types, imports, function sizes, released schemas and Dagster's definitions (2 minutes)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/python scripts/check_sizes.py
	$(BIN)/python -m scripts.check_released_schemas
	$(BIN)/hadolint docker/*.Dockerfile packages/*/examples/*/container/Dockerfile
	$(BIN)/pyright
	$(BIN)/dg check defs

check-terraform: definitions  ## check format, validity and tests of terraform/, without an account (1 minute)
	scripts/check_terraform

check-security: .venv-security/installed  ## scan Terraform, images and pipeline for weak settings, and all files for secrets (1 minute)
	.venv-security/bin/checkov --config-file .checkov.yaml

audit: .venv-security/installed  ## look for known vulnerabilities of the locked packages, on pypi.org (2 minutes)
	scripts/audit

.venv-security/installed: requirements-security.lock | install
	rm -rf .venv-security
	$(BIN)/python -m venv .venv-security
	.venv-security/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-security.lock
	touch $@

test: install  ## run the tests that a change is most likely to break (10 minutes on 2 cores)
	$(PYTEST) -m "not extended"

test-all: install  ## run all other tests: SageMaker faults, Terraform, commands, long histories (40 minutes more)
	$(PYTEST) -m extended

test-dagster-sagemaker: install  ## test that package as its users get it, with the oldest and the newest Dagster (15 minutes, needs an index of packages)
	scripts/test_package dagster-sagemaker

test-sagemaker-double: install  ## test that package as its users get it, with the oldest and the newest boto3 (5 minutes, needs an index of packages)
	scripts/test_package sagemaker-double

definitions: install  ## write what Terraform reads from the code: pipelines, views, dashboard (10 seconds)
	$(BIN)/python scripts/render_definitions.py

docs: .venv-docs/installed  ## build the documentation site into site/ (10 seconds, 1 minute the first time)
	.venv-docs/bin/mkdocs build --strict

.venv-docs/installed: requirements-docs.lock | install
	rm -rf .venv-docs
	$(BIN)/python -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check --require-hashes -r requirements-docs.lock
	touch $@

check-newest-dagster: install  ## run type checks and some tests with the newest Dagster, in .venv-newest (10 minutes)
	scripts/check_newest_dagster
