# Everything a fresh machine needs is set up on first use, in .venv, from requirements.lock.
#   make demo    tweets to talking bots, ARGS=--once exits when they have spoken; BASE=smollm2 for a larger base model
#   make test    all tests, half an hour on 2 cores; make test-fast the unit tests, three minutes
#   make check   linter, formatter, types, imports
#   make test-faults   kill -9 to every process of a fleet, on a cluster of several nodes
PYTHON ?= python3.11
BIN := .venv/bin
ARGS ?=

.PHONY: demo test test-fast fuzz test-faults test-cluster check bench bench-engine bench-endpoints bench-gpu base-model lock clean

demo: .venv/ready
	$(BIN)/huggingtweets demo $(if $(BASE),--set base_model=$(BASE)) $(ARGS)

# The unit tests first, in processes of their own: they must not find the clusters of the integration tests. These run in
# two processes, each with a cluster of its own: one computes while the other waits.
test: test-fast
	$(BIN)/pytest tests/integration --numprocesses 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# The unit tests, on all cores: no Ray cluster, no Serve.
test-fast: .venv/ready
	$(BIN)/pytest tests/unit --numprocesses logical --maxprocesses 8 --dist worksteal $(ARGS)

# Reads 10,000 odd and broken files of each format.
fuzz: .venv/ready
	$(BIN)/pytest tests/unit/tweets/test_fuzz.py --hypothesis-profile fuzz $(ARGS)

# kill -9 to every process of a fleet at random moments, and many lanes at once.
test-faults: .venv/ready
	$(BIN)/pytest tests/faults -o addopts=-q -s $(ARGS)

# Several hosts on this machine, in network namespaces, with S3 between them: needs root, takes half an hour.
test-cluster: .venv/ready
	$(BIN)/pytest tests/hosts -o addopts=-q --log-cli-level=INFO $(ARGS)

check: .venv/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/ready
	$(BIN)/python benchmarks/fleet.py $(ARGS)

bench-engine: .venv/ready
	$(BIN)/python benchmarks/engine.py $(ARGS)

# On a Serve of its own: 1,000 bots in a pool, 100 with replicas of their own, 10 minutes of traffic.
bench-endpoints: .venv/ready
	$(BIN)/python benchmarks/endpoints.py $(ARGS)

# On a machine with a GPU (it takes a CUDA build of torch): lanes, engine and a fleet.
bench-gpu: .venv/ready
	$(BIN)/python benchmarks/gpu.py $(ARGS)

# The bundled base model, made again: hours on a small machine; it continues where it was stopped.
base-model: .venv/ready
	$(BIN)/python examples/base_model/corpus.py build/base-model/corpus
	$(BIN)/huggingtweets pretrain examples/base_model/mini.yaml $(ARGS)

# Writes the lock file that the Makefile, CI and the Dockerfile share. torch is pinned without a build (CPU or CUDA):
# the package index decides which one is installed.
lock:
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/pip install --quiet '.[dev]'
	build/lock/bin/pip freeze --all --exclude pip --exclude huggingtweets-ray \
		| sed -E 's/^torch( @ .*|==([0-9.]+).*)$$/torch==\2/; /^nvidia-|^triton==/d' > requirements.lock

.venv/ready: requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv build fleets .pytest_cache .mypy_cache .ruff_cache *.egg-info
