#!/bin/sh
# Runs all tests. Says what it skipped and why; ends with the number of groups that passed and failed.
set -u
cd "$(dirname "$0")/.."
. tests/groups.sh
export DEBIAN_FRONTEND=noninteractive
start=$(date +%s)
c=target/release/c


# Tests write temporary files.
if ! { probe=$(mktemp 2> /dev/null) && rm -f "$probe"; }; then
    mkdir -p target/tmp && export TMPDIR="$PWD/target/tmp"
    echo "temporary files: ${TMPDIR}, as nothing can be written to the usual folder"
fi

have() {
    command -v "$1" > /dev/null
}

# Runs tests/c/test_NAME.c of each name, which may be a pattern, with the arguments. One that fails does not hide the others.
c_tests() {
    patterns=$1 worst=0
    shift
    for pattern in $patterns; do
        for source in tests/c/test_$pattern.c; do
            "$c/$(basename "$source" .c)" "$@" || worst=1
        done
    done
    return $worst
}

# Python with the packages that the tests import, made by tools/venv.sh.
python=target/venv/bin/python

# Saves the graphs of all kinds of models, in all ways to compute them, and runs ONNX's checker on them.
onnx_checker() {
    tools/venv.sh || return 1
    rm -rf target/onnx
    while read -r model options; do
        folder="target/onnx/$model$(echo "$options" | tr -d ' ')"
        mkdir -p "$folder"
        [ "$model" = builtin ] || options="$options -m tests/golden/$model"
        # shellcheck disable=SC2086
        $c/save_onnx $options "$folder" || return 1
    done << END
builtin
builtin -C stacked
builtin -C volume
builtin -F f16
builtin -F f16 -C volume
builtin -F bf16
builtin -F bf16 -C volume
builtin -F f16 -C stacked -L channels-last
v1-tiny
v1-tiny -F f16
v1-tiny -F bf16
v1-tiny-8x
v1-tiny-8x -F bf16 -C volume
v1-tiny-8x -C volume -L channels-last
own-noattn
v2-tiny
v2-tiny -F f16 -C volume
v2-tiny -F bf16
own-v2-image
own-v2-image -F bf16
own-v2-groupnorm
END
    $python tests/check_onnx.py target/onnx/*
}

# Latent files, written and read by the examples and by Python.
latent_files() {
    tools/venv.sh && $python tests/check_latents.py $c target/release/libwfvae.so
}

# The converter for training checkpoints; torch.save() files only if Python has torch.
converter() {
    tools/venv.sh && $python training/test_convert.py
}

# The benchmark's arithmetic, programs and output, but not its times.
bench_tool() {
    tools/venv.sh && $python tests/check_bench.py
}

# The example in a pipe and on files: the results must be the same.
pipe() {
    clip=target/demo/box-320x240.y4m
    make -s "$clip" || return 1
    $c/reconstruct -q < $clip > target/demo/pipe.y4m 2> target/demo/pipe.log || return 1
    $c/reconstruct -q -c 7 -t 1 $clip target/demo/file.y4m > target/demo/file.log || return 1
    grep '^psnr' target/demo/pipe.log target/demo/file.log || return 1
    awk '/^psnr/ { for (i = 2; i <= NF; i++) if ($i + 0 > 0) { exit !($i >= 32) } }' target/demo/file.log || return 1
    cmp target/demo/pipe.y4m target/demo/file.y4m
}

# Some cases of golden for every instruction set that this CPU has.
levels() {
    make -s target/demo/box-320x240.y4m && known=$(cpu_levels $c/reconstruct) || return 1
    for level in $known; do
        echo "WFVAE_CPU=$level"
        # shellcheck disable=SC2086
        WFVAE_CPU=$level cargo test --quiet --release $features --test golden -- own-8x-nearest own-v2-16x v1-image || return 1
        WFVAE_CPU=$level $c/test_bfloat16 tests/golden || return 1
    done
}

# bfloat16 on the CPU, with the unit of this machine if it has one, without, and where the system refuses it.
bfloat16() {
    $c/test_bfloat16 tests/golden && WFVAE_CPU=scalar $c/test_bfloat16 tests/golden && $c/test_refused_unit
}

# Snapshots, with the built-in model and one of 8 frames per latent.
scrub() {
    clip=target/demo/city-360x200.y4m
    make -s $clip && $c/scrub $clip && $c/scrub $clip tests/golden/v1-tiny-8x
}

tools/fetch-onnxruntime.sh || exit 1
skip cuda-device "the tests on a device are those of make check-cuda, which needs an NVIDIA GPU"
skip cuda-stub "make check-cuda-stub loads all CUDA sessions without a GPU; it fetches 250 MB and takes three minutes"
skip windows-tests "make check-windows runs tests in Wine, for which it makes a chroot of 4 GB; it takes minutes"
skip aarch64 "make check-aarch64 runs tests in QEMU, in the same chroot; it takes minutes"

# The libraries of wfvae-batch.
need pkg-config pkg-config
[ "$(tools/features.sh)" ] || need libavfilter libavfilter-dev || :
features=$(tools/features.sh)
need c++ g++ || skip header-cxx "there is no C++ compiler for the header, and none can be installed"

if cargo fmt --version > /dev/null 2>&1; then group format cargo fmt --check; else skip format "rustfmt is not installed"; fi
group links python3 tests/check_links.py
group build make -s -j2 all c-tests $c/soak
if cargo clippy --version > /dev/null 2>&1; then
    group clippy cargo clippy --quiet --release --all-targets --features batch -- --deny warnings
else
    skip clippy "clippy is not installed"
fi
# shellcheck disable=SC2086
group docs env RUSTDOCFLAGS="--deny warnings" cargo doc --quiet --release $features --lib --no-deps
# What takes longest runs beside the other groups, as neither keeps two cores busy. One failing test program must not hide the others.
rust_tests() {
    rust=0
    # All but `checksums`, a table to compare, and `cuda_stub`, all of which needs `make check-cuda-stub`. Clippy compiles it.
    programs=$(basename -s .rs -a tests/*.rs | sed '/^checksums$/d; /^cuda_stub$/d; s/^/--test /')
    set -- cargo test --quiet --no-fail-fast --release $features
    # shellcheck disable=SC2086
    "$@" --bins $programs || rust=1
    "$@" --doc || rust=1
    tests/unit.sh || rust=1
    return $rust
}

# The filter, in an FFmpeg built from the machine's Debian source, and the plugin, in the machine's own ffmpeg.
ffmpeg_tests() {
    tools/ffmpeg.sh || return
    set -- target/ffmpeg/ffmpeg target/ffmpeg/ffprobe
    if need ffmpeg ffmpeg && { [ -f /usr/include/frei0r.h ] || need frei0r-header frei0r-plugins-dev || [ -f /usr/include/frei0r.h ]; }; then
        make -s frei0r || return 1
        set -- "$@" --frei0r target/release/frei0r
    else
        echo "the frei0r plugin is skipped: no ffmpeg or no frei0r.h, and no way to install them"
    fi
    python3 tests/ffmpeg/check.py "$@"
}
beside rust_tests ffmpeg_tests

group vectors tests/check_vectors.sh target/release/libwfvae.so
group y4m c_tests 'y4m_*'
group png $c/test_png
group header-loop $c/test_header_loop
group errors c_tests 'errors_* info messages other_threads' tests/golden
group sizes $c/test_sizes
group alpha $c/test_alpha tests/golden
group options $c/test_options tests/golden
group bfloat16 bfloat16
group threads c_tests 'threads cancel'
group soak python3 tests/soak/run.py $c/soak tests/golden target/soak --thin
group float $c/test_float
group frames $c/test_frames
group findings $c/test_findings
group runtime $c/test_runtime
group fork $c/test_fork
group python-fork python3 tests/check_fork.py target/release/libwfvae.so
# Without strace, the test says what it cannot see.
need strace strace || :
group telemetry $c/test_telemetry
skip valgrind "make check-valgrind runs C tests under valgrind; it takes minutes"
skip fuzz "make fuzz-smoke runs the fuzz targets, in builds of their own, which take minutes"
skip soak-long "make soak works for hours, in which memory, descriptors and threads must not grow; the group soak is a thin run"
skip grids "make check-grids runs golden cases, tiles and estimates in all ways; it takes minutes"
group pipe pipe
group scrub scrub
group onnx-checker onnx_checker
group latent-files latent_files
group programs python3 tests/check_programs.py $c
group converter converter
group bench-tool bench_tool

group install tests/install/check.sh

# The C++ header, and the example that uses it.
cxx_tests() {
    tests/cxx/check.sh && make -s $c/bgra && python3 tests/cxx/check_bgra.py $c/bgra
}
if have c++; then group cuda-kernels tests/cuda-kernels/check.sh; else skip cuda-kernels "there is no C++ compiler"; fi
if have c++; then group cxx cxx_tests; else skip cxx "there is no C++ compiler, and none can be installed"; fi
group_or_skip csharp "run.sh says why" bindings/csharp/tests/run.sh
group_or_skip python "pip cannot fetch what it needs" bindings/python/check.sh
group_or_skip node "run.sh says why" bindings/node/test/run.sh

# Reads media files, so it needs FFmpeg's libraries, and the program, which makes them.
batch_tests() {
    [ -x target/release/wfvae-media ] && need ffmpeg ffmpeg || return 77
    python3 tests/batch/check.py target/release
}
group_or_skip batch "FFmpeg or its libraries are not installed, and cannot be" batch_tests

group rust-examples tests/check_examples.sh
group levels levels
group runtimes tests/check_runtimes.sh --quick
group rust ends rust_tests
group_or_skip ffmpeg "ffmpeg.sh says why" ends ffmpeg_tests
group_or_skip ffmpeg-apply "no FFmpeg source was fetched" python3 tests/ffmpeg/test_apply.py
# In a chroot with the standard library's source: two minutes. All of this script has 15 minutes.
if [ $(($(date +%s) - start)) -lt 720 ]; then
    group_or_skip windows "cross.sh says why" tests/check_compile.sh windows
else
    skip windows "this machine took more than 12 minutes so far; tests/check_compile.sh windows compiles the library for Windows"
fi

summary check
