// What lies between the convolutions of a channels-last frame on a CUDA device, each as one pass over memory. Compiled at run
// time for the device; `kernels.rs` names and launches these. There are no headers.
//
// A frame is [pixels, channels]. Sums and statistics are float32 whatever the types of frames are. Packs of channels are read
// and written at once where all pointers and the number of channels allow it; else one channel at a time.

typedef unsigned short half_bits;

// tests/cuda-kernels runs this file on the CPU and has definitions of its own for what follows.
#ifndef WFVAE_ON_CPU
#define KERNEL extern "C" __global__ void __launch_bounds__(256)

__device__ inline float to_float(half_bits bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ inline void from_float(float value, half_bits& out) { asm("cvt.rn.f16.f32 %0, %1;" : "=h"(out) : "f"(value)); }

// Over groups of `lanes` lanes, a power of two. All lanes of the warp take part.
__device__ inline float sum_of_lanes(float value, int lanes) {
    for (int apart = lanes / 2; apart > 0; apart /= 2)
        value += __shfl_xor_sync(0xffffffffu, value, apart);
    return value;
}

// To the precision of the result's type.
__device__ inline float silu(float x, float) { return x / (1.0f + expf(-x)); }
__device__ inline float silu(float x, half_bits) { return __fdividef(x, 1.0f + __expf(-x)); }
#endif

__device__ inline float to_float(float value) { return value; }
__device__ inline void from_float(float value, float& out) { out = value; }

constexpr float EPSILON = 1e-6f;

template <typename T, int N>
struct alignas(sizeof(T) * N) Pack {
    T of[N];
};

template <int N, typename T>
__device__ inline void load(const T* from, float (&out)[N]) {
    const Pack<T, N> pack = *reinterpret_cast<const Pack<T, N>*>(from);
#pragma unroll
    for (int i = 0; i < N; i++)
        out[i] = to_float(pack.of[i]);
}

template <int N, typename T>
__device__ inline void store(T* to, const float (&values)[N]) {
    Pack<T, N> pack;
#pragma unroll
    for (int i = 0; i < N; i++)
        from_float(values[i], pack.of[i]);
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
}

// The input of a norm at one place: x, plus y if the kernel adds, plus the bias of the channel if there is one.
template <bool ADD, int N, typename X, typename Y>
__device__ inline void load_sum(const X* x, const Y* y, const float* bias, long long at, int channel, float (&out)[N]) {
    load<N>(x + at, out);
    float more[N];
    if (ADD) {
        load<N>(y + at, more);
#pragma unroll
        for (int i = 0; i < N; i++)
            out[i] += more[i];
    }
    if (bias) {
        load<N>(bias + channel, more);
#pragma unroll
        for (int i = 0; i < N; i++)
            out[i] += more[i];
    }
}

// Scales, shifts, applies SiLU if asked for, and stores.
template <int N, typename O>
__device__ inline void store_norm(const float (&x)[N], float mean, float factor, const float* scale, const float* shift,
                                  bool with_silu, O* out) {
    float scales[N], shifts[N], result[N];
    load<N>(scale, scales);
    load<N>(shift, shifts);
#pragma unroll
    for (int i = 0; i < N; i++) {
        float y = (x[i] - mean) * factor * scales[i] + shifts[i];
        result[i] = with_silu ? silu(y, O()) : y;
    }
    store<N>(out, result);
}

// The layer norm of each pixel of x (plus y) plus bias, and the sum itself if there is room for it. Lanes of a warp work on a
// pixel, each on N channels in each of K turns, so they hold the pixel in registers. If K is 0, all lanes of a warp work on a
// pixel, which is read once for each of the three loops.
template <bool ADD, int N, int K, typename X, typename Y, typename O>
__device__ inline void norm(const X* __restrict__ x, const Y* __restrict__ y, const float* __restrict__ bias,
                            const float* __restrict__ scale, const float* __restrict__ shift, float* __restrict__ sum,
                            O* __restrict__ out, long long pixels, int channels, int lanes_log2, int with_silu) {
    const int lanes = 1 << lanes_log2, lane = threadIdx.x & (lanes - 1), group = (threadIdx.x & 31) >> lanes_log2;
    const long long warp = ((long long)blockIdx.x * blockDim.x + threadIdx.x) >> 5;
    const long long turn = (long long)gridDim.x * blockDim.x >> lanes_log2;
    // By the warp's first pixel, so that all of its lanes take the same number of turns: they need each other for sums.
#pragma unroll 1
    for (long long first = warp << (5 - lanes_log2); first < pixels; first += turn) {
        const long long pixel = first + group;
        const bool inside = pixel < pixels;
        const long long at = pixel * channels;
        float total = 0, squares = 0;
        if (K > 0) {
            float values[K > 0 ? K : 1][N];
#pragma unroll
            for (int k = 0; k < K; k++) {
                const int c = (k * lanes + lane) * N;
                if (inside && c < channels) {
                    load_sum<ADD, N>(x, y, bias, at + c, c, values[k]);
                    if (ADD && sum)
                        store<N>(sum + at + c, values[k]);
#pragma unroll
                    for (int i = 0; i < N; i++)
                        total += values[k][i];
                }
            }
            const float mean = sum_of_lanes(total, lanes) / channels;
#pragma unroll
            for (int k = 0; k < K; k++) {
                if (inside && (k * lanes + lane) * N < channels) {
#pragma unroll
                    for (int i = 0; i < N; i++) {
                        const float apart = values[k][i] - mean;
                        squares += apart * apart;
                    }
                }
            }
            const float factor = 1.0f / sqrtf(sum_of_lanes(squares, lanes) / channels + EPSILON);
#pragma unroll
            for (int k = 0; k < K; k++) {
                const int c = (k * lanes + lane) * N;
                if (inside && c < channels)
                    store_norm<N>(values[k], mean, factor, scale + c, shift + c, with_silu, out + at + c);
            }
        } else {
            float value[N];
#pragma unroll 1
            for (int c = lane * N; inside && c < channels; c += lanes * N) {
                load_sum<ADD, N>(x, y, bias, at + c, c, value);
                if (ADD && sum)
                    store<N>(sum + at + c, value);
                for (int i = 0; i < N; i++)
                    total += value[i];
            }
            const float mean = sum_of_lanes(total, lanes) / channels;
#pragma unroll 1
            for (int c = lane * N; inside && c < channels; c += lanes * N) {
                load_sum<ADD, N>(x, y, bias, at + c, c, value);
                for (int i = 0; i < N; i++) {
                    const float apart = value[i] - mean;
                    squares += apart * apart;
                }
            }
            const float factor = 1.0f / sqrtf(sum_of_lanes(squares, lanes) / channels + EPSILON);
#pragma unroll 1
            for (int c = lane * N; inside && c < channels; c += lanes * N) {
                load_sum<ADD, N>(x, y, bias, at + c, c, value);
                store_norm<N>(value, mean, factor, scale + c, shift + c, with_silu, out + at + c);
            }
        }
    }
}

// How the threads of a grid share `count` packs.
#define FOR_EACH(i, count) \
    _Pragma("unroll 1") \
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < (count); i += (long long)gridDim.x * blockDim.x)

