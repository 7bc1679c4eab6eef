#!/bin/sh
# Installs Debian packages: tools/apt-install.sh [OPTION...] PACKAGE... Fails where that is not possible. One at a time, as apt-get does not
# wait for another one to end.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] && command -v apt-get > /dev/null || exit 1
if command -v flock > /dev/null; then
    mkdir -p target
    exec 9> target/apt.lock
    flock 9
fi
export DEBIAN_FRONTEND=noninteractive
{ apt-get -qq update && apt-get -qq install -y "$@"; } > /dev/null 2>&1
