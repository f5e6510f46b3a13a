# `make run` and `make test` are all that a newcomer needs; the rest is for those who work on Headgate.

SERVICES ?= kafka postgres15 postgres18 mongodb
CONFIG ?= config/quickstart.yaml

.PHONY: help setup run test test-long ledger lint bench services services-stop

help:
	@echo "make run         build, and run the gateway on $(CONFIG)"
	@echo "make test        everything that CI checks: format, lints, documentation, all tests against real servers"
	@echo "make test-long   the same tests with large counts"
	@echo "make ledger      ROUNDS=200 rounds of crashes: every accepted event, audited at the sink"
	@echo "make bench       the figures: CPU time an event beside a yardstick, in interleaved rounds"
	@echo "make lint        format, lints and documentation only"
	@echo "make services    start the servers of the tests ($(SERVICES)) and leave them running"
	@echo "make services-stop"

setup:
	@scripts/setup

run: setup
	cargo run --release -- run -c $(CONFIG) --examples

lint:
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps

# Servers that run already are used and left alone; what this starts, it stops.
test:
	@scripts/setup --test
	@$(MAKE) --no-print-directory lint
	scripts/services with $(SERVICES) -- cargo test --workspace

test-long: export HEADGATE_TEST_SCALE = long
test-long: test

ROUNDS ?= 200

# Prints one line of figures for each sink.
ledger:
	@scripts/setup --test
	scripts/services with kafka postgres18 -- env HEADGATE_LEDGER_ROUNDS=$(ROUNDS) \
		cargo test --test behaviour ledger:: -- --nocapture --test-threads 1

# All of them; one alone: `cargo bench -p headgate-webhook`.
bench:
	@scripts/setup --test
	scripts/services with $(SERVICES) -- cargo bench --workspace

services:
	@scripts/setup --test
	@scripts/services start $(SERVICES)

services-stop:
	@scripts/services stop
