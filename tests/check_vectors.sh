#!/bin/sh
# check_vectors.sh LIBRARY: no vector instruction of our kernels is a function of its own. Rust compiles a function for the
# instructions that it names or is inlined into. A closure in a kernel that is not inlined computes the same, some 20 times slower,
# and each of its instructions is a call.
symbols=$(nm "$1") || exit 1
if ! echo "$symbols" | grep -q 4pulp; then
    echo "$1 has no symbols to look at" >&2
    exit 1
fi
# Those that ask what the CPU has are functions everywhere.
calls=$(echo "$symbols" | grep core_arch | grep -v -e xgetbv -e cpuid)
[ -z "$calls" ] && exit 0
echo "not inlined into a kernel; use loops instead of closures there, or #[inline(always)]:" >&2
echo "$calls" >&2
exit 1
