# `make` tells what there is. CARGO_TARGET_DIR is honoured everywhere; nothing here writes into the work tree but
# `target/`, where that is where cargo builds.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

CARGO ?= cargo
# Where rustup puts cargo, for shells that were opened before.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.PHONY: help deps toolchain build release test lint doc deny audit demo run soak fuzz bench bench-peers bench-check \
	bench-check-update deb test-deb reproducible clean

help: ## Show this list
	@echo 'masker: swaps personal data for tokens and back. Start with `make demo`.'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28

deps: ## Install what building and testing need and this machine lacks (as root; otherwise tell what to install)
	@scripts/deps all

toolchain:
	@scripts/deps toolchain

build: toolchain ## Build for development
	$(CARGO) build --locked

release: toolchain ## Build for use: the binary is in target/release, or below CARGO_TARGET_DIR
	$(CARGO) build --locked --release

# The tests come last, so that what they say is the last thing said.
test: toolchain lint doc deny audit ## Check everything: format, lints, documentation, dependencies, tests
	$(CARGO) test --locked --no-fail-fast 2>&1 | scripts/sum-tests

lint: toolchain ## Check format and lints
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# Private items are documented too, so links to them lead somewhere.
doc: toolchain ## Build the documentation of the source; nothing in it may be amiss
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' $(CARGO) doc --locked --no-deps --document-private-items

deny: toolchain ## Hold the dependencies to deny.toml, and their versions to supply-chain/; takes no network
	$(CARGO) fetch --locked
	$(CARGO) deny --offline --locked check bans licenses sources
	$(CARGO) vet --locked --frozen

# Without a network there is nothing to ask, which is no fault of the source's.
audit: toolchain ## Ask the advisory database about the dependencies, where it can be reached
	@if timeout 120 $(CARGO) deny fetch db >/dev/null 2>&1; then \
	  $(CARGO) deny --locked check advisories; \
	else \
	  echo 'advisories: not checked, for their database cannot be reached from here'; \
	fi

demo: release ## The whole story in a minute: tokenize 1,000 patients, kill -9, rotate the key and take the old one away, get every byte back
	@"$$(scripts/target-dir)/release/masker" demo

run: release ## Run a daemon on generated development keys, under ~/.local/state/masker-dev
	@scripts/run-dev "$$(scripts/target-dir)/release/masker"

# On both engines at once. The tests have a minute of it, on the build for development.
soak: release ## Let everything happen to a daemon under load, for SOAK_SECONDS (1200) and by SOAK_SEED; tell what it survived
	MASKER_BINARY="$$(scripts/target-dir)/release/masker" SOAK_SECONDS="$${SOAK_SECONDS:-1200}" \
	  $(CARGO) test --locked --test crash soak -- --nocapture

# FUZZ names targets: `make fuzz FUZZ="token row"`.
fuzz: toolchain ## Look for bytes that break the readers of bytes: each target for FUZZ_SECONDS (60)
	@scripts/deps fuzz
	@scripts/fuzz $(FUZZ)

bench: toolchain ## Measure: cryptography, the store, and a rotation under load (a quarter of an hour)
	$(CARGO) bench --locked

# PEERS has options: `make bench-peers PEERS=--help` lists them.
bench-peers: toolchain ## Measure against OpenBao, a server that does nothing and the bare cryptography: benches/peers/RESULTS.md
	@scripts/deps bench
	@python3 -B benches/peers/run.py $(PEERS)

bench-check: toolchain ## Count the instructions of the core operations; fail where one takes 5 % more than is kept
	@scripts/deps bench
	$(CARGO) bench --locked --bench instructions

bench-check-update: toolchain ## Count them, and keep what they are now
	@scripts/deps bench
	$(CARGO) bench --locked --bench instructions -- --update

deb: toolchain ## Make the Debian package: target/debian/masker_VERSION_ARCHITECTURE.deb
	@directory="$$(scripts/target-dir)" && \
	  scripts/build-release . "$$directory/package" && \
	  $(CARGO) run --quiet --locked --package xtask -- papers "$$directory/debian/papers" && \
	  scripts/deb --binary "$$directory/package/release/masker" --papers "$$directory/debian/papers" --output "$$directory/debian"

# The binary for development does: what is tested is the package around it.
test-deb: build ## Install, upgrade, remove and purge the package in a fresh Debian (as root)
	@scripts/deps deb
	@directory="$$(scripts/target-dir)" && \
	  $(CARGO) run --quiet --locked --package xtask -- papers "$$directory/debian/papers" && \
	  scripts/test-deb --binary "$$directory/debug/masker" --papers "$$directory/debian/papers"

reproducible: toolchain ## Build the package's binary twice, in different places, and compare (a quarter of an hour)
	@scripts/reproducible

clean: ## Remove what was built
	$(CARGO) clean
