.DEFAULT_GOAL := help
.PHONY: help setup demo demo-calls run shell test bench backlog chaos test-docker test-versions test-calls bench-calls lint docs format lock clean

PYTHON ?= python3
PY := .venv/bin/python
# A file's tests together, on servers of their own for each of the two processes; in the order of
# their names, by which what takes longest does not come last, when one process has no work.
PYTEST := $(PY) -m pytest -n 2 --dist loadfile --no-loadscope-reorder
DEMO ?= .venv/bin/callctl demo
WORKER ?= .venv/bin/callctl worker
ARGS ?=
MINUTES ?= 5

VERSIONS ?= bookworm forky valkey
# What depends on how the servers are started, stopped and disturbed.
DOCKER_TESTS := $(addprefix tests/integration/test_, $(addsuffix .py, \
	one_outcome restarts faults service backpressure)) \
	tests/local/test_provide.py tests/deploy/test_containers.py
# Asterisk as a container: how it is disturbed, what is heard through it, and a call's whole way.
DOCKER_CALLS := tests/calls/test_asterisk.py tests/calls/test_asterisk_lost.py \
	tests/calls/test_connected.py::test_who_is_on_hold_hears_music_and_is_not_heard \
	$(addprefix tests/calls/test_commands.py::test_, a_call_rings_and_then_both_hear_each_other \
	a_call_that_comes_in_is_offered_and_accepted)

VERSION_TESTS ?= tests/local/test_versions.py tests/chaos \
	tests/deploy/test_operator_policy.py tests/deploy/test_repartitioning.py \
	$(addprefix tests/integration/test_, $(addsuffix .py, order one_outcome restarts clusters servers \
	store topology watchdog backpressure dead_letters dead_letters_acted_on rebuild restore refusing \
	regression epoch durability redis_users doctor doctor_redis cli_topology management \
	least_privilege forbidden tls credentials poison bugs hostile malformed))

UV_VERSION := 0.13.9
COMPILE := $(PY) -m uv pip compile -q --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links $(ARGS)
# What the image has beyond the package's own dependencies.
EXTRAS := --extra tracing --extra uvloop

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' Makefile

setup: .venv/ready ## Make .venv with everything that is locked

demo: setup ## Run the demo against RabbitMQ and Redis of its own
	@$(PY) -m deploy.local run -- $(DEMO)

demo-calls: setup ## Play the documented conversation on telephones, and show each message
	@$(PY) -m deploy.demo_calls

run: setup ## Run a worker against RabbitMQ and Redis of its own
	@$(PY) -m deploy.local run -- $(WORKER)

shell: setup ## Open a shell with RabbitMQ and Redis of its own, and callctl on the PATH
	@PATH="$(CURDIR)/.venv/bin:$$PATH" CALL_CONTROL_HTTP_PORT=0 $(PY) -m deploy.local run -- "$${SHELL:-/bin/sh}"

test: setup .venv/bench ## Run all tests (ARGS="-k word" to select)
	$(PYTEST) $(ARGS)

bench: setup .venv/bench ## Compare the worker with its peers, 45 minutes (ARGS=--quick for a minute; ARGS=--help)
	$(PY) -m tests.bench $(ARGS)

backlog: setup ## Have one worker meet a million commands, and measure its memory
	$(PY) -m tests.backlog --commands 1000000 --seconds 240

chaos: setup ## Break everything under load for MINUTES, and fuzz (ARGS="--seed 7 --only Redis" to select)
	@# Both, whatever the first finds.
	$(PY) -m tests.chaos --minutes $(MINUTES) $(ARGS); chaos=$$?; $(PY) -m tests.fuzz && exit $$chaos

test-docker: setup ## Build the images, and run them, real calls, the demo, and what breaks servers, in containers (engine started if none answers)
	@# On the event loop that `make test` does not have.
	CALL_CONTROL_SERVICES=docker CALL_CONTROL_TEST_EVENT_LOOP=uvloop $(PY) -m deploy.local engine -- sh -euc '\
		$(PYTEST) $(DOCKER_TESTS) $(DOCKER_CALLS) $(ARGS); \
		$(PY) -m deploy.local run -- $(DEMO)'

test-versions: setup ## Run what depends on versions on the oldest and newest RabbitMQ and Redis, and on Valkey
	set -e; for versions in $(VERSIONS); do \
		echo "on $$versions:"; \
		CALL_CONTROL_SERVICES=$$versions $(PY) -m pytest $(VERSION_TESTS) $(ARGS); \
	done

test-calls: setup ## Place calls through an Asterisk of their own, heard at both ends
	$(PYTEST) tests/calls $(ARGS)

bench-calls: setup ## Measure how fast calls are set up, beside ARI alone
	$(PY) -m tests.calls.measure $(ARGS)

lint: setup .venv/bench ## Check style and types
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m mypy

docs: setup ## Renew what is made from the code: tables, schemas, the reference page
	$(PY) -m worker.reference

format: setup ## Format the code and fix what can be fixed
	$(PY) -m ruff format
	$(PY) -m ruff check --fix

lock: setup ## Lock what pyproject.toml asks for (ARGS=--upgrade for newer releases)
	@$(PY) -m pip install -qq uv==$(UV_VERSION)
	@# The dev lock follows the worker's: tests run what is deployed.
	$(COMPILE) pyproject.toml $(EXTRAS) -o deploy/locks/worker.txt
	$(COMPILE) pyproject.toml $(EXTRAS) --group dev -c deploy/locks/worker.txt -o deploy/locks/dev.txt
	$(COMPILE) --group build -c deploy/locks/dev.txt -o deploy/locks/build.txt
	$(COMPILE) --group bench -c deploy/locks/dev.txt -o deploy/locks/bench.txt

clean: ## Stop and remove everything that was made here
	@if [ -x $(PY) ]; then $(PY) -m deploy.local clean; fi
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/ready: pyproject.toml deploy/locks/dev.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'error: needs Python 3.11 or newer; name one with make PYTHON=/path/to/python3' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
			&& echo 'setup: installing python3-venv' \
			&& apt-get update -qq && apt-get install -qqy python3-venv >/dev/null; } \
		|| { echo 'error: this Python cannot make environments; on Debian: apt-get install python3-venv' >&2; exit 1; }
	@echo 'setup: making .venv'
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	@echo 'setup: installing the locked packages'
	@$(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r deploy/locks/dev.txt
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# What the benchmark needs besides: the peers, and what draws the plots.
.venv/bench: .venv/ready deploy/locks/bench.txt
	@echo 'setup: installing what the benchmark compares with'
	@$(PY) -m pip install -qq --disable-pip-version-check --require-hashes -r deploy/locks/bench.txt
	@touch $@
