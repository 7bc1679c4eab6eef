#!/bin/sh
# Builds the stub of the CUDA libraries for the ONNX Runtime package in the folder $1/wheel, beside that package, where
# libwfvae looks for CUDA libraries. What the provider imports differs from version to version: stub.c has what must do
# something, all else becomes a function that gives 0, or one that is counted where its name says that it computes.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "$1/wheel"
provider=onnxruntime/capi/libonnxruntime_providers_cuda.so
libraries=nvidia/stub/lib
build=nvidia/stub/build
last=$libraries/libcuda.so.1
# Newer than what it is made of.
if [ -e "$last" ] && [ -z "$(find "$here/stub.c" "$here/ffmpeg.c" "$here/build.sh" "$provider" -newer "$last")" ]; then
    exit 0
fi
rm -rf nvidia/stub
mkdir -p "$libraries" "$build"
cc=${CC:-cc}
flags="-std=c11 -O2 -g -fPIC -Wall -Wextra -Wshadow"
$cc $flags -c -o "$build/stub.o" "$here/stub.c"
$cc $flags -c -o "$build/ffmpeg.o" "$here/ffmpeg.c"
nm "$build/stub.o" "$build/ffmpeg.o" | sed -n 's/.* [TW] //p' | sort -u > "$build/defined"
{
    nm -D --undefined-only "$provider" | sed -n 's/.* U \([^@]*\).*/\1/p' | grep -E '^(cu|__cuda)'
    # cuDNN's are looked up by name.
    strings -a "$provider" | grep -E '^cudnn[A-Z][A-Za-z0-9_]+$'
} | sort -u | comm -23 - "$build/defined" > "$build/missing"
{
    echo "int wfvae_stub_count(char kind);"
    while read -r name; do
        case $name in
        cudnn*Forward | cudnn*ForwardInference | cudnn*ForwardTraining | cudnnReduceTensor | cudnnAddTensor) kind=d ;;
        cublasGet* | cublasSet* | cublasLt*Set* | cublasLt*Init) kind=- ;;
        cublas*) kind=b ;;
        *) kind=- ;;
        esac
        echo "int $name(void); int $name(void) { return wfvae_stub_count('$kind'); }"
    done < "$build/missing"
} > "$build/missing.c"
# Any of these names may be one that the compiler knows with another signature.
$cc $flags -fno-builtin -c -o "$build/missing.o" "$build/missing.c"
$cc -shared -o "$libraries/libwfvae_cuda_stub.so" "$build/stub.o" "$build/ffmpeg.o" "$build/missing.o" -lpthread -ldl
# The names that are asked for, each an empty library that needs the one above. The driver is found by its name alone:
# it is loaded with the others, which need it too.
empty() {
    $cc -shared -o "$libraries/$1" -Wl,-soname,"$1" -Wl,-rpath,'$ORIGIN' -Wl,--no-as-needed -x c /dev/null -L"$libraries" \
        -lwfvae_cuda_stub $2
}
empty libcuda.so.1 ""
# Of the same CUDA version.
compiler=libnvrtc.so.$(readelf -d "$provider" | sed -n 's/.*NEEDED.*\[libcudart\.so\.\([0-9]*\)\]/\1/p')
for name in $(readelf -d "$provider" | sed -n 's/.*NEEDED.*\[\(libcu[^]]*\)\]/\1/p') "$compiler" libcudnn.so.9; do
    [ "$name" = libcuda.so.1 ] || empty "$name" -l:libcuda.so.1
done
touch "$last"
