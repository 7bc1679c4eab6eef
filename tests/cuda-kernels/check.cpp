// Runs the CUDA kernels of src/runtime/cuda/kernels.cu on the CPU and compares them with a reference in float64. The threads of
// a warp are coroutines, which wait for each other where the kernel adds up over lanes. Around every array lie values that are
// not numbers, so that what is read or written outside of it is seen.

#include "half.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <ucontext.h>
#include <vector>

// What a CUDA compiler has.

#define WFVAE_ON_CPU
#define KERNEL static void
#define __device__
using std::max;
using std::min;

struct Index {
    unsigned x, y;
};
static Index threadIdx, blockIdx, blockDim, gridDim;

static float to_float(unsigned short bits) { return of_half(bits); }
static void from_float(float value, unsigned short& out) { out = to_half(value); }

static float silu(float x, float) { return x / (1 + std::exp(-x)); }
static float silu(float x, unsigned short) { return x / (1 + std::exp(-x)); }
static float sum_of_lanes(float value, int lanes);

#define OF_F32
#define OF_F16
#include "../../src/runtime/cuda/kernels.cu"

// Warps.

enum { LANES = 32, THREADS = 256, STACK = 64 << 10 };

struct Lane {
    ucontext_t context;
    bool done;
    float given, result;
};
static Lane lanes[LANES];
static ucontext_t scheduler;
static int current;
static const std::function<void()>* kernel;

static void fail(const std::string& text) {
    std::fprintf(stderr, "cuda-kernels: %s\n", text.c_str());
    std::exit(1);
}

// Waits until all lanes are here.
static float sum_of_lanes(float value, int count) {
    Lane& lane = lanes[current];
    lane.given = value;
    lane.result = (float)count;
    swapcontext(&lane.context, &scheduler);
    return lane.result;
}

static void run_lane() {
    (*kernel)();
    lanes[current].done = true;
}

static void add_up() {
    const int count = (int)lanes[0].result;
    for (int apart = count / 2; apart > 0; apart /= 2) {
        float before[LANES];
        for (int i = 0; i < LANES; i++)
            before[i] = lanes[i].given;
        for (int i = 0; i < LANES; i++)
            lanes[i].given = before[i] + before[i ^ apart];
    }
    for (Lane& lane : lanes) {
        if ((int)lane.result != count)
            fail("lanes add up over different numbers of lanes");
        lane.result = lane.given;
    }
}

static void run_warp(unsigned first) {
    static std::vector<char> stacks(LANES * STACK);
    for (int i = 0; i < LANES; i++) {
        getcontext(&lanes[i].context);
        lanes[i].done = false;
        lanes[i].context.uc_stack.ss_sp = stacks.data() + i * STACK;
        lanes[i].context.uc_stack.ss_size = STACK;
        lanes[i].context.uc_link = &scheduler;
        makecontext(&lanes[i].context, run_lane, 0);
    }
    for (;;) {
        int done = 0;
        for (current = 0; current < LANES; current++) {
            threadIdx = {first + (unsigned)current, 0};
            swapcontext(&scheduler, &lanes[current].context);
            done += lanes[current].done;
        }
        if (done == LANES)
            return;
        if (done > 0)
            fail("some lanes of a warp are done, and others wait for them");
        add_up();
    }
}

static void launch(Index grid, const std::function<void()>& what) {
    kernel = &what;
    gridDim = grid, blockDim = {THREADS, 1};
    for (blockIdx.y = 0; blockIdx.y < grid.y; blockIdx.y++)
        for (blockIdx.x = 0; blockIdx.x < grid.x; blockIdx.x++)
            for (unsigned first = 0; first < THREADS; first += LANES)
                run_warp(first);
}

// Arrays.

static std::mt19937 generator(7);

template <typename T>
struct Array {
    // `shift`: elements by which it is off the alignment of packs.
    Array(size_t size, size_t shift, double spread, double mean) : size(size), around(64 / sizeof(T) + shift) {
        bits.resize(size + 2 * around + 64);
        const size_t off = (64 - (uintptr_t)bits.data() % 64) % 64 / sizeof(T);
        around += off;
        for (T& value : bits)
            from_float(NAN, value);
        std::normal_distribution<float> normal((float)mean, (float)spread);
        for (size_t i = 0; i < size; i++)
            if (spread > 0)
                from_float(normal(generator), bits[around + i]);
    }
    T* at() { return bits.data() + around; }
    double operator[](size_t i) const { return to_float(bits[around + i]); }
    bool whole() const {
        for (size_t i = 0; i < bits.size(); i++)
            if ((i < around || i >= around + size) && !std::isnan(to_float(bits[i])))
                return false;
        return true;
    }
    size_t size, around;
    std::vector<T> bits;
};

