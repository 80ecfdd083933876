# `make` lists the targets. CARGO_TARGET_DIR is honoured; nothing is written into the work tree except `target/`, if that is
# where cargo builds.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# Cargo uses all cores for one command; two at a time would only wait for each other.
.NOTPARALLEL:

CARGO ?= cargo
# Where rustup puts cargo, for shells that were opened before.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin

.PHONY: help demo check test deps toolchain build release run lint doc docs-check book deny audit test-deb soak fuzz bench \
	bench-peers bench-text bench-check bench-check-update deb reproducible clean

help: ## Show this list
	@echo 'masker: replaces personal data with tokens, and tokens with the data. Start with `make demo`.'
	@echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 28

demo: toolchain ## Show the whole: tokenize 1,000 patients, kill -9, rotate the key, remove the old one, get every byte back
	$(CARGO) build --locked --profile demo --bin masker
	@"$$(scripts/target-dir)/demo/masker" demo

check: lint ## Check format, lints and unit tests: for every edit, in under a minute
	$(CARGO) test --locked --workspace --lib --no-fail-fast 2>&1 | scripts/sum-tests

# The tests are last, so that their sum is the last line.
test: deps lint doc docs-check book deny audit test-deb ## Check everything, and install what that needs
	$(CARGO) test --locked --workspace --no-fail-fast 2>&1 | scripts/sum-tests

deps: ## Install what `make test` needs and this machine lacks (as root on Debian; elsewhere say what to install)
	@scripts/deps test

toolchain:
	@scripts/deps toolchain

build: toolchain ## Build for development
	$(CARGO) build --locked

release: toolchain ## Build for use: target/release/masker, or below CARGO_TARGET_DIR
	$(CARGO) build --locked --release

run: release ## Run a daemon on generated development keys, under ~/.local/state/masker-dev
	@scripts/run-dev "$$(scripts/target-dir)/release/masker"

# The fuzz targets are a workspace of their own. tests/documents compiles their source; here their lock file is compared.
lint: ## Check format, lints, the layers of the crates, what `Debug` shows, and the lock file of the fuzz targets
	@scripts/deps check
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@scripts/check-layers
	@scripts/check-debug
	@$(CARGO) metadata --quiet --locked --manifest-path fuzz/Cargo.toml --format-version 1 >/dev/null

# Private items are documented too, so that links to them resolve.
doc: toolchain ## Build the documentation of the source, without warnings
	RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' \
	  $(CARGO) doc --locked --workspace --no-deps --document-private-items

docs-check: toolchain ## Compare the generated pages of the book with the source
	$(CARGO) xtask docs --check

book: ## Build the book: target/book/index.html
	@scripts/deps book
	mdbook build docs --dest-dir "$$(scripts/target-dir)/book"

deny: ## Check the dependencies against deny.toml, and their versions against supply-chain/; needs no network
	@scripts/deps deny
	$(CARGO) fetch --locked
	$(CARGO) deny --workspace --offline --locked check bans licenses sources
	$(CARGO) vet --locked --frozen

# A machine that cannot reach the database has no fault to report.
audit: ## Check the dependencies against the advisory database, if it can be reached
	@scripts/deps deny
	@if timeout 120 $(CARGO) deny fetch db >/dev/null 2>&1; then \
	  $(CARGO) deny --workspace --locked check advisories; \
	else \
	  echo 'advisories: not checked, because their database cannot be reached from here'; \
	fi

# The development build does: this tests the package around the binary. The smallest test is built too, because cargo then
# enables the features of the development dependencies, as in `cargo test --workspace`. Without it, several dependencies
# (clap, nix, rustix, tracing-subscriber, ...) and all that needs them would be compiled a second time.
test-deb: toolchain ## Install, upgrade, remove and purge the packages in a fresh Debian (as root)
	@scripts/deps test-deb
	$(CARGO) build --locked --workspace --bins --test environ
	@directory="$$(scripts/target-dir)" && \
	  "$$directory/debug/xtask" papers "$$directory/debian/papers" && \
	  scripts/test-deb --binaries "$$directory/debug" --papers "$$directory/debian/papers"

# Both engines run at the same time. `make test` runs a minute of it on the development build.
soak: release ## Run a daemon under load and faults for SOAK_SECONDS (1200), in an order that SOAK_SEED determines
	MASKER_BINARY="$$(scripts/target-dir)/release/masker" SOAK_SECONDS="$${SOAK_SECONDS:-1200}" \
	  $(CARGO) test --locked --test crash soak -- --nocapture

# FUZZ names targets: `make fuzz FUZZ="token row"`.
fuzz: toolchain ## Fuzz each target for FUZZ_SECONDS (60)
	@scripts/deps fuzz
	@scripts/fuzz $(FUZZ)

bench: toolchain ## Measure the cryptography, the store, and a rotation under load (a quarter of an hour)
	$(CARGO) bench --locked

# PEERS has options: `make bench-peers PEERS=--help` lists them.
bench-peers: toolchain ## Measure against OpenBao, a minimal server and the bare cryptography: benches/peers/RESULTS.md
	@scripts/deps bench
	@python3 -B benches/peers/run.py $(PEERS)

# TEXT has options: `make bench-text TEXT=--help` lists them, and what the folder holds.
bench-text: toolchain ## Measure the detector of personal data in text, with TEXT='--data FOLDER': benches/text/RESULTS.md
	@scripts/deps bench
	@python3 -B benches/text/run.py $(TEXT)

bench-check: toolchain ## Count the instructions of the core operations; fail if one takes 5 % more than recorded
	@scripts/deps bench
	$(CARGO) bench --locked --bench instructions

bench-check-update: toolchain ## Count the instructions, and record the result
	@scripts/deps bench
	$(CARGO) bench --locked --bench instructions -- --update

deb: toolchain ## Build the Debian packages: target/debian/masker_VERSION_ARCHITECTURE.deb, and that of masker-gateway
	@scripts/deps deb
	@directory="$$(scripts/target-dir)" && \
	  scripts/build-release . "$$directory/package" && \
	  $(CARGO) run --quiet --locked --package xtask -- papers "$$directory/debian/papers" && \
	  for package in masker masker-gateway; do \
	    scripts/deb --package $$package --binary "$$directory/package/release/$$package" --papers "$$directory/debian/papers" \
	      --output "$$directory/debian"; \
	  done

reproducible: toolchain ## Build the packages' binaries twice, in different directories, and compare (half an hour)
	@scripts/reproducible

clean: ## Remove what was built
	$(CARGO) clean
