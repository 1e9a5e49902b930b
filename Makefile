# redmux: `make` alone says what there is. The work is done by scripts/, which can be run by hand too.

PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR    ?=
TARGET     := $(or $(CARGO_TARGET_DIR),target)

# cargo may come from rustup, where no shell profile was read; it goes before an older one of the system.
CARGO_BIN := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export PATH := $(shell [ ! -x '$(CARGO_BIN)/cargo' ] || echo '$(CARGO_BIN):')$(PATH):$(CARGO_BIN)
export PREFIX BINDIR LIBDIR INCLUDEDIR DESTDIR

SOURCES := $(shell find src build.rs Cargo.toml Cargo.lock -type f 2>/dev/null)
LIBRARY := $(TARGET)/release/libredmux.so
TOOL    := $(TARGET)/release/redmux

.PHONY: help demo test chaos deep bench header build wheel gomod nupkg install uninstall clean

help:
	@echo 'make demo       shows it at work, against a private Redis (installs what it needs first)'
	@echo 'make test       every check, with a summary at the end (installs what it needs first)'
	@echo 'make chaos      numbered messages under random faults, each accounted for; SECONDS=60 SEED=7'
	@echo 'make deep       sanitizers, valgrind, the model test, fuzzing; DEEP_SECONDS=60 for each that goes on'
	@echo 'make bench      speed beside hiredis, redis-rs, redis-py, go-redis and others; ONLY=A one workload, ROUNDS=5 (docs/benchmarks.md)'
	@echo 'make build      the libraries and the command-line tool, in $(TARGET)/release'
	@echo 'make wheel      the Python package with the library in it, in $(TARGET)/python/dist'
	@echo 'make gomod      the Go module with the library in it, in $(TARGET)/go/proxy'
	@echo 'make nupkg      the .NET packages with the library in them, in $(TARGET)/dotnet/nupkg'
	@echo 'make install    into PREFIX=$(PREFIX) (also DESTDIR, BINDIR, LIBDIR, INCLUDEDIR)'
	@echo 'make uninstall  takes away what install put there'
	@echo 'make header     writes include/redmux.h and include/redmux.exports anew'
	@echo 'make clean      removes everything that was built'

demo:
	@scripts/setup
	@scripts/demo

test:
	@scripts/setup
	@scripts/test

# Not by the name SECONDS: bash counts in it.
chaos:
	@scripts/setup
	@SECONDS_TO_RUN=$(or $(SECONDS),60) SEED=$(SEED) scripts/chaos

deep:
	@scripts/setup deep
	@scripts/deep

bench:
	@scripts/setup bench
	@ONLY="$(ONLY)" ROUNDS="$(ROUNDS)" benches/run

header:
	@scripts/header

build: $(LIBRARY) $(TOOL)

# Built by whoever runs `make`, so that `sudo make install` after it needs no cargo.
# One run for both: without the feature of the tool cargo would compile the library a second time.
$(LIBRARY): $(SOURCES)
	cargo build --release --features tool --lib --bins
	@scripts/native-libs >/dev/null
	@ln -sf libredmux.so "$(TARGET)/release/$$(objdump -p $@ | awk '/SONAME/ { print $$2 }')"
	@touch $@

# The library comes behind the setup, which gets what builds it.
wheel gomod nupkg:
	@scripts/setup
	@$(MAKE) --no-print-directory build
	@scripts/$@

$(TOOL): $(LIBRARY)
	@test -e $@ || cargo build --release --features tool --lib --bins
	@touch $@

install: $(LIBRARY) $(TOOL)
	@scripts/install

uninstall:
	@scripts/install --uninstall

clean:
	cargo clean
	rm -rf fuzz/target fuzz/artifacts