static double tolerance(float) { return 2e-5; }
static double tolerance(half_bits) { return 6e-4; }

template <typename T>
static void compare(const std::string& name, const Array<T>& found, const std::vector<double>& expected) {
    if (!found.whole())
        fail(name + ": something was written outside of the result");
    for (size_t i = 0; i < expected.size(); i++) {
        const double off = std::fabs(found[i] - expected[i]);
        if (!(off <= tolerance(T()) * (1 + std::fabs(expected[i]))))
            fail(name + ": value " + std::to_string(i) + " is " + std::to_string(found[i]) + ", expected " +
                 std::to_string(expected[i]));
    }
}

static std::string names(const char* kind, int channels, int pixels, const char* form) {
    return std::string(kind) + " of " + std::to_string(pixels) + " pixels, " + std::to_string(channels) + " channels, " + form;
}

static int checked;

template <typename X, typename Y, typename O>
using Norm = void (*)(const X*, const Y*, const float*, const float*, const float*, float*, O*, long long, int, int, int);

// The five forms of a norm, each where kernels.rs would take it or could.
template <typename X, typename Y, typename O>
static void check_norm(const char* kind, bool added, int pack, const Norm<X, Y, O> (&forms)[5], int channels, int pixels,
                       bool biased, bool with_silu) {
    const size_t size = (size_t)pixels * channels;
    const char* form_names[5] = {"any", "many", "1", "2", "4"};
    for (int form = 0; form < 5; form++) {
        int lanes = 32;
        if (form > 0 && channels % pack != 0)
            continue;
        if (form > 1) {
            const int packs = channels / pack, turns = 1 << (form - 2);
            for (lanes = 1; lanes < 32 && lanes < packs; lanes *= 2) {
            }
            if (packs > lanes * turns)
                continue;
        }
        const size_t shift = form == 0;
        Array<X> x(size, shift, 3, 1);
        Array<Y> y(added ? size : 0, shift, 2, 1);
        Array<float> bias(channels, shift, 1, 0), scale(channels, shift, 1, 1), shifts(channels, shift, 1, 0);
        const bool summed = added && (biased || with_silu);
        Array<float> sum(summed ? size : 0, shift, 0, 0);
        Array<O> out(size, shift, 0, 0);
        launch({2, 1}, [&] {
            forms[form](x.at(), added ? y.at() : nullptr, biased ? bias.at() : nullptr, scale.at(), shifts.at(),
                        summed ? sum.at() : nullptr, out.at(), pixels, channels, (int)std::log2(lanes), with_silu);
        });
        std::vector<double> sums(size), expected(size);
        for (int p = 0; p < pixels; p++) {
            double mean = 0, variance = 0;
            double* values = sums.data() + (size_t)p * channels;
            for (int c = 0; c < channels; c++) {
                const size_t i = (size_t)p * channels + c;
                values[c] = x[i] + (added ? y[i] : 0) + (biased ? bias[c] : 0);
                mean += values[c] / channels;
            }
            for (int c = 0; c < channels; c++)
                variance += (values[c] - mean) * (values[c] - mean) / channels;
            for (int c = 0; c < channels; c++) {
                const double normed = (values[c] - mean) / std::sqrt(variance + 1e-6) * scale[c] + shifts[c];
                expected[(size_t)p * channels + c] = with_silu ? normed / (1 + std::exp(-normed)) : normed;
            }
        }
        const std::string name = names(kind, channels, pixels, form_names[form]);
        if (summed)
            compare(name + ", sum", sum, sums);
        compare(name, out, expected);
        checked++;
    }
}

#define NORM_FORMS(name) {name##_any, name##_many, name##_1, name##_2, name##_4}

static void check_norms(int channels, int pixels, bool biased, bool with_silu) {
    typedef half_bits H;
    check_norm<float, float, float>("norm_f32_f32", false, 4, NORM_FORMS(norm_f32_f32), channels, pixels, biased, with_silu);
    check_norm<float, float, H>("norm_f32_f16", false, 4, NORM_FORMS(norm_f32_f16), channels, pixels, biased, with_silu);
    check_norm<H, H, H>("norm_f16_f16", false, 8, NORM_FORMS(norm_f16_f16), channels, pixels, biased, with_silu);
    check_norm<float, float, float>("add_norm_f32_f32", true, 4, NORM_FORMS(add_norm_f32_f32), channels, pixels, biased,
                                    with_silu);
    check_norm<float, H, H>("add_norm_f32_f16", true, 4, NORM_FORMS(add_norm_f32_f16), channels, pixels, biased, with_silu);
    check_norm<H, H, H>("add_norm_f16_f16", true, 4, NORM_FORMS(add_norm_f16_f16), channels, pixels, biased, with_silu);
}

