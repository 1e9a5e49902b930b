# redmux: `make` alone says what there is. The work is done by scripts/, which can be run by hand too.

PREFIX     ?= /usr/local
LIBDIR     ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR    ?=
TARGET     := $(or $(CARGO_TARGET_DIR),target)

# cargo may come from rustup, where no shell profile was read.
export PATH := $(PATH):$(or $(CARGO_HOME),$(HOME)/.cargo)/bin
export PREFIX LIBDIR INCLUDEDIR DESTDIR

SOURCES := $(shell find src build.rs Cargo.toml Cargo.lock -type f 2>/dev/null)
LIBRARY := $(TARGET)/release/libredmux.so

.PHONY: help demo test deep header build wheel install uninstall clean

help:
	@echo 'make demo       shows it at work, against a private Redis (installs what it needs first)'
	@echo 'make test       every check, with a summary at the end (installs what it needs first)'
	@echo 'make deep       fuzzing and the model test; DEEP_SECONDS=60 a fuzz target'
	@echo 'make build      the shared and the static library, in $(TARGET)/release'
	@echo 'make wheel      the Python package with the library in it, in $(TARGET)/python/dist'
	@echo 'make install    into PREFIX=$(PREFIX) (also DESTDIR, LIBDIR, INCLUDEDIR)'
	@echo 'make uninstall  takes away what install put there'
	@echo 'make header     writes include/redmux.h and include/redmux.exports anew'
	@echo 'make clean      removes everything that was built'

demo:
	@scripts/setup
	@scripts/demo

test:
	@scripts/setup
	@scripts/test

deep:
	@scripts/setup
	@scripts/deep

header:
	@scripts/header

build: $(LIBRARY)

# Built by whoever runs `make`, so that `sudo make install` after it needs no cargo.
$(LIBRARY): $(SOURCES)
	cargo build --release --lib
	@scripts/native-libs >/dev/null
	@ln -sf libredmux.so "$(TARGET)/release/$$(objdump -p $@ | awk '/SONAME/ { print $$2 }')"
	@touch $@

wheel: $(LIBRARY)
	@scripts/setup
	@scripts/wheel

install: $(LIBRARY)
	@scripts/install

uninstall:
	@scripts/install --uninstall

clean:
	cargo clean
	rm -rf fuzz/target fuzz/artifacts
