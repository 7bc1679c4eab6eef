#!/bin/sh
# Compares the CUDA kernels, compiled for the CPU, with a reference: those between convolutions, and those for pictures.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p target/cuda-kernels
set -- -std=c++17 -O2 -ffp-contract=off -Wall -Wextra -Wno-unknown-pragmas
${CXX:-c++} "$@" -o target/cuda-kernels/check tests/cuda-kernels/check.cpp
target/cuda-kernels/check
${CXX:-c++} "$@" -shared -fPIC -o target/cuda-kernels/libpixels.so tests/cuda-kernels/pixels.cpp
WFVAE_TEST_PIXEL_KERNELS=$PWD/target/cuda-kernels/libpixels.so \
    tests/unit.sh -- --ignored media::pixels::device_tests