template <typename X, typename Y, typename O>
static void check_add(const char* kind, void (*run)(const X*, const Y*, const float*, O*, long long, int), int pack,
                      int channels, int pixels, bool biased) {
    if (channels % pack != 0)
        return;
    const size_t size = (size_t)pixels * channels, shift = pack == 1;
    Array<X> x(size, shift, 3, 1);
    Array<Y> y(size, shift, 2, 1);
    Array<float> bias(channels, shift, 1, 0);
    Array<O> sum(size, shift, 0, 0);
    launch({2, 1}, [&] { run(x.at(), y.at(), biased ? bias.at() : nullptr, sum.at(), (long long)(size / pack), channels); });
    std::vector<double> expected(size);
    for (size_t i = 0; i < size; i++)
        expected[i] = x[i] + y[i] + (biased ? bias[i % channels] : 0);
    compare(names(kind, channels, pixels, pack == 1 ? "any" : "many"), sum, expected);
    checked++;
}

template <typename T>
static void check_blend(const char* kind, void (*run)(const T*, const T*, const T*, Weights, float*, long long, int), int pack,
                        int channels, int pixels) {
    if (channels % pack != 0)
        return;
    const size_t size = (size_t)pixels * channels, shift = pack == 1;
    Array<T> frames[3] = {{3 * size, shift, 3, 1}, {3 * size, shift, 3, 1}, {3 * size, shift, 3, 1}};
    Array<float> out(size, shift, 0, 0);
    const Weights weights = {{0.25f, 0.5f, 0, 0.75f, 0.125f, 0.3f, 0, 0.375f, 0.7f}};
    launch({2, 1}, [&] {
        run(frames[0].at(), frames[1].at(), frames[2].at(), weights, out.at(), (long long)(size / pack), channels);
    });
    std::vector<double> expected(size);
    for (size_t i = 0; i < size; i++)
        for (int tap = 0; tap < 9; tap++)
            expected[i] += (double)weights.of[tap] *
                           frames[tap / 3][(i / channels * 3 + tap % 3) * channels + i % channels];
    compare(names(kind, channels, pixels, pack == 1 ? "any" : "many"), out, expected);
    checked++;
}

template <typename T>
static void check_stack(const char* kind, void (*run)(const T*, const T*, const T*, T*, long long, int), int pack,
                        int channels, int pixels) {
    if (channels % pack != 0)
        return;
    const size_t size = (size_t)pixels * channels, shift = pack == 1;
    Array<T> frames[3] = {{size, shift, 3, 1}, {size, shift, 3, 1}, {size, shift, 3, 1}};
    Array<T> out(3 * size, shift, 0, 0);
    launch({2, 1}, [&] {
        run(frames[0].at(), frames[1].at(), frames[2].at(), out.at(), (long long)(size / pack), channels);
    });
    std::vector<double> expected(3 * size);
    for (size_t i = 0; i < expected.size(); i++) {
        const size_t pixel = i / (3 * channels), c = i % (3 * channels);
        expected[i] = frames[c / channels][pixel * channels + c % channels];
    }
    compare(names(kind, channels, pixels, pack == 1 ? "any" : "many"), out, expected);
    checked++;
}

template <typename T>
static void check_weave(const char* kind,
                        void (*run)(const T*, const T*, const T*, const T*, const float*, T*, long long, int, int), int pack,
                        int channels, int height, int width) {
    if (channels % pack != 0)
        return;
    const size_t size = (size_t)height * width * channels, shift = pack == 1;
    Array<T> frames[4] = {{size, shift, 3, 1}, {size, shift, 3, 1}, {size, shift, 3, 1}, {size, shift, 3, 1}};
    Array<float> bias(channels, shift, 1, 0);
    Array<T> out(4 * size, shift, 0, 0);
    launch({2, 1}, [&] {
        run(frames[0].at(), frames[1].at(), frames[2].at(), frames[3].at(), bias.at(), out.at(), (long long)(size / pack), width,
            channels);
    });
    std::vector<double> expected(4 * size);
    for (size_t i = 0; i < expected.size(); i++) {
        const size_t c = i % channels, x = i / channels % (2 * width), y = i / channels / (2 * width);
        expected[i] = frames[y % 2 * 2 + x % 2][(y / 2 * width + x / 2) * channels + c] + bias[c];
    }
    compare(names(kind, channels, height * width, pack == 1 ? "any" : "many"), out, expected);
    checked++;
}

// The value at half-pixel centres, with those at the border repeated outwards.
static double between(const std::function<double(int)>& at, int to, int size) {
    const double from = std::min(std::max((to + 0.5) / 2 - 0.5, 0.0), size - 1.0);
    const int low = (int)from, high = std::min(low + 1, size - 1);
    return (1 - (from - low)) * at(low) + (from - low) * at(high);
}

