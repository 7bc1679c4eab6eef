// float16 on the CPU, for kernels that a CUDA compiler gives instructions for it.
#ifndef HALF_H
#define HALF_H

#include <cmath>

static float of_half(unsigned short bits) {
    const int exponent = bits >> 10 & 31, fraction = bits & 1023;
    const float value = exponent == 31  ? (fraction ? NAN : INFINITY)
                        : exponent == 0 ? std::ldexp(float(fraction), -24)
                                        : std::ldexp(float(fraction + 1024), exponent - 25);
    return bits >> 15 ? -value : value;
}

// To the nearest, ties to even: the default of the CPU's arithmetic.
static unsigned short to_half(float value) {
    const unsigned sign = std::signbit(value) ? 0x8000 : 0;
    const float size = std::fabs(value);
    if (std::isnan(value))
        return 0x7e00;
    if (size >= 65520)
        return (unsigned short)(sign | 0x7c00);
    const int exponent = size < std::ldexp(1.0f, -14) ? -14 : std::ilogb(size);
    const unsigned fraction = (unsigned)std::nearbyint(std::ldexp(size, 10 - exponent));
    return (unsigned short)(sign | (fraction + ((unsigned)(exponent + 14) << 10)));
}

#endif
