#!/bin/sh
# Compares the CUDA kernels, compiled for the CPU, with a reference.
set -eu
cd "$(dirname "$0")/../.."
mkdir -p target/cuda-kernels
${CXX:-c++} -std=c++17 -O2 -Wall -Wextra -Wno-unknown-pragmas -o target/cuda-kernels/check tests/cuda-kernels/check.cpp
target/cuda-kernels/check
