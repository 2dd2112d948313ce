# One environment, made once and made again when pyproject.toml changes. Everything else stands on it.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: test demo bench lint docs clean

.venv/ready: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[test]'
	touch $@

# A file at a time on each processor: what a file's tests share is started once.
test: .venv/ready
	$(BIN)/pytest -n auto --dist loadfile

demo: .venv/ready
	$(BIN)/fogbell demo

lint: .venv/ready
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/ready
	$(BIN)/fogbell docs

bench: .venv/ready
	$(BIN)/python -m tests.bench

clean:
	rm -rf .venv build .cache .pytest_cache .mypy_cache .ruff_cache
