// The kernels for pictures in a device's memory, as a library for the CPU, for src/media/pixels/device_tests.rs. Each runs as one
// thread, which then does all the work.

#include "half.h"

#include <algorithm>
#include <cstring>

#define WFVAE_ON_CPU
#define KERNEL static void
#define __device__
using std::max;
using std::min;

struct Index {
    unsigned x;
};
static const Index threadIdx = {0}, blockIdx = {0}, blockDim = {1}, gridDim = {1};

static unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

static void keep_first(unsigned long long* first, unsigned long long found) { *first = min(*first, found); }

#include "../../src/runtime/cuda/pixels.cu"

extern "C" void read_picture(Picture picture, float* planes, int width, int height) {
    pixels_read(picture, planes, width, height);
}

extern "C" void check_picture(Picture picture, place before, place* first) { pixels_check(picture, before, first); }

extern "C" void write_picture(Picture picture, const float* planes, int width, int height, place* first) {
    pixels_write(picture, planes, width, height, first);
    if (picture.colour == YUV)
        pixels_write_chroma(picture, planes, width, height);
}
