// Pictures in a CUDA device's memory: to the network's planes R, G, B from -1 to 1, and back. Compiled at run time for the
// device, without fused multiplications, so that each value is the CPU's bit for bit (src/media/pixels). There are no headers.
// `pixels.rs` names and launches these.

typedef unsigned short half_bits;
typedef unsigned long long place;

// tests/cuda-kernels runs this file on the CPU and has definitions of its own for what follows.
#ifndef WFVAE_ON_CPU
#define KERNEL extern "C" __global__ void __launch_bounds__(256)

__device__ inline float of_half(half_bits bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

__device__ inline half_bits to_half(float value) {
    half_bits bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

__device__ inline void keep_first(place* first, place found) { atomicMin(first, found); }
#endif

// As `DevicePicture` in src/media/pixels/device_picture.rs.
enum Element { U8, U16, F16, BF16, F32 };
enum Colour { INTEGERS, UNIT_FLOATS, SIGNED_FLOATS, YUV, GREY };
enum Axis { EVERY, COSITED, CENTRED, COSITED_IN_FOUR };

struct Picture {
    // R, G, B or Y, Cb, Cr, then alpha. Distances are in bytes.
    unsigned char* first[4];
    long long strides[4];
    long long steps[4];
    int width, height;
    // Samples of chroma.
    int columns, rows;
    Element element;
    int shift;
    Colour colour;
    Axis across, down;
    float largest;
    // The weights of R and B in luma.
    float kr, kb;
    // A code is zero + span * value.
    float luma_zero, luma_span, chroma_zero, chroma_span;
};

__device__ inline bool is_finite(float value) { return (__float_as_uint(value) & 0x7f800000u) != 0x7f800000u; }

__device__ inline unsigned char* at(const Picture& p, int channel, int x, int y) {
    return p.first[channel] + p.strides[channel] * y + p.steps[channel] * x;
}

// An integer as its code, a float as it is.
__device__ inline float code_at(const Picture& p, int channel, int x, int y) {
    const unsigned char* from = at(p, channel, x, y);
    switch (p.element) {
    case U8:
        return (float)*from;
    case U16:
        return (float)(*(const unsigned short*)from >> p.shift);
    case F16:
        return of_half(*(const half_bits*)from);
    case BF16:
        return __uint_as_float((unsigned)*(const unsigned short*)from << 16);
    default:
        return *(const float*)from;
    }
}

// Integers are rounded to nearest and clamped; NaN becomes 0. Returns whether a float is too large for its type.
__device__ inline bool put(const Picture& p, int channel, int x, int y, float value) {
    unsigned char* to = at(p, channel, x, y);
    switch (p.element) {
    case U8:
    case U16: {
        value = value + 0.5f;
        value = value > 0.0f ? value : 0.0f;
        value = value < p.largest ? value : p.largest;
        const unsigned code = (unsigned)(int)value;
        if (p.element == U8)
            *to = (unsigned char)code;
        else
            *(unsigned short*)to = (unsigned short)(code << p.shift);
        return false;
    }
    case F16: {
        const half_bits bits = to_half(value);
        *(half_bits*)to = bits;
        return (bits & 0x7c00) == 0x7c00;
    }
    case BF16: {
        const unsigned bits = __float_as_uint(value);
        const unsigned short rounded = (unsigned short)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
        *(unsigned short*)to = rounded;
        return (rounded & 0x7f80) == 0x7f80;
    }
    default:
        *(float*)to = value;
        return false;
    }
}

// One of R, G, B.
__device__ inline float read_rgb(const Picture& p, int channel, int x, int y) {
    const float code = code_at(p, channel, x, y);
    switch (p.colour) {
    case SIGNED_FLOATS:
        return code;
    case UNIT_FLOATS:
        return code * 2.0f - 1.0f;
    default:
        return code * (2.0f / p.largest) - 1.0f;
    }
}

__device__ inline int subsampling(Axis axis) { return axis == EVERY ? 1 : axis == COSITED_IN_FOUR ? 4 : 2; }

// A sample of chroma between rows: (1 - weight) of one, weight of the other.
__device__ inline float between_rows(const Picture& p, int channel, int column, int row, int other, float weight) {
    float sample = (code_at(p, channel, column, row) - p.chroma_zero) / p.chroma_span;
    if (weight != 0.0f) {
        const float more = (code_at(p, channel, column, other) - p.chroma_zero) / p.chroma_span;
        sample = sample + weight * (more - sample);
    }
    return sample;
}

// Chroma at a pixel.
__device__ inline float upsampled(const Picture& p, int channel, int x, int y) {
    const int apart = subsampling(p.down), row = y / apart, below = min(row + 1, p.rows - 1), part = y % apart;
    const int other = p.down == CENTRED && part == 0 ? max(row - 1, 0) : below;
    const float weight = p.down == CENTRED ? 0.25f : (float)part / (float)apart;
    const int step = subsampling(p.across), column = x / step, piece = x % step;
    const float near = between_rows(p, channel, column, row, other, weight);
    if (p.across == EVERY)
        return near;
    const bool left = p.across != COSITED_IN_FOUR && piece == 0;
    const int beside = left ? max(column - 1, 0) : min(column + 1, p.columns - 1);
    const float share = p.across == COSITED_IN_FOUR ? (float)piece * 0.25f
                        : p.across == CENTRED       ? 0.25f
                        : piece == 0                ? 0.0f
                                                    : 0.5f;
    return near + share * (between_rows(p, channel, beside, row, other, weight) - near);
}

// The planes may be larger than the picture, whose last column and row are then repeated.
KERNEL pixels_read(Picture p, float* planes, int width, int height) {
    const long long count = (long long)width * height;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (long long)gridDim.x * blockDim.x) {
        const int x = min((int)(i % width), p.width - 1), y = min((int)(i / width), p.height - 1);
        float r, g, b;
        if (p.colour == YUV) {
            const float luma = (code_at(p, 0, x, y) - p.luma_zero) / p.luma_span;
            const float green = 1.0f - p.kr - p.kb;
            const float blue = 2.0f * (1.0f - p.kb) * upsampled(p, 1, x, y);
            const float red = 2.0f * (1.0f - p.kr) * upsampled(p, 2, x, y);
            r = (luma + red) * 2.0f - 1.0f;
            g = (luma - (p.kr * red + p.kb * blue) / green) * 2.0f - 1.0f;
            b = (luma + blue) * 2.0f - 1.0f;
        } else if (p.colour == GREY) {
            const float luma = (code_at(p, 0, x, y) - p.luma_zero) / p.luma_span;
            r = g = b = luma * 2.0f - 1.0f;
        } else {
            r = read_rgb(p, 0, x, y);
            g = read_rgb(p, 1, x, y);
            b = read_rgb(p, 2, x, y);
        }
        planes[i] = r;
        planes[count + i] = g;
        planes[2 * count + i] = b;
    }
}

// Finds the first value of a picture of floats that is not finite for the network: its index in [3, height, width], from
// `before` on.
KERNEL pixels_check(Picture p, place before, place* first) {
    const long long plane = (long long)p.width * p.height;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < 3 * plane;
         i += (long long)gridDim.x * blockDim.x) {
        const int channel = (int)(i / plane), x = (int)(i % plane % p.width), y = (int)(i % plane / p.width);
        if (!is_finite(read_rgb(p, channel, x, y)))
            keep_first(first, before + (place)i);
    }
}

