# The only list of commands. `make` alone prints it; `.ci/run` runs `check` and `test`, nothing else.
.DEFAULT_GOAL := help
.PHONY: help dev test check fmt e2e bench test-matrix deny

SB := target/debug/sb

# $(call need,PROGRAM,WHAT TO TYPE)
need = @command -v $(1) >/dev/null 2>&1 || { echo "make $@: $(1) is missing. $(2)" >&2; exit 1; }
RUST := Install Rust from https://rustup.rs and try again; rust-toolchain.toml picks the version.
NODE := Install Node.js 20 or newer (Debian: apt-get install nodejs npm. macOS: brew install node) and try again.
PYTHON := Install Python 3 with pip (Debian: apt-get install python3 python3-pip. macOS: brew install python) and try again.

help: ## Print this list
	@grep -hE '^[a-z0-9-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z0-9-]+):.*## (.*)/  make \1|\2/' | \
	  while IFS='|' read -r command words; do printf '%-20s %s\n' "$$command" "$$words"; done

dev: ## Run examples/todos with a Postgres of its own; Ctrl-C ends everything
	$(call need,cargo,$(RUST))
	cargo build --locked
	cd examples/todos && exec ../../$(SB) dev

test: ## Run every test: unit, integration, then end to end
	$(call need,cargo,$(RUST))
	$(call need,python3,$(PYTHON))
	$(call need,openssl,Install OpenSSL (Debian: apt-get install openssl) and try again.)
	@bash tests/packages.sh
	cargo test --locked
	@$(MAKE) --no-print-directory e2e

check: ## Check formatting, lints and the rules of the source tree
	$(call need,cargo,$(RUST))
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo test --locked --test it tidy::

fmt: ## Format the source
	$(call need,cargo,$(RUST))
	cargo fmt

e2e: tests/e2e/node_modules/.package-lock.json ## Run the end-to-end tests; FILE=tests/e2e/auth.test.mjs for one file
	$(call need,cargo,$(RUST))
	cargo build --locked
	node --test --test-concurrency=1 $(or $(FILE),tests/e2e/*.test.mjs)

tests/e2e/node_modules/.package-lock.json: tests/e2e/package-lock.json
	$(call need,node,$(NODE))
	$(call need,npm,$(NODE))
	cd tests/e2e && npm ci
	@touch $@

bench: ## Measure sb beside its peers; ARGS="--help" lists the options
	$(call need,cargo,$(RUST))
	$(call need,python3,$(PYTHON))
	cargo build --locked --release --bins --examples
	python3 bench/run.py --sb target/release/sb $(ARGS)

test-matrix: ## Run tests/it against Postgres 15, 16, 17 and 18; VERSIONS="15 18" for some
	$(call need,cargo,$(RUST))
	$(call need,python3,$(PYTHON))
	@bash tests/packages.sh
	bash tests/matrix.sh $(VERSIONS)

deny: ## Check licences, sources and banned crates of every dependency
	$(call need,cargo-deny,Type: cargo install --locked cargo-deny)
	cargo deny --locked --all-features check bans licenses sources
