# What can be done here; `make help` lists it. Longer steps stand in scripts/.
.DEFAULT_GOAL := help
.PHONY: help demo test explore lock image demo-image bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' Makefile

demo: ## set up .venv, then bill a real month from usage log to reproduced invoice
	@scripts/setup.sh demo
	@.venv/bin/billing demo

test: ## set up all that the tests need, then check style, types and layers, and test
	@scripts/test.sh

explore: ## have staff do 500 random months; the tests try the same few each time
	@scripts/setup.sh test
	@EXPLORE=500 .venv/bin/pytest tests/workflow/test_life.py

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