// x plus y, plus the bias of the channel if there is one. `count` is the number of packs, fewer than 2^32.
template <int N, typename X, typename Y, typename O>
__device__ inline void add(const X* __restrict__ x, const Y* __restrict__ y, const float* __restrict__ bias,
                           O* __restrict__ sum, long long count, int channels) {
    const unsigned packs = channels / N;
    FOR_EACH(i, count) {
        float values[N];
        load_sum<true, N>(x, y, bias, i * N, (unsigned)i % packs * N, values);
        store<N>(sum + i * N, values);
    }
}

struct Weights {
    float of[9];
};

// The weighted sum of what three frames have for each of three taps, which have channels of their own. `weights` has those of
// the first frame first. `channels` are those of the result.
template <int N, typename T, typename O>
__device__ inline void blend(const T* __restrict__ two_ago, const T* __restrict__ one_ago, const T* __restrict__ now,
                             const Weights& weights, O* __restrict__ out, long long count, int channels) {
    const unsigned packs = channels / N;
    const T* const frames[3] = {two_ago, one_ago, now};
    FOR_EACH(i, count) {
        const unsigned pixel = (unsigned)i / packs, c = ((unsigned)i - pixel * packs) * N;
        float sum[N] = {};
#pragma unroll
        for (int frame = 0; frame < 3; frame++) {
#pragma unroll
            for (int tap = 0; tap < 3; tap++) {
                float values[N];
                load<N>(frames[frame] + (3LL * pixel + tap) * channels + c, values);
#pragma unroll
                for (int i = 0; i < N; i++)
                    sum[i] += weights.of[3 * frame + tap] * values[i];
            }
        }
        store<N>(out + i * N, sum);
    }
}