template <typename O>
static void check_doubled(const char* kind, void (*run)(const float*, O*, int, int, int), int pack, int channels, int height,
                          int width) {
    if (channels % pack != 0)
        return;
    const size_t size = (size_t)height * width * channels, shift = pack == 1;
    Array<float> x(size, shift, 3, 1);
    Array<O> out(4 * size, shift, 0, 0);
    launch({2, 3}, [&] { run(x.at(), out.at(), height, width, channels); });
    std::vector<double> expected(4 * size);
    for (int row = 0; row < 2 * height; row++)
        for (int column = 0; column < 2 * width; column++)
            for (int c = 0; c < channels; c++)
                expected[((size_t)row * 2 * width + column) * channels + c] = between(
                    [&](int r) {
                        return between([&](int k) { return x[((size_t)r * width + k) * channels + c]; }, column, width);
                    },
                    row, height);
    compare(names(kind, channels, height * width, pack == 1 ? "any" : "many"), out, expected);
    checked++;
}

int main() {
    for (int bits = 0; bits < 0x10000; bits++) {
        unsigned short back;
        from_float(to_float((unsigned short)bits), back);
        if (back != bits && !std::isnan(to_float((unsigned short)bits)))
            fail("half precision is not what it was");
    }
    const int sizes[] = {1, 3, 4, 5, 8, 12, 32, 96, 128, 192, 256, 384, 512, 768, 1000, 1536, 4100};
    for (int channels : sizes) {
        // More pixels than the warps of both blocks work on in one turn, if there are few channels.
        for (int pixels : {1, channels > 256 ? 17 : channels > 32 ? 41 : 139}) {
            check_norms(channels, pixels, true, true);
            check_norms(channels, pixels, false, pixels == 1);
            for (bool biased : {false, true}) {
                check_add("add_f32_f32", add_f32_f32_any, 1, channels, pixels, biased);
                check_add("add_f32_f32", add_f32_f32_many, 4, channels, pixels, biased);
                check_add("add_f32_f16", add_f32_f16_any, 1, channels, pixels, biased);
                check_add("add_f32_f16", add_f32_f16_many, 4, channels, pixels, biased);
                check_add("add_f16_f16", add_f16_f16_any, 1, channels, pixels, biased);
                check_add("add_f16_f16", add_f16_f16_many, 4, channels, pixels, biased);
                check_add("add_narrow_f32_f32", add_narrow_f32_f32_any, 1, channels, pixels, biased);
                check_add("add_narrow_f32_f32", add_narrow_f32_f32_many, 4, channels, pixels, biased);
                check_add("add_narrow_f32_f16", add_narrow_f32_f16_any, 1, channels, pixels, biased);
                check_add("add_narrow_f32_f16", add_narrow_f32_f16_many, 4, channels, pixels, biased);
                check_add("add_narrow_f16_f16", add_narrow_f16_f16_any, 1, channels, pixels, biased);
                check_add("add_narrow_f16_f16", add_narrow_f16_f16_many, 4, channels, pixels, biased);
            }
            check_blend("blend_f32", blend_f32_any, 1, channels, pixels);
            check_blend("blend_f32", blend_f32_many, 4, channels, pixels);
            check_blend("blend_f16", blend_f16_any, 1, channels, pixels);
            check_blend("blend_f16", blend_f16_many, 4, channels, pixels);
            check_stack("stack_f32", stack_f32_any, 1, channels, pixels);
            check_stack("stack_f32", stack_f32_many, 4, channels, pixels);
            check_stack("stack_f16", stack_f16_any, 1, channels, pixels);
            check_stack("stack_f16", stack_f16_many, 8, channels, pixels);
        }
        for (int width : {1, 2, 5}) {
            const int height = width == 5 ? 3 : width;
            check_weave("weave_f32", weave_f32_any, 1, channels, height, width);
            check_weave("weave_f32", weave_f32_many, 4, channels, height, width);
            check_weave("weave_f16", weave_f16_any, 1, channels, height, width);
            check_weave("weave_f16", weave_f16_many, 4, channels, height, width);
            check_doubled("doubled_f32_f32", doubled_f32_f32_any, 1, channels, height, width);
            check_doubled("doubled_f32_f32", doubled_f32_f32_many, 4, channels, height, width);
            check_doubled("doubled_f32_f16", doubled_f32_f16_any, 1, channels, height, width);
            check_doubled("doubled_f32_f16", doubled_f32_f16_many, 4, channels, height, width);
        }
    }
    std::printf("cuda-kernels: %d runs agree with the reference\n", checked);
}
