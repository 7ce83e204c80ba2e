# Nothing needs to be set up first: what is missing is installed into .venv.
#
#   make demo    see it catch a bad canary; needs Python 3.11 or newer, nothing else
#   make test    everything that can fail; needs Java 17 and Maven too
#   make check   style, types and the tests that need no Kafka
#   make broker  the tests that start a real Kafka
#   make faults  kill, stop and starve workers and brokers under load: twenty minutes
#   make bench   events per second, beside the alternatives
#   make lock    choose the newest versions that pyproject.toml allows

PYTHON ?= python3
ROUNDS ?= 3
BIN := .venv/bin
INSTALLED := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help install demo test check lint types fast-tests broker faults bench lock

help:
	@sed -n 's/^#   //p' Makefile

install: $(INSTALLED)

# The build backend stands in the lock like everything else, so that nothing is fetched
# whose hash is not known: hence no build isolation. Byte code is written when a module
# is first used; to do so for every package at once takes a third of the set-up.
$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
	  || { echo 'Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11' >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv \
	  || { echo 'Python cannot make a virtual environment; on Debian: apt-get install python3-venv' >&2; exit 1; }
	@echo 'Installing into .venv, once.'
	@$(BIN)/pip install --quiet --no-compile --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --no-compile --no-deps --no-build-isolation -e .
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/guard demo

test: check broker

check: lint types fast-tests

lint: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

# Pyright is a Node program and its package would fetch Node from a place of its own.
types: $(INSTALLED)
	$(BIN)/mypy
	@if command -v node >/dev/null; then echo $(BIN)/pyright; $(BIN)/pyright; \
	elif [ "$$CI" = true ]; then echo 'Node is needed for pyright.' >&2; exit 1; \
	else echo 'Left out: pyright, the second type checker, which needs Node.'; fi

# The pure part alone must be covered wholly, and without Kafka.
fast-tests: $(INSTALLED)
	$(BIN)/coverage run -m pytest -m "not broker"
	$(BIN)/coverage report --omit='guard/shell/*' --fail-under=100

broker: $(INSTALLED)
	@command -v java >/dev/null && command -v mvn >/dev/null \
	  || { echo 'The tests with a real Kafka need Java 17 and Maven; on Debian: apt-get install openjdk-17-jre-headless maven' >&2; exit 1; }
	$(BIN)/pytest -m broker

faults: $(INSTALLED)
	$(BIN)/python tests/faults/faults.py $(CASES)

bench: $(INSTALLED)
	$(BIN)/python bench/throughput.py --rounds $(ROUNDS)

# One file for every platform and supported Python. New releases wait seven days: most
# bad ones are withdrawn by then. The standard input adds what builds the package, see
# the rule for $(INSTALLED).
lock:
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet uv
	printf 'hatchling\neditables\n' | $(BIN)/uv pip compile --quiet --upgrade --universal \
	  --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	  --exclude-newer '7 days' \
	  --extra demo --group dev --output-file requirements.lock pyproject.toml -