__device__ inline float luma_of(const Picture& p, float r, float g, float b) {
    return g + p.kr * (r - g) + p.kb * (b - g);
}

// All but chroma. `first[0]` becomes less than it was if a value of the planes is not finite, `first[1]` the index in
// [3, height, width] of the first value that is too large for the picture.
KERNEL pixels_write(Picture p, const float* planes, int width, int height, place* first) {
    const long long count = (long long)width * height, plane = (long long)p.width * p.height;
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (long long)gridDim.x * blockDim.x) {
        const int x = (int)(i % width), y = (int)(i / width);
        const float values[3] = {planes[i], planes[count + i], planes[2 * count + i]};
        if (!is_finite(values[0]) || !is_finite(values[1]) || !is_finite(values[2]))
            keep_first(first, 0);
        if (x >= p.width || y >= p.height)
            continue;
        if (p.first[3])
            put(p, 3, x, y, p.largest);
        float unit[3];
        for (int channel = 0; channel < 3; channel++)
            unit[channel] = values[channel] * 0.5f + 0.5f;
        if (p.colour == YUV || p.colour == GREY) {
            put(p, 0, x, y, p.luma_zero + p.luma_span * luma_of(p, unit[0], unit[1], unit[2]));
            continue;
        }
        for (int channel = 0; channel < 3; channel++) {
            const float value = p.colour == SIGNED_FLOATS ? values[channel]
                                : p.colour == UNIT_FLOATS ? unit[channel]
                                                          : unit[channel] * p.largest;
            if (put(p, channel, x, y, value))
                keep_first(first + 1, (place)(channel * plane + (long long)y * p.width + x));
        }
    }
}

// A sample is a weighted sum of pixels, from `before` its first on.
__device__ inline int taps_of(Axis axis, int& before, float (&taps)[7]) {
    const float four[7] = {0.0625f, 0.125f, 0.1875f, 0.25f, 0.1875f, 0.125f, 0.0625f};
    const int count = axis == EVERY ? 1 : axis == COSITED ? 3 : axis == CENTRED ? 2 : 7;
    before = axis == COSITED ? 1 : axis == COSITED_IN_FOUR ? 3 : 0;
    for (int i = 0; i < count; i++)
        taps[i] = axis == EVERY ? 1.0f : axis == COSITED ? (i == 1 ? 0.5f : 0.25f) : axis == CENTRED ? 0.5f : four[i];
    return count;
}

// The chroma of a picture in YUV. A thread writes one sample of each plane.
KERNEL pixels_write_chroma(Picture p, const float* planes, int width, int height) {
    const long long plane = (long long)width * height, count = (long long)p.columns * p.rows;
    float across[7], down[7];
    int left, above;
    const int columns = taps_of(p.across, left, across), rows = taps_of(p.down, above, down);
    for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < count; i += (long long)gridDim.x * blockDim.x) {
        const int column = (int)(i % p.columns), row = (int)(i / p.columns);
        float blue = 0.0f, red = 0.0f;
        for (int k = 0; k < columns; k++) {
            const int x = min(max(column * subsampling(p.across) + k - left, 0), p.width - 1);
            float blues = 0.0f, reds = 0.0f;
            for (int j = 0; j < rows; j++) {
                const int y = min(max(row * subsampling(p.down) + j - above, 0), p.height - 1);
                const long long pixel = (long long)y * width + x;
                const float r = planes[pixel] * 0.5f + 0.5f, g = planes[plane + pixel] * 0.5f + 0.5f;
                const float b = planes[2 * plane + pixel] * 0.5f + 0.5f, luma = luma_of(p, r, g, b);
                blues += down[j] / (2.0f * (1.0f - p.kb)) * (b - luma);
                reds += down[j] / (2.0f * (1.0f - p.kr)) * (r - luma);
            }
            blue += across[k] * blues;
            red += across[k] * reds;
        }
        put(p, 1, column, row, p.chroma_zero + p.chroma_span * blue);
        put(p, 2, column, row, p.chroma_zero + p.chroma_span * red);
    }
}
