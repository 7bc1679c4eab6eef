#!/bin/sh
# Runs fuzz targets that fuzz/build.sh built, for so many seconds each: fuzz/run.sh SECONDS TARGET... New inputs come to
# target/fuzz/corpus/TARGET, findings to target/fuzz/found. Fails if a target finds anything. FUZZ_FLAGS: more for libFuzzer. FUZZ_BUILD: as
# fuzz/build.sh got it.
set -eu
cd "$(dirname "$0")/.."
seconds=$1
shift
programs=target/fuzz/programs
[ "${FUZZ_BUILD:-address}" = address ] || programs=target/fuzz/$FUZZ_BUILD/programs
fuzz/make_seeds.sh "$programs"
mkdir -p target/fuzz/found
WFVAE_ONNXRUNTIME=$PWD/target/onnxruntime/libonnxruntime.so.1
WFVAE_GOLDEN=$PWD/tests/golden
# Files of the targets; what a crash leaves goes with it.
TMPDIR=$(mktemp -d "$([ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")/wfvae-fuzz-XXXXXX")
trap 'rm -rf "$TMPDIR"' EXIT
trap 'exit 130' INT TERM
# Short traces of allocations make it twice as fast.
ASAN_OPTIONS=malloc_context_size=3:quarantine_size_mb=16${ASAN_OPTIONS:+:$ASAN_OPTIONS}
export WFVAE_ONNXRUNTIME WFVAE_GOLDEN TMPDIR ASAN_OPTIONS
for target in "$@"; do
    # Kilobytes of text hold all that the parsers know. Calls may take what their models take; after each of these inputs, looking for leaks
    # would take longer than the input, so it is done at the end.
    case $target in
    calls | header_row) limits="-detect_leaks=0 -rss_limit_mb=3072 -malloc_limit_mb=256 -max_len=1024" words= ;;
    y4m) limits="-rss_limit_mb=1024 -malloc_limit_mb=64 -max_len=8192" words=fuzz/y4m.dict ;;
    pixels) limits="-rss_limit_mb=1024 -malloc_limit_mb=64 -max_len=512" words= ;;
    snapshot) limits="-rss_limit_mb=1024 -malloc_limit_mb=64 -max_len=4096" words= ;;
    latent_decode) limits="-rss_limit_mb=2048 -malloc_limit_mb=256 -max_len=4096" words=fuzz/json.dict ;;
    latent_file) limits="-rss_limit_mb=1024 -malloc_limit_mb=64 -max_len=8192" words=fuzz/json.dict ;;
    checkpoint) limits="-rss_limit_mb=1024 -malloc_limit_mb=64 -max_len=12288" words=fuzz/json.dict ;;
    *) limits="-rss_limit_mb=1024 -malloc_limit_mb=64 -max_len=4096" words=fuzz/json.dict ;;
    esac
    program=$programs/$target
    [ "$target" != convert ] || program="target/fuzz/venv/bin/python fuzz/convert.py"
    set -- "target/fuzz/corpus/$target" "target/fuzz/seeds/$target"
    [ ! -d "fuzz/findings/$target" ] || set -- "$@" "fuzz/findings/$target"
    mkdir -p "target/fuzz/corpus/$target"
    log=target/fuzz/$target.log
    # shellcheck disable=SC2086
    $program -max_total_time="$seconds" -timeout=10 $limits ${words:+-dict=$words} -artifact_prefix=target/fuzz/found/"$target"- \
        -print_final_stats=1 ${FUZZ_FLAGS:-} "$@" > "$log" 2>&1 || {
        # What libFuzzer ends with when it is interrupted.
        [ $? != 72 ] || { echo "$target: interrupted after $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs" >&2; exit 130; }
        tail -n 40 "$log"
        echo "$target: found something, see $log; docs/fuzzing.md says what to do" >&2
        exit 1
    }
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs," \
        "$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log") a second, $(grep -o 'cov: [0-9]* ft: [0-9]*' "$log" | tail -n 1)"
done
