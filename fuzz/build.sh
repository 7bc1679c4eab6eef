#!/bin/sh
# Builds fuzz targets to target/fuzz: fuzz/build.sh TARGET... docs/fuzzing.md lists them. FUZZ_BUILD is
#     address    with AddressSanitizer; the default
#     plain      without it, some times as fast
#     coverage   to count what is reached, for fuzz/coverage.sh; targets in C need `make library` first
# Needs a nightly Rust and a C++ compiler; for targets in C, clang, too. Exits with 77 where one is missing, and says which.
set -eu
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
host=$(rustc -vV | sed -n 's/^host: //p')

missing() {
    echo "fuzz/build.sh: $*" >&2
    exit 77
}

have() {
    command -v "$1" > /dev/null || tools/apt-install.sh "$2"
}

# What cargo-fuzz passes. The checks of a build for debugging are in fuzz/Cargo.toml.
counters="-Cpasses=sancov-module"
for option in level=4 inline-8bit-counters pc-table; do
    counters="$counters -Cllvm-args=-sanitizer-coverage-$option"
done
kind=${FUZZ_BUILD:-address}
case $kind in
address)
    folder=target/fuzz
    flags="-Zsanitizer=address $counters -Cllvm-args=-sanitizer-coverage-trace-compares"
    in_clang="-O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"
    ;;
plain)
    folder=target/fuzz/plain
    flags=$counters
    in_clang="-O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all"
    ;;
coverage)
    folder=target/fuzz/coverage
    # Quick to build.
    flags="-Cinstrument-coverage -Copt-level=1"
    in_clang="-O1 -fsanitize=fuzzer -fprofile-instr-generate -fcoverage-mapping"
    ;;
*) echo "fuzz/build.sh: FUZZ_BUILD=$kind is unknown; address, plain or coverage" >&2 && exit 2 ;;
esac
programs=$folder/programs
mkdir -p $programs

clang="clang -std=gnu11 -g -Wall -Wextra -Werror $in_clang -Iinclude -Iexamples"
# The library, which is built with the targets in Rust. Only what is called of it: libFuzzer looks through the counters of all that is
# linked after each input.
archive=$folder/$host/release/deps/libwfvae.a
# Counters of two versions of LLVM cannot be in one program.
[ "$kind" != coverage ] || archive=target/release/libwfvae.a
rust="-Wl,--gc-sections,-z,start-stop-gc $archive -lpthread -ldl -lm -lgcc_s"

# $1: the target; others: what is linked with it.
in_c() {
    name=$1
    shift
    $clang -o $programs/"$name" "fuzz/$name.c" "$@"
}

# The filter, in FFmpeg's libraries, of which only it is instrumented.
header_row() {
    tools/ffmpeg.sh > target/fuzz/ffmpeg.log 2>&1 || {
        [ $? = 77 ] || { cat target/fuzz/ffmpeg.log >&2; exit 1; }
        missing "header_row needs FFmpeg's source: $(tail -n 1 target/fuzz/ffmpeg.log)"
    }
    suite=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release | tr -d '"')
    ffmpeg=target/ffmpeg/$suite
    clang -std=gnu11 -g -O1 -w -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -DHAVE_AV_CONFIG_H \
        -Dwfvae_model_open=model_open_once -Dwfvae_model_close=model_stay_open -Iinclude -I"$ffmpeg/build" -I"$ffmpeg/src" \
        -I"$ffmpeg/src/libavfilter" -I"$ffmpeg/libffmpeg-nvenc-dev/usr/include" -c -o $programs/vf_wfvae.o ffmpeg-filter/vf_wfvae.c
    libraries=
    for part in avfilter swscale avformat avcodec swresample avutil; do libraries="$libraries $ffmpeg/build/lib$part/lib$part.a"; done
    # shellcheck disable=SC2086
    in_c header_row -I"$ffmpeg/build" -I"$ffmpeg/src" $programs/vf_wfvae.o $libraries -lz $rust
}

known="checkpoint, index, latent_file, latent_decode, snapshot, pixels, calls, y4m, header_row or convert"
[ $# -gt 0 ] || { echo "fuzz/build.sh: name a target: TARGET=$known" >&2; exit 2; }
bins=
library=
for target in "$@"; do
    case $target in
    checkpoint | index | latent_file | latent_decode | snapshot | pixels) bins="$bins --bin $target" library=--lib ;;
    calls | y4m | header_row)
        have clang clang || missing "$target needs clang"
        [ "$kind" = coverage ] || library=--lib
        ;;
    convert) ;;
    *) echo "fuzz/build.sh: \"$target\" is unknown; TARGET=$known" >&2 && exit 2 ;;
    esac
done
if [ -n "$library" ]; then
    "$cargo" +nightly --version > /dev/null 2>&1 || missing "a nightly Rust is missing: rustup toolchain install nightly"
    have c++ g++ || missing "libFuzzer needs a C++ compiler"
    # shellcheck disable=SC2086
    RUSTFLAGS="--cfg fuzzing $flags" "$cargo" +nightly build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host" --target-dir $folder $library $bins
    for bin in $bins; do [ "$bin" = --bin ] || ln -sf "../$host/release/$bin" $programs/; done
fi
for target in "$@"; do
    case $target in
    calls)
        # shellcheck disable=SC2086
        in_c calls $rust
        ;;
    y4m)
        # shellcheck disable=SC2086
        in_c y4m examples/y4m.c $rust
        ;;
    header_row) header_row ;;
    convert)
        tools/venv.sh target/fuzz/venv fuzz/requirements.txt || missing "convert needs atheris, which pip cannot fetch for this Python"
        ;;
    esac
done
