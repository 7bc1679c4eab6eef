#!/bin/sh
# Compiles Wfvae.cs and its tests and runs them under Mono. Exit code 3: there is no Mono, and it cannot be installed.
# As root on Debian it installs mono-mcs and mono-runtime (7 MB to fetch, 40 MB on disk; about 15 seconds).
# SPDX-License-Identifier: MIT OR Apache-2.0
set -eu
cd "$(dirname "$0")/../../.."
library=${WFVAE_LIBRARY_FOLDER:-$PWD/target/release}
header=${WFVAE_HEADER:-include/wfvae.h}

if ! command -v mcs > /dev/null || ! command -v mono > /dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
        echo "no mcs and mono, and no root with apt-get"
        exit 3
    fi
    start=$(date +%s)
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends mono-mcs mono-runtime; } > /dev/null 2>&1 ||
        { echo "mono-mcs and mono-runtime cannot be installed"; exit 3; }
    echo "installed Mono in $(($(date +%s) - start)) s"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Unity, Mono and .NET look for libwfvae.so by the name "wfvae".
export LD_LIBRARY_PATH="$library${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
sources="bindings/csharp/Wfvae.cs bindings/csharp/tests/Tests.cs bindings/csharp/tests/AbiTests.cs"
# shellcheck disable=SC2086
mcs -unsafe -warnaserror -langversion:default -out:"$work/tests.exe" $sources -r:System.Core.dll
# The part for spans, which Mono's library has, though it does not say so.
# shellcheck disable=SC2086
mcs -unsafe -warnaserror -d:NETCOREAPP -out:"$work/spans.exe" $sources bindings/csharp/tests/SpanTests.cs -r:System.Core.dll
python3 bindings/abi.py "$header" "$work"
mkdir "$work/files"
# README's programs: the first runs, that for Unity is compiled against stubs.
awk -v work="$work" '/^```csharp/ { n++; program = work "/program" n ".cs"; next } /^```/ { program = "" } program { print > program }' \
    bindings/csharp/README.md
mcs -unsafe -warnaserror -out:"$work/program.exe" "$work/program1.cs" bindings/csharp/Wfvae.cs
# The inspector sets the picture.
mcs -unsafe -warnaserror -nowarn:649 -target:library -out:"$work/unity.dll" "$work/program2.cs" bindings/csharp/Wfvae.cs \
    bindings/csharp/tests/UnityStubs.cs
mono "$work/program.exe"
timeout 300 mono --debug "$work/spans.exe" "$PWD/tests/golden" "$work/files" "$@"
timeout 300 mono --debug "$work/tests.exe" "$PWD/tests/golden" "$work/files" Version