// The channels of three frames side by side.
template <int N, typename T>
__device__ inline void stack(const T* __restrict__ two_ago, const T* __restrict__ one_ago, const T* __restrict__ now,
                             T* __restrict__ out, long long count, int channels) {
    typedef Pack<T, N> P;
    const unsigned packs = channels / N;
    FOR_EACH(i, count) {
        const unsigned pixel = (unsigned)i / packs, pack = (unsigned)i - pixel * packs;
        P* to = reinterpret_cast<P*>(out) + 3LL * pixel * packs + pack;
        const P first = reinterpret_cast<const P*>(two_ago)[i];
        const P second = reinterpret_cast<const P*>(one_ago)[i];
        const P third = reinterpret_cast<const P*>(now)[i];
        to[0] = first;
        to[packs] = second;
        to[2 * packs] = third;
    }
}

// A frame of twice the height and width: one pixel of each 2x2 block from each of four frames, in rows; plus the bias of the
// channel. `width` is that of the four, and `count` the number of their packs.
template <int N, typename T>
__device__ inline void weave(const T* __restrict__ a, const T* __restrict__ b, const T* __restrict__ d, const T* __restrict__ e,
                             const float* __restrict__ bias, T* __restrict__ out, long long count, int width, int channels) {
    const unsigned packs = channels / N;
    const T* const frames[4] = {a, b, d, e};
    FOR_EACH(i, count) {
        const unsigned pixel = (unsigned)i / packs, c = ((unsigned)i - pixel * packs) * N;
        const unsigned y = pixel / width, x = pixel - y * width;
#pragma unroll
        for (int phase = 0; phase < 4; phase++) {
            float values[N];
            load_sum<false, N>(frames[phase], frames[phase], bias, i * N, c, values);
            const long long to = (2LL * y + phase / 2) * 2 * width + 2 * x + phase % 2;
            store<N>(out + to * channels + c, values);
        }
    }
}

// Height and width doubled by bilinear interpolation between the centres of pixels. `height`, `width` are those of x, and
// `count` those packs of the result that lie in one of its rows; a row is a block's y.
template <int N, typename X, typename O>
__device__ inline void doubled(const X* __restrict__ x, O* __restrict__ out, int height, int width, int channels) {
    const unsigned packs = channels / N;
    const unsigned row = 2 * width * packs;
    for (int y = blockIdx.y; y < 2 * height; y += gridDim.y) {
        const int near_y = y / 2, far_y = y % 2 ? min(near_y + 1, height - 1) : max(near_y - 1, 0);
        for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < row; i += gridDim.x * blockDim.x) {
            const int to_x = i / packs, c = (i - to_x * packs) * N;
            const int near_x = to_x / 2, far_x = to_x % 2 ? min(near_x + 1, width - 1) : max(near_x - 1, 0);
            const X* near_row = x + (long long)near_y * width * channels + c;
            const X* far_row = x + (long long)far_y * width * channels + c;
            float a[N], b[N], d[N], e[N];
            load<N>(near_row + (long long)near_x * channels, a);
            load<N>(near_row + (long long)far_x * channels, b);
            load<N>(far_row + (long long)near_x * channels, d);
            load<N>(far_row + (long long)far_x * channels, e);
#pragma unroll
            for (int k = 0; k < N; k++)
                a[k] = 0.75f * (0.75f * a[k] + 0.25f * b[k]) + 0.25f * (0.75f * d[k] + 0.25f * e[k]);
            store<N>(out + ((long long)y * row + i) * N, a);
        }
    }
}

