# Everything from a fresh machine with Rust, a C compiler, Python with pip, and root: `make demo`, `make check`.
# CARGO_PROFILE=dev builds faster and runs slower.

CARGO ?= cargo
CC ?= cc
CFLAGS ?= -O2 -g
WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wshadow
BUILD = target/release
C_FLAGS = -std=c99 $(WARNINGS) $(CFLAGS) -Iinclude -Iexamples
# The programs find the library where it was built, and the library finds the runtime beside itself.
C_LIBS = -L$(BUILD) -lwfvae -Wl,-rpath,'$$ORIGIN/..' -lm
CLIPS = box-320x240 city-360x200
EXAMPLES = $(BUILD)/c/reconstruct

.PHONY: all demo check golden header runtime clean help

all: $(EXAMPLES)

help:
	@sed -n 's/^#: //p' Makefile

#: make demo     streams two real clips through the built-in model; pictures and clips under target/demo
demo: $(EXAMPLES) $(CLIPS:%=target/demo/%.y4m)
	@for clip in $(CLIPS); do \
	    $(BUILD)/c/reconstruct -p target/demo/$$clip.png target/demo/$$clip.y4m target/demo/$$clip-reconstructed.y4m || exit 1; \
	    echo; \
	done
	@echo "look at target/demo/*.png, play target/demo/*-reconstructed.y4m"

target/demo/%.y4m: examples/clips/%.y4m.gz
	@mkdir -p $(@D)
	gunzip -c $< > $@

#: make check    all tests
check: runtime
	tests/check.sh

#: make golden   the parity tests alone; WFVAE_GOLDEN_DIR=DIR adds the cases of another folder
golden: runtime
	$(CARGO) test --release --quiet --test golden

#: make header   writes include/wfvae.h from src/capi
header:
	WFVAE_UPDATE_HEADER=1 $(CARGO) test --release --quiet --test header the_committed

#: make runtime  fetches ONNX Runtime into target/onnxruntime
runtime:
	@tools/fetch-onnxruntime.sh

# Cargo decides what is out of date.
.PHONY: library
library: runtime
	$(CARGO) build --release
	@ln -sf ../onnxruntime/libonnxruntime.so.1 $(BUILD)/libonnxruntime.so.1

$(BUILD)/c/reconstruct: examples/reconstruct.c examples/y4m.c examples/png.c examples/y4m.h examples/png.h | library
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -o $@ $(filter %.c,$^) $(C_LIBS)

#: make clean    removes all that was built or fetched
clean:
	rm -rf target
