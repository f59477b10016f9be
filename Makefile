# What CI runs is what the README says. Every target sets up what it needs, from a bare clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export OMP_NUM_THREADS ?= 1
# Order in sets of names decides who is told first: fixed, a failure in virtual time is the same the next time.
export PYTHONHASHSEED ?= 0

.PHONY: setup check test bench demo chaos sigkills partitions fulldisk soak simulate unequal wan nat canaries ecosystem egress leaving builds curves screens pilot clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt swarm/vector/_kernels.c
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 14) else "Tapestry needs Python 3.11 to 3.13: make PYTHON=python3.12 setup")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "venv is missing: apt-get install python3-venv"; exit 1; }
	@echo "setting up $(VENV) (a few minutes, once)"
	@rm -f swarm/vector/_kernels*.so
	$(BIN)/pip install --quiet --constraint constraints.txt setuptools torch==2.13.0
	$(BIN)/pip install --quiet --constraint constraints.txt --no-build-isolation --editable '.[dev]'
	@touch $@

check: setup ## ruff, pyright, import-linter
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/lint-imports

test: setup ## unit, property, fuzz and fault tests, two at a time; then those with whole swarms of processes, one by one
	$(BIN)/pytest -n 2 --ignore tests/integration
	$(BIN)/pytest tests/integration

chaos: setup ## thousands of random fault schedules on the in-memory network
	$(BIN)/python -m tests.chaos.schedules --count 2000

sigkills: setup ## real peers, a random process killed every ten seconds
	$(BIN)/python -m tests.chaos.sigkills --count 100

soak: setup ## real peers for ten minutes, somebody joining or killed every second
	$(BIN)/python -m tests.soak --minutes 10

partitions: setup ## a real swarm of five on two sides of a cable that is cut for several rounds
	$(BIN)/python -m tests.chaos.split

fulldisk: setup ## a real peer whose disk fills up in the middle of its rounds, in a mount namespace
	$(BIN)/python -m tests.chaos.full_disk

simulate: setup ## 1,000 peers under churn on the in-memory network, in virtual time
	$(BIN)/python -m tests.scale

unequal: setup ## two peers, and the same two with one ten times slower, on loopback (about five minutes)
	$(BIN)/python -m benchmarks.unequal

wan: setup ## the engine on slow, unequal and bordered links, in network namespaces
	$(BIN)/tapestry bench wan

nat: setup ## one public peer and two behind NATs train together, in network namespaces
	$(BIN)/python -m tests.integration.nat

canaries: setup ## secrets planted in the text are looked for in all that leaves and all that is kept, and in the model
	$(BIN)/python -m tests.canaries

ecosystem: setup ## a Trainer, an Accelerate loop, an adopted checkpoint and metrics services, with real peers (about ten minutes)
	$(BIN)/python -m tests.ecosystem

egress: setup ## bytes counted by network interfaces beside the ledgers, in network namespaces
	$(BIN)/python -m tests.egress

leaving: setup ## a real peer leaves with a bundle, which is believed without a network, and goes on from it
	$(BIN)/python -m tests.leaving

builds: setup ## whole Sovereign Builds, killed and gone on with, on a machine whose every packet is counted
	$(BIN)/python -m tests.build

curves: setup ## loss over 200 rounds of a real training, by codec (about half an hour)
	$(BIN)/tapestry bench curves --seeds 3 --rounds 200 --out benchmarks/results

bench: setup ## our all-reduce beside hivemind's and gloo's, in one run
	$(BIN)/tapestry bench allreduce --peers 4 --mb 128 --baseline hivemind --baseline gloo
	$(BIN)/tapestry bench quantise

screens: setup ## looks at the dashboard in headless Chromium and at the terminal view; takes the README's pictures
	$(BIN)/python -m tests.screens --out docs/pictures

pilot: setup ## the pilot with every region's own model, to its end, and its page in headless Chromium
	$(BIN)/python -m tests.pilot --out out/pilot

demo: setup ## three regions train one shared model on this machine
	$(BIN)/tapestry demo --out out/demo

clean: ## removes what the targets made, except the cache of texts
	rm -rf $(VENV) swarm/vector/_kernels*.so out .pytest_cache .ruff_cache .hypothesis build *.egg-info
