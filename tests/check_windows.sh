#!/bin/sh
# Builds libwfvae for Windows, and runs its tests in Wine, in the chroot of tools/cross.sh. Python, Node and .NET for Windows, which are
# fetched (100 MB), run the tests of the bindings. What is compared with Linux is made first, outside.
#     check_windows.sh [--all]     --all: checks properties of streams on 100 models in place of 10
# Exits with 77 where there can be no chroot.
set -u
cd "$(dirname "$0")/.."
. tests/groups.sh
target=x86_64-pc-windows-gnu
clip=target/demo/box-320x240.y4m
results=target/cross/windows-results
bindings=target/cross/windows-bindings
languages=target/windows-languages

if [ "${1:-}" != --inside ]; then
    case $* in
    "" | --all) ;;
    *) echo "$0: $* is unknown; --all is all there is" >&2 && exit 2 ;;
    esac
    tools/cross.sh || exit
    mkdir -p $results
    make -s target/release/c/reconstruct $clip && tools/fetch-onnxruntime.sh --for windows && tools/fetch-windows-languages.sh || exit 1
    # Windows has no level for a matrix unit.
    levels=$(cpu_levels target/release/c/reconstruct) && levels=${levels% amx} || exit 1
    for level in $levels; do
        WFVAE_CPU=$level target/release/c/reconstruct -q $clip "$results/linux-$level.y4m" > /dev/null || exit 1
    done
    echo "$levels" > $results/levels
    # C# and Node's packages, with this machine's tools. Tests look for golden cases in their tree.
    rm -rf $bindings && mkdir -p $bindings/csharp $bindings/tree/bindings && ln -s "$PWD/tests" $bindings/tree/tests
    bindings/csharp/tests/run.sh --build $bindings/csharp $languages/dotnet/shared/Microsoft.NETCore.App/*
    case $? in 0) ;; 77) rm -r $bindings/csharp ;; *) exit 1 ;; esac
    cp -R bindings/node $bindings/tree/bindings/node && rm -rf $bindings/tree/bindings/node/node_modules
    (cd $bindings/tree/bindings/node && npm install --os=win32 --cpu=x64 --no-package-lock --no-audit --no-fund --ignore-scripts --silent)
    exec tools/cross.sh tests/check_windows.sh --inside "$@"
fi
option=${2:-}

# Everything is built as for a release, but for the slow last optimisation. The standard library is built, too: Debian has none for
# this target.
export RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$PWD/target/cross/windows" CARGO_INCREMENTAL=0
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_DEBUG=none
build=target/cross/windows/$target/release
std="-Z build-std=std,panic_unwind,test"
# Paths of Windows: Wine shows the root as drive Z.
export WFVAE_ONNXRUNTIME="Z:$PWD/target/onnxruntime-windows/onnxruntime.dll"
export WINEPREFIX=/tmp/wine WINEDEBUG=-all WINEDLLOVERRIDES="mscoree=;mshtml=" XDG_RUNTIME_DIR=/tmp
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine

cargo_test() {
    # shellcheck disable=SC2086
    cargo test --quiet --release $std --target $target "$@"
}

# C tests that take no argument, or the folder of the golden cases.
c_tests() {
    worst=0
    for program in "$build"/test_*.exe; do
        case $(basename "$program" .exe) in
        # It needs a folder without a runtime.
        test_runtime) continue ;;
        test_alpha | test_bfloat16 | test_errors_* | test_info | test_messages | test_options | test_other_threads) set -- tests/golden ;;
        *) set -- ;;
        esac
        wine "$program" "$@" || { echo "$program: failed" && worst=1; }
    done
    return $worst
}

# Beside its runtime, a program finds it; this one looks for others.
runtime_test() {
    folder=target/cross/windows-runtime
    rm -rf $folder && mkdir -p $folder
    cp "$build/wfvae.dll" "$build/test_runtime.exe" "$build"/old_onnxruntime* $folder/ &&
        (unset WFVAE_ONNXRUNTIME && wine $folder/test_runtime.exe "Z:$PWD/target/onnxruntime-windows/onnxruntime.dll")
}

# The same bytes as on Linux: with every level, with the level that the library chooses, and from a pipe.
same_bytes() {
    for level in $(cat $results/levels); do
        echo "WFVAE_CPU=$level"
        WFVAE_CPU=$level wine "$build/reconstruct.exe" -q $clip $results/file.y4m > /dev/null &&
            cmp "$results/linux-$level.y4m" $results/file.y4m || return 1
    done
    wine "$build/reconstruct.exe" -q $clip $results/file.y4m && cmp "$results/linux-$level.y4m" $results/file.y4m &&
        wine "$build/reconstruct.exe" -q < $clip > $results/pipe.y4m && cmp "$results/linux-$level.y4m" $results/pipe.y4m
}

# A path of this tree, for programs of Windows.
windows_path() {
    echo "Z:$PWD/$1"
}

# Those of the package's source with the library that was built. It finds ONNX Runtime's package by itself.
python_tests() (
    unset WFVAE_ONNXRUNTIME
    PYTHONPATH="$(windows_path bindings/python/src);$(windows_path $languages/site);$(windows_path target/onnxruntime-windows/wheel)"
    WFVAE_LIBRARY=$(windows_path "$build/wfvae.dll")
    WFVAE_TEST_ABI=$(windows_path $bindings/abi.txt)
    WFVAE_TEST_PROGRAMS=$(windows_path "$build")
    WFVAE_TEST_READMES="$(windows_path README.md) $(windows_path bindings/python/README.md)"
    export PYTHONPATH PYTHONDONTWRITEBYTECODE=1 WFVAE_LIBRARY WFVAE_TEST_ABI WFVAE_TEST_PROGRAMS WFVAE_TEST_READMES
    wine $languages/python/python.exe -m pytest -q -rs -p no:cacheprovider bindings/python/tests
)

# .NET finds the library beside a program, and wants a file that says which .NET is meant.
csharp_tests() {
    cp "$build/wfvae.dll" $bindings/abi.txt $bindings/csharp/ && mkdir $bindings/csharp/files || return 1
    for program in program tests; do
        echo '{"runtimeOptions": {"framework": {"name": "Microsoft.NETCore.App", "version": "3.1.0"}}}' \
            > $bindings/csharp/$program.runtimeconfig.json
        wine $languages/dotnet/dotnet.exe $bindings/csharp/$program.exe "$(windows_path tests/golden)" \
            "$(windows_path $bindings/csharp/files)" || return 1
    done
}

node_tests() (
    WFVAE_LIBRARY=$(windows_path "$build/wfvae.dll") WFVAE_ABI=$(windows_path $bindings/abi.txt)
    export WFVAE_LIBRARY WFVAE_ABI WFVAE_TEST_NO_PROCESSES=1
    # In Wine, its output cannot be a pipe.
    wine $languages/node/node.exe $bindings/tree/bindings/node/test/wfvae.test.js > $bindings/node.log 2>&1
    status=$?
    grep -E '^(not )?ok|^# (pass|fail|skipped)' $bindings/node.log
    [ $status = 0 ] || cat $bindings/node.log
    return $status
)

group wine wineboot --init
group build make -s "TARGET=$target" "BUILD=$build" "CARGO=cargo $std" all c-tests
group c c_tests
group runtime runtime_test
group same-bytes same_bytes
group programs python3 tests/check_programs.py "$build" wine
group abi env CC=x86_64-w64-mingw32-gcc python3 bindings/abi.py include/wfvae.h $bindings wine
group python python_tests
if [ -d $bindings/csharp ]; then group csharp csharp_tests; else skip csharp "there is no C# compiler"; fi
if [ -d $bindings/tree/bindings/node/node_modules/koffi ]; then group node node_tests; else skip node "npm cannot fetch koffi"; fi
# CUDA's part is for Linux.
properties=10
[ "$option" != --all ] || properties=100
export WFVAE_PROPERTY_CASES=$properties
group compile cargo_test --no-run
group unit cargo_test --lib -- --skip runtime::cuda
group golden cargo_test --test golden
group streams cargo_test --test streaming --test snapshots --test tiles
group files cargo_test --test latent_files --test users_files --test checkpoints --test formats --test numbers --test scaling
skip fork "Windows has no fork"
skip memory "estimate, limits, memory and durability read /proc, set limits or replace functions of Linux"
skip cuda "CUDA devices work on Linux only so far"
wineserver=$(find /usr/lib -name wineserver -path '*wine*' | head -n 1)
[ -z "$wineserver" ] || "$wineserver" --kill
summary check-windows
