# Five verbs. `make demo` and `make test` install what they need first.
BIN := .venv/bin

.PHONY: install demo dev test check

install: .venv/installed  ## the locked dependencies into .venv

.venv/installed: requirements.lock pyproject.toml scripts/install
	scripts/install
	touch $@

demo: install  ## the whole chain on a small history, forecasts read back from Kafka
	$(BIN)/ruter-dagster demo

dev: install  ## Dagster's UI at http://127.0.0.1:3000, a Kafka broker beside it
	$(BIN)/ruter-dagster dev

test: install  ## fast tests first, then those that need the broker or the whole chain
	$(BIN)/pytest -n 2 --dist loadgroup -m "not slow and not kafka"
	$(BIN)/pytest -n 2 --dist loadgroup -m "slow or kafka"

check: install  ## lint, format, layers, types, definitions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/dagster definitions validate -w workspace.yaml
