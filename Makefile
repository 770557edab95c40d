# Each target sets itself up: uv comes from PyPI into .uv/, the locked environment into .venv/.
PYTHON ?= python3
export UV_PYTHON_DOWNLOADS = never
# Compiled once here, and not in each of the many processes that notebooks and tests start.
export UV_COMPILE_BYTECODE = 1
RUN = .uv/bin/uv run --frozen --no-sync

.PHONY: help setup book pdf archive test bench workflow lint format lock clean

help: ## Show the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: .venv/.synced ## Install the locked environment

.uv/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11, 3.12 or 3.13 is needed; this is " + sys.version.split()[0] + ". Try make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv .uv
	.uv/bin/python -m pip install --quiet --disable-pip-version-check uv

.venv/.synced: uv.lock pyproject.toml | .uv/bin/uv
	.uv/bin/uv sync --frozen --quiet --extra book --python .uv/bin/python
	@touch $@

book: setup ## Run the notebooks and render the book (profile quick: digits, minutes on a CPU); STUDENT=1 leaves solutions out
	$(RUN) cladec book $(if $(STUDENT),--student)

pdf: setup ## Print every page of the book, slides included, to build/pdf, and bind all to one PDF
	$(RUN) cladec book --no-open
	$(RUN) cladec pdf

archive: setup ## Pack the book into one zip that is read without network, in build/archive; STUDENT=1 as above
	$(RUN) cladec book --no-open $(if $(STUDENT),--student)
	$(RUN) cladec archive

test: setup ## Run all tests
	$(RUN) pytest

bench: setup ## Measure the training loop: against a plain one, and how its cost grows (6 minutes on 2 cores)
	$(RUN) python -m benchmarks

workflow: setup .venv-workflow/.synced ## Test the grid as Snakemake jobs, and a grid that is killed 50 times
	PATH="$(CURDIR)/.venv-workflow/bin:$$PATH" $(RUN) pytest -n0 tests/test_workflow.py
	$(RUN) python -m workflow.kill_test --kills 50

.venv-workflow/.synced: workflow/requirements.txt | .uv/bin/uv
	.uv/bin/uv venv --quiet --clear --python .uv/bin/python .venv-workflow
	.uv/bin/uv pip install --quiet --python .venv-workflow/bin/python -r workflow/requirements.txt
	@touch $@

lint: setup ## Check style, directions of imports, types, and how notebooks and sources are kept
	$(RUN) ruff check .
	$(RUN) ruff format --check .
	$(RUN) lint-imports --no-cache
	$(RUN) mypy
	$(RUN) check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/book.yml .github/workflows/release.yml .github/workflows/tests.yml
	@if command -v actionlint > /dev/null; then actionlint; else echo "actionlint is not installed: workflows were checked by their schema only"; fi
	$(RUN) pytest tests/test_sources.py tests/test_prose.py

format: setup ## Bring the sources into the common format
	$(RUN) ruff check --fix .
	$(RUN) ruff format .

lock: | .uv/bin/uv ## Renew uv.lock after a change of pyproject.toml
	.uv/bin/uv lock

clean: ## Remove everything generated, except the environment
	rm -rf build
