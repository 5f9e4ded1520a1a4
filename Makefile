# Everything a person calls. Lint, documentation and tests share one profile, programs and tests one set of features:
# a crate is checked once and built once.
HSM ?= hsm-sim
CARGO ?= cargo
SECONDS ?= 600
SEEDS ?= 10000
FIRST ?= 1
TARGETS ?=
DEVICES ?= 1000000
export CARGO_TERM_COLOR ?= auto

.DEFAULT_GOAL := help
.PHONY: help setup build check test test-only faults simulate fuzz firmware demo bench bench-growth bench-slow-disk overload plot clean-demo

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install the Debian packages that tests need (root), or name them
	@scripts/setup.sh

check: ## format, lints and documentation; no test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --workspace --no-deps --locked

build: ## all programs, the HSM module and the tests
	$(CARGO) build --workspace --all-targets --locked

test: setup check test-only ## everything that the continuous integration runs

test-only: build ## the tests alone; the stories on hsm-sim, then on SoftHSM2
	$(CARGO) test --workspace --locked
	KOSEKI_HSM=softhsm2 $(CARGO) test --workspace --locked --test command_line --test corridor
	KOSEKI_HSM=softhsm2 $(CARGO) test --workspace --locked --test scenarios -- \
		--skip architecture --skip firmware --skip fuzzing --skip licences

faults: setup build ## every durable call failed in every way, with files that lag too, all invariants held and one bit flipped behind each, then a thousand kills, with each restart's first answer within 2 s; about 13 minutes
	@target/debug/faults --hsm $(HSM) calls
	@target/debug/faults --hsm $(HSM) calls --lag-ms 50 --at-least 400
	@target/debug/faults --hsm $(HSM) kills

simulate: build ## SEEDS (10000) simulated factory mornings from seed FIRST (1) on; a failing seed says how to live it again
	@nice target/debug/simulate --seeds $(SEEDS) --first $(FIRST)

fuzz: ## every fuzz target for SECONDS (600) each; TARGETS names some
	@scripts/fuzz.sh "$(SECONDS)" $(TARGETS)

firmware: ## the chip's end for bare metal (thumbv7em-none-eabi), and its size
	@scripts/firmware.sh

demo: ## one factory morning with real processes; HSM=softhsm2 takes SoftHSM2
	@case "$(HSM)" in hsm-sim|softhsm2) ;; *) echo "HSM=$(HSM): name hsm-sim or softhsm2" >&2; exit 64;; esac
	@if [ "$(HSM)" = softhsm2 ] || ! command -v openssl >/dev/null; then scripts/setup.sh; fi
	$(CARGO) build --release --workspace --locked
	@rm -rf target/demo
	@target/release/demo --hsm $(HSM) --out target/demo

bench: ## how fast issuance is here, with both HSMs, beside the floors of its parts; rows go to target/bench.json; about 8 minutes
	@scripts/setup.sh
	$(CARGO) build --release --workspace --locked
	@target/release/bench --out target/bench.json

bench-growth: ## the rate, memory and start of a server with 10,000 and with 1,000,000 devices; about 10 minutes
	@scripts/setup.sh
	$(CARGO) build --release --workspace --locked
	@target/release/bench --hsm softhsm2 --grow-to 10000 --grow-to $(DEVICES) --out target/bench-growth.json

overload: ## twice as much as the server can do here, with both HSMs; 90 % of the peak are to be done, and the rest is to be told when to come again
	@scripts/setup.sh
	$(CARGO) build --release --workspace --locked
	@target/release/bench --overload --units 6000 --out target/overload.json

bench-slow-disk: ## one client alone, on a disk whose flushes take 2 ms longer than this machine's
	@scripts/setup.sh
	$(CARGO) build --release --workspace --locked
	@target/release/bench --flush-ms 2 --only issuance --in-flight 1 --in-flight 64 --out target/bench-slow-disk.json

plot: ## the rows of the last make bench as a picture, docs/bench.svg
	@target/release/bench --out target/bench.json --plot docs

clean-demo: ## remove what the last demonstration left
	@rm -rf target/demo
