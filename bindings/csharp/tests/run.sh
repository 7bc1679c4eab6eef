#!/bin/sh
# Compiles Wfvae.cs and its tests and runs them under Mono. Exit code 77: there is no Mono, and it cannot be installed.
#     run.sh [TEST]                      only tests whose names hold TEST
#     run.sh --build FOLDER FRAMEWORK    runs nothing: compiles tests.exe and program.exe to FOLDER, for .NET, whose libraries are in
#                                        FRAMEWORK
# As root on Debian it installs mono-mcs and mono-runtime (7 MB to fetch, 40 MB on disk; about 15 seconds).
# SPDX-License-Identifier: MIT OR Apache-2.0
set -eu
cd "$(dirname "$0")/../../.."
library=${WFVAE_LIBRARY_FOLDER:-$PWD/target/release}
header=${WFVAE_HEADER:-include/wfvae.h}

if ! command -v mcs > /dev/null || ! command -v mono > /dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        echo "no mcs and mono, and no root with apt-get"
        exit 77
    fi
    start=$(date +%s)
    tools/apt-install.sh --no-install-recommends mono-mcs mono-runtime ||
        { echo "mono-mcs and mono-runtime cannot be installed"; exit 77; }
    echo "installed Mono in $(($(date +%s) - start)) s"
fi

if [ "${1:-}" = --build ]; then
    work=$2
    references="-nostdlib -noconfig"
    for name in System.Private.CoreLib System.Collections System.Console System.IO.FileSystem System.Linq System.Memory \
        System.Runtime System.Runtime.Extensions System.Runtime.InteropServices System.Threading System.Threading.Thread; do
        references="$references -r:$3/$name.dll"
    done
else
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    references=-r:System.Core.dll
fi
# README's programs: the first runs, that for Unity is compiled against stubs.
awk -v work="$work" '/^```csharp/ { n++; program = work "/program" n ".cs"; next } /^```/ { program = "" } program { print > program }' \
    bindings/csharp/README.md
tests="bindings/csharp/tests/Tests.cs bindings/csharp/tests/AbiTests.cs"

# compile OUTPUT SOURCE...: Wfvae.cs and more, with all warnings as errors.
compile() {
    output=$1
    shift
    # shellcheck disable=SC2086
    mcs -unsafe -warnaserror $references "-out:$work/$output" bindings/csharp/Wfvae.cs "$@"
}

if [ "${1:-}" = --build ]; then
    # Mono's compiler takes two versions of an assembly for another one, and says so.
    # shellcheck disable=SC2086
    compile tests.exe -nowarn:1701,1702 -d:NETCOREAPP $tests bindings/csharp/tests/SpanTests.cs
    compile program.exe -nowarn:1701,1702 "$work/program1.cs"
    exit
fi

# shellcheck disable=SC2086
compile tests.exe -langversion:default $tests
# The part for spans, which Mono's library has, though it does not say so.
# shellcheck disable=SC2086
compile spans.exe -d:NETCOREAPP $tests bindings/csharp/tests/SpanTests.cs
compile program.exe "$work/program1.cs"
# The inspector sets the picture.
compile unity.dll -nowarn:649 -target:library "$work/program2.cs" bindings/csharp/tests/UnityStubs.cs
python3 bindings/abi.py "$header" "$work"
mkdir "$work/files"
# Unity, Mono and .NET look for libwfvae.so by the name "wfvae".
export LD_LIBRARY_PATH="$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
mono "$work/program.exe"
timeout 300 mono --debug "$work/spans.exe" "$PWD/tests/golden" "$work/files" "$@"
timeout 300 mono --debug "$work/tests.exe" "$PWD/tests/golden" "$work/files" Version
