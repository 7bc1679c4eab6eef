# Everything from a fresh machine with Rust, a C compiler, Python with pip, and root: `make demo`, `make check`.

CARGO ?= cargo
CC ?= cc
CFLAGS ?= -O2 -g
BUILD = target/release
C = $(BUILD)/c
WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wshadow
C_FLAGS = -std=c99 $(WARNINGS) $(CFLAGS) -Iinclude -Iexamples -I$(C)
# Programs find the library in the folder above them, and the library finds the runtime beside itself.
C_LIBS = -L$(BUILD) -lwfvae -Wl,-rpath,'$$ORIGIN/..' -lm -lpthread

EXAMPLES = $(patsubst %,$(C)/%,reconstruct save_onnx)
C_TESTS = $(patsubst tests/c/%.c,$(C)/%,$(wildcard tests/c/test_*.c))
CLIPS = box-320x240 city-360x200

.PHONY: all library demo check golden header runtime clean help
.DELETE_ON_ERROR:

#: make          the library and the examples
all: library $(EXAMPLES)

help:
	@sed -n 's/^#: //p' Makefile

#: make demo     streams two real clips through the built-in model; pictures and clips come to target/demo
demo: $(C)/reconstruct $(CLIPS:%=target/demo/%.y4m)
	@for clip in $(CLIPS); do \
	    $(C)/reconstruct -p target/demo/$$clip.png target/demo/$$clip.y4m target/demo/$$clip-reconstructed.y4m || exit 1; \
	    echo; \
	done
	@echo "look at target/demo/*.png, play target/demo/*-reconstructed.y4m"

target/demo/%.y4m: examples/clips/%.y4m.gz
	@mkdir -p $(@D)
	@gunzip -c $< > $@

#: make check    all tests
check:
	@tests/check.sh

#: make golden   the parity tests alone; WFVAE_GOLDEN_DIR=DIR adds the case folders of DIR
golden: runtime
	@$(CARGO) test --quiet --test golden

#: make header   writes include/wfvae.h from src/capi
header:
	WFVAE_UPDATE_HEADER=1 $(CARGO) test --quiet --test header the_committed

#: make runtime  fetches ONNX Runtime to target/onnxruntime
runtime:
	@tools/fetch-onnxruntime.sh

# Cargo knows what is out of date.
library: runtime
	@$(CARGO) build --release
	@ln -sf ../onnxruntime/libonnxruntime.so.1 $(BUILD)/libonnxruntime.so.1

c-tests: $(C_TESTS) $(EXAMPLES)

$(C)/reconstruct: examples/reconstruct.c examples/y4m.c examples/png.c
$(C)/save_onnx: examples/save_onnx.c
$(C)/test_y4m: tests/c/test_y4m.c examples/y4m.c
$(C)/test_png: tests/c/test_png.c examples/png.c
$(C)/test_header_loop: tests/c/test_header_loop.c $(C)/header_loop.inc
$(C)/test_errors: tests/c/test_errors.c
$(C)/test_threads: tests/c/test_threads.c
$(C)/test_runtime: tests/c/test_runtime.c $(C)/old_onnxruntime.so

$(EXAMPLES) $(C_TESTS): examples/y4m.h examples/png.h include/wfvae.h | library
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -o $@ $(filter %.c,$^) $(C_LIBS)

# The loop in the header's introduction, without the comment's margin.
$(C)/header_loop.inc: include/wfvae.h
	@mkdir -p $(@D)
	@sed -n '/^ \*     int reconstruct(/,/^ \*     }/s/^ \*     //p' $< > $@

$(C)/old_onnxruntime.so: tests/c/old_onnxruntime.c
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -shared -fPIC -o $@ $<

#: make clean    removes all that was built or fetched
clean:
	rm -rf target
