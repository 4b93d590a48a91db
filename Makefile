# What can be done here; `make help` lists it. Longer steps stand in scripts/.
.DEFAULT_GOAL := help
.PHONY: help demo check test hooks explore lock image demo-image bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

demo: ## set up .venv, then bill three facilities' month from usage to reproduced invoices
	@scripts/setup.sh demo
	@.venv/bin/billing demo

check: ## check style, types, layers and notebooks, and test nothing
	@scripts/setup.sh test
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports
	.venv/bin/nbstripout --verify notebooks/*.ipynb

test: ## set up all that the tests need, check, and test; T=tests/pricing tests only that
	@scripts/test.sh $(T)

hooks: ## have git check commits, strip notebooks of outputs, and show and merge them by cells
	@scripts/setup.sh test
	@.venv/bin/pre-commit install
	@git config filter.nbstripout.clean .venv/bin/nbstripout
	@git config diff.jupyternotebook.command '.venv/bin/git-nbdiffdriver diff'
	@git config merge.jupyternotebook.driver '.venv/bin/git-nbmergedriver merge %O %A %B %L %P'

explore: ## have staff do 500 random months, and kill commands at all lines and random moments
	@scripts/setup.sh test
	@EXPLORE=500 POLARS_MAX_THREADS=1 .venv/bin/pytest -n 3 --dist loadgroup tests/workflow/test_life.py tests/faults/test_crash.py

lock: ## lock the dependencies anew and write environment.yml from the lock
	@scripts/lock.sh

image: ## build the container image of this commit with docker, podman or buildah
	@scripts/image.sh build

demo-image: ## run the demo inside the image, and show the digest in its record
	@scripts/image.sh demo

bench: ## measure what stands in benchmarks/
	@scripts/setup.sh bench
	@for each in benchmarks/*.py; do echo "$$each"; .venv/bin/python "$$each" || exit 1; done

clean: ## remove what was set up and built; never the ledger or the archive
	rm -rf .venv .tools .demo build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
