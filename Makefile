# Everything a person or CI runs. Needs Python 3.11 or 3.12 and make; nothing else for `make demo`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
ENV = $(VENV)/.complete
MUSIC ?=
KEEP ?=
AREA ?=

.PHONY: help env lint test demo bench fuzz test-faults test-kubo vectors contracts lock kubo helia clean

help:
	@echo "make demo          a whole swarm on this machine: publish, find, play, lose peers, keep playing"
	@echo "make demo MUSIC=DIR    the same with your own folder of music; KEEP=1 leaves the swarm running"
	@echo "make test          everything that CI runs"
	@echo "make bench [AREA=song]  the measured numbers, in build/bench.json and build/bench.md"
	@echo "make fuzz          long fuzzing;   make test-faults   a thousand kills"
	@echo "make test-kubo     the end-to-end tests with all blocks in Kubo"
	@echo "make contracts     recompile the contracts and test them (needs node and npm)"
	@echo "make kubo          build a current Kubo, against which IPFS is tested (needs Go, takes minutes)"
	@echo "make helia         install a stock Helia with the Node it needs, for the same tests (100 MB)"
	@echo "make env           only the environment, from the committed lock"

env: $(ENV)

$(ENV): locks/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12) and "Marina needs Python 3.11 or 3.12: make PYTHON=python3.11 …")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps --require-hashes -r locks/dev.txt
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $(ENV)

lint: $(ENV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# In CI all peers of the tests are installed, beside lint and the tests that need none.
test: $(ENV)
	if [ -n "$$CI" ]; then $(BIN)/python -m tools.bench.peers & fi
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -m "not slow"

demo: $(ENV)
	$(BIN)/python -m tools.demo $(if $(MUSIC),--music "$(MUSIC)") $(if $(KEEP),--keep)

bench: $(ENV)
	$(BIN)/python -m tools.bench $(if $(AREA),--area $(AREA))

fuzz: $(ENV)
	MARINA_FUZZ_RUNS=200000 $(BIN)/python -m pytest tests/property tests/hostile tests/sim
	MARINA_FUZZ_RUNS=10000 $(BIN)/python -m pytest -m slow tests/unit tests/integration tests/contracts
	[ ! -d contracts/node_modules ] || (cd contracts && FOUNDRY_FUZZ_SEED=$$(date +%s) FOUNDRY_FUZZ_RUNS=20000 \
		FOUNDRY_INVARIANT_RUNS=512 $(FORGE) test --offline --no-match-contract Gas)

test-faults: $(ENV)
	MARINA_FAULT_RUNS=1000 $(BIN)/python -m pytest tests/faults tests/hostile

# The end-to-end tests once more, with every node's blocks in a Kubo of its own.
test-kubo: kubo
	MARINA_TEST_BACKEND=kubo $(BIN)/python -m pytest -m "not slow" tests/e2e

vectors: $(ENV)
	$(BIN)/python tests/vectors/generate.py && $(BIN)/python tests/vectors/generate_identity.py && \
		$(BIN)/python tests/vectors/generate_key_release.py

contracts: contracts/node_modules/.complete
	cd contracts && node tools/compile.mjs && $(FORGE) test --offline

# The peer of the tests of IPFS, at the version that go.sum pins.
kubo: $(ENV)
	$(BIN)/python -m tools.bench.kubo_daemon

helia: $(ENV)
	$(BIN)/python -m tools.bench.helia

contracts/node_modules/.complete: contracts/package-lock.json
	cd contracts && npm ci --no-progress
	touch $@

FORGE = $$(echo node_modules/@foundry-rs/forge-*/bin/forge)

UV = $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-emit-find-links --no-header \
	--python-version 3.11 --override locks/overrides.txt --extra demo
lock:
	$(UV) --group dev -o locks/dev.txt pyproject.toml > /dev/null
	$(UV) -o locks/run.txt pyproject.toml > /dev/null

clean:
	rm -rf $(VENV) build
