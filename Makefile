# Two commands matter: `make demo` and `make test`. Both set up what they need in .venv;
# `make test` also installs the real peers that it tests against, where it may.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECIPIENTS ?= 400

# What the scenarios run against: Postfix (with smtp-source and smtp-sink; with SASL and
# its database of passwords), swaks (with TLS), Unbound (a resolver) and Knot (a name
# server), strace, systemd (to judge the unit and name its groups of system calls),
# Prometheus (with promtool), curl (as the README has it), OpenDKIM and rspamd (to verify).
PEERS := postfix opendkim rspamd libsasl2-modules sasl2-bin swaks libnet-ssleay-perl unbound knot \
	strace faketime e2fsprogs systemd libseccomp2 prometheus curl

# What `make bench-relay` measures beside us; ARGS="--rounds 3 --json" go to it.
BENCH_PEERS := postfix opendkim

.DEFAULT_GOAL := help

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

demo: $(VENV)/.runtime ## a whole node against a captive internet, with real-looking mail
	$(BIN)/mailwright demo --recipients $(RECIPIENTS)

test: check peers ## everything: style, types, imports, all tests
	$(BIN)/pytest -q -n 2 -m "not scenario"
	$(BIN)/pytest -q -n 4 --dist worksteal -m "scenario and not alone"
	$(BIN)/pytest -q -m "scenario and alone"

bench-scale: $(VENV)/.runtime ## a million queued, 40 000 domains: memory, restart, pulls
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/many_domains.py

check: $(VENV)/.dev ## style, types and import rules only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell src tests docs config examples README.md CONTRIBUTING.md SECURITY.md CHANGELOG.md
	$(BIN)/mypy
	$(BIN)/lint-imports

bench-ingest: $(VENV)/.dev ## a million recipients uploaded and sealed: rows a second, memory
	@benchmarks/bench-ingest $(ARGS)

unit: $(VENV)/.dev ## the tests that start nothing
	$(BIN)/pytest -q -n 2 -m "not scenario"

bench-relay: $(VENV)/.dev ## how fast it relays beside Postfix and Haraka (root; minutes)
	@.ci/peers $(BENCH_PEERS)
	@command -v npm >/dev/null || .ci/apt nodejs npm
	@benchmarks/bench-relay $(ARGS)

bench-transactional: $(VENV)/.runtime ## one message every 100 ms amid a campaign of a million
	$(BIN)/python benchmarks/bench_transactional.py $(ARGS)

bench-campaign: $(VENV)/.dev ## a campaign beside the bare limit and Postfix (root; minutes)
	@.ci/peers $(BENCH_PEERS)
	@benchmarks/bench-campaign $(ARGS)

faults: $(VENV)/.dev peers ## inject faults and count what they cost (root; see docs/reliability.md)
	PYTHONPATH=tests $(BIN)/python -m faults $(ROWS)

outbound: $(VENV)/.dev peers ## ten thousand letters: wire == signed == stored, three judges (root)
	PYTHONPATH=tests $(BIN)/python -m outbound $(ARGS)

peers:
	@.ci/peers $(PEERS)

docs: $(VENV)/.dev ## write the generated pages anew
	$(BIN)/mailwright config reference > docs/reference/settings.md
	$(BIN)/mailwright provider reference > docs/reference/providers.md
	$(BIN)/mailwright queue states > docs/reference/queue-states.md
	PYTHONPATH=tests $(BIN)/python -m fakes.api_page > docs/reference/routes.md

lock: $(VENV)/.dev ## write the versions of all dependencies to constraints.txt
	$(BIN)/pip freeze --exclude-editable | LC_ALL=C sort -f > constraints.txt

clean: ## remove everything that was made
	rm -rf $(VENV) .cache dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "mailwright needs Python 3.11 or later; say which: make PYTHON=python3.12 …"; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || .ci/apt python3-venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'

$(VENV)/.runtime: $(VENV)/bin/pip pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.runtime
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --group dev
	@touch $@

.PHONY: help demo bench-ingest bench-scale test check unit faults outbound bench-relay bench-campaign peers docs lock clean
