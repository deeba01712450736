# Every verb sets itself up: the first one makes .venv from requirements.lock. Needs Python 3.11 or newer and nothing else.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=

.PHONY: help setup demo up doctor pictures test test-fast check format lock bench bench-elastic clean

help: ## List the verbs
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; set PYTHON=/path/to/python3.11"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (first run only)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $(READY)

setup: $(READY) ## Make .venv with everything that development needs

demo: $(READY) ## Break a real shop and watch Paramedic notice, investigate and heal (ARGS="--all")
	@$(BIN)/paramedic demo $(ARGS)

up: $(READY) ## Broker and services on this machine; then send OTLP to http://127.0.0.1:4318
	@$(BIN)/paramedic up $(ARGS)

doctor: $(READY) ## Say what is wrong with this machine or the running platform, and what to do
	@$(BIN)/paramedic doctor $(ARGS)

# Whoever forbids bytecode would have every module compiled, and every assert rewritten, in each of the sixty processes.
test test-fast test-e2e test-stack: export PYTHONDONTWRITEBYTECODE =

# Many tests wait for processes and brokers: on two cores the suite takes 2:45 to 3:30 with three workers.
WORKERS := $(shell echo $$(($$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2) * 3 / 2)))

# Stores in memory where there is room for them: a new incident store on a disk waits 40 ms for it, each write 5 to 10.
# What the tests kill are processes, never the machine; what a process has written is there either way.
MEMORY := $(shell test "$$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $$4 }')" -gt 2000000 2>/dev/null && echo /dev/shm)
test test-fast: export PYTEST_DEBUG_TEMPROOT ?= $(or $(MEMORY),$(TMPDIR),/tmp)

test: $(READY) ## Every test that needs no outside server, but for the whole platform in processes (test-e2e)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not e2e and not stack" $(ARGS)

test-e2e: $(READY) ## The whole platform and the shop in processes: faults, kill -9 and restart, the page in Chromium
	@$(BIN)/python -m pytest -m e2e $(ARGS)

pictures: $(READY) ## The pictures of the console in docs/images, taken anew in Chromium
	@PARAMEDIC_PICTURES=docs/images $(BIN)/python -m pytest -m e2e tests/e2e/test_console_pictures.py $(ARGS)

stack-up: $(READY) ## The real Kafka, Elasticsearch, Schema Registry and Collector on this machine, without containers (docs/stack.md)
	@$(BIN)/python -m deploy.stack up $(ARGS)

stack-down: $(READY) ## Stop them; ARGS=--erase also deletes their data and logs
	@$(BIN)/python -m deploy.stack down $(ARGS)

test-stack: $(READY) ## Every test on real servers, on a stack of its own that is taken down afterwards
	@$(BIN)/python -m deploy.stack run -- $(BIN)/python -m pytest -m stack tests/integration tests/e2e $(ARGS)

demo-stack: $(READY) ## The demo on a real Kafka, Elasticsearch, registry and Collector of its own (docs/demo.md)
	@$(BIN)/python -m deploy.stack run --settings -- $(BIN)/paramedic demo --stack $(ARGS)

test-fast: $(READY) ## Unit tests and laws only
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal tests/unit $(ARGS)

check: $(READY) ## Format, lint, types and layers
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: $(READY) ## Format and mend what the linter can
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format .

lock: $(READY) ## Resolve requirements.lock anew (needs uv: pip install uv)
	uv pip compile pyproject.toml --extra all --extra dev --universal --python-version 3.11 --generate-hashes --quiet --output-file requirements.lock

bench: bench-detector bench-intake bench-store ## Speed and memory, each next to a peer in the same run

bench-detector: $(READY) ## Points/s of the detector through the real path
	@$(BIN)/python tests/bench/detector_pipeline.py
	@$(BIN)/python tests/bench/detector_throughput.py

bench-intake: $(READY) ## Points/s and spans/s of the decoders
	@$(BIN)/python tests/bench/intake_throughput.py

bench-store: $(READY) ## Rows/s and query times of the SQLite stores
	@$(BIN)/python tests/bench/store_throughput.py
	@$(BIN)/python -m tests.bench.ticket_context

bench-detection: $(READY) ## Detection quality on labelled data (PARAMEDIC_BENCH_DATA, default ../shared/bench)
	@$(BIN)/python tests/bench/detection_quality.py

bench-alarms: $(READY) ## False alarms in normal operation beside the recall of labelled incidents (PARAMEDIC_BENCH_DATA)
	@$(BIN)/python -m tests.bench.false_alarms

bench-rca: $(READY) ## Root-cause ranking quality on labelled data (PARAMEDIC_BENCH_DATA, default ../shared/bench)
	@$(BIN)/python -m tests.bench.rca_quality
	@$(BIN)/python -m tests.bench.rca_history

bench-replay: $(READY) ## The same failures through the whole path: recording in, tickets and first hypotheses out
	@$(BIN)/python -m tests.bench.replay_quality

bench-stack: $(READY) ## Points/s on a real Kafka next to confluent-kafka's bare consume of the same topic
	@$(BIN)/python -m deploy.stack run --only kafka -- $(BIN)/python -m tests.bench.stack_throughput $(ARGS)

bench-console: $(READY) ## Page times of the console with 10,000 incidents
	@$(BIN)/python -m tests.bench.console_pages

check-images: $(READY) ## Each service runs with nothing but its own extra, libs/ and schemas/ (needs the package index)
	@$(BIN)/python -m deploy.images.check $(ARGS)

bench-elastic: $(READY) ## 100,000 incidents, then telemetry, in a real Elasticsearch: times of the incident API and of every question
	@$(BIN)/python -m deploy.stack run --only elasticsearch -- $(BIN)/python -m tests.bench.elastic_incidents $(ARGS)
	@$(BIN)/python -m deploy.stack run --only elasticsearch -- $(BIN)/python -m tests.bench.elastic_telemetry

clean: ## Remove the embedded data folder and caches (keeps .venv)
	rm -rf .paramedic .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