// Names: the types of frames, then how many turns; "any" is one channel at a time.

#define NORM(name, ADD, N, K, X, Y, O) \
    KERNEL name(const X* x, const Y* y, const float* bias, const float* scale, const float* shift, float* sum, O* out, \
                long long pixels, int channels, int lanes_log2, int with_silu) { \
        norm<ADD, N, K>(x, y, bias, scale, shift, sum, out, pixels, channels, lanes_log2, with_silu); \
    }
#define NORMS(name, ADD, N, X, Y, O) \
    NORM(name##_any, ADD, 1, 0, X, Y, O) \
    NORM(name##_1, ADD, N, 1, X, Y, O) \
    NORM(name##_2, ADD, N, 2, X, Y, O) \
    NORM(name##_4, ADD, N, 4, X, Y, O) \
    NORM(name##_many, ADD, N, 0, X, Y, O)

#define ADD(name, N, X, Y, O) \
    KERNEL name(const X* x, const Y* y, const float* bias, O* sum, long long count, int channels) { \
        add<N>(x, y, bias, sum, count, channels); \
    }
#define ADDS(name, X, Y, O) ADD(name##_any, 1, X, Y, O) ADD(name##_many, 4, X, Y, O)

#define WEAVE(name, N, T) \
    KERNEL name(const T* a, const T* b, const T* d, const T* e, const float* bias, T* out, long long count, int width, \
                int channels) { \
        weave<N>(a, b, d, e, bias, out, count, width, channels); \
    }
#define WEAVES(name, T) WEAVE(name##_any, 1, T) WEAVE(name##_many, 4, T)

#define BLEND(name, N, T) \
    KERNEL name(const T* two_ago, const T* one_ago, const T* now, Weights weights, float* out, long long count, \
                int channels) { \
        blend<N>(two_ago, one_ago, now, weights, out, count, channels); \
    }
#define BLENDS(name, T) BLEND(name##_any, 1, T) BLEND(name##_many, 4, T)

#define STACK(name, N, T) \
    KERNEL name(const T* two_ago, const T* one_ago, const T* now, T* out, long long count, int channels) { \
        stack<N>(two_ago, one_ago, now, out, count, channels); \
    }
#define STACKS(name, N, T) STACK(name##_any, 1, T) STACK(name##_many, N, T)

#define DOUBLED(name, N, X, O) \
    KERNEL name(const X* x, O* out, int height, int width, int channels) { doubled<N>(x, out, height, width, channels); }
#define DOUBLEDS(name, X, O) DOUBLED(name##_any, 1, X, O) DOUBLED(name##_many, 4, X, O)

// Only those of one precision are compiled, as that takes a second.
#ifdef OF_F32
NORMS(norm_f32_f32, false, 4, float, float, float)
NORMS(add_norm_f32_f32, true, 4, float, float, float)
ADDS(add_f32_f32, float, float, float)
ADDS(add_narrow_f32_f32, float, float, float)
WEAVES(weave_f32, float)
STACKS(stack_f32, 4, float)
DOUBLEDS(doubled_f32_f32, float, float)
#endif
#ifdef OF_F16
NORMS(norm_f32_f16, false, 4, float, float, half_bits)
NORMS(norm_f16_f16, false, 8, half_bits, half_bits, half_bits)
NORMS(add_norm_f32_f16, true, 4, float, half_bits, half_bits)
NORMS(add_norm_f16_f16, true, 4, half_bits, half_bits, half_bits)
ADDS(add_f32_f16, float, half_bits, float)
ADDS(add_f16_f16, half_bits, half_bits, float)
ADDS(add_narrow_f32_f16, float, half_bits, half_bits)
ADDS(add_narrow_f16_f16, half_bits, half_bits, half_bits)
WEAVES(weave_f16, half_bits)
STACKS(stack_f16, 8, half_bits)
DOUBLEDS(doubled_f32_f16, float, half_bits)
#endif
// Caches may be half precision in both.
BLENDS(blend_f32, float)
BLENDS(blend_f16, half_bits)
