// Vectors of the width that this machine has, and the activations on them.
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define REGISTERS 32
#elif defined(__AVX__)
#define VECTOR_BYTES 32
#define REGISTERS 16
#elif defined(__aarch64__)
#define VECTOR_BYTES 16
#define REGISTERS 32
#else
#define VECTOR_BYTES 16
#define REGISTERS 16
#endif

#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#define INLINE inline __attribute__((always_inline))
#define INLINE_LAMBDA __attribute__((always_inline))

namespace {

using Index = int64_t;
constexpr double LEAKY_SLOPE = 0.01;

constexpr Index round_up(Index value, Index step) { return (value + step - 1) / step * step; }

template <typename Real>
struct Simd;

template <>
struct Simd<float> {
    using Int = int32_t;
    typedef float Vec __attribute__((vector_size(VECTOR_BYTES)));
    typedef int32_t IntVec __attribute__((vector_size(VECTOR_BYTES)));
    static constexpr int mantissa = 23;
    static constexpr Int exponent_bias = 127;
    static constexpr float round_magic = 12582912.0f;  // 1.5 * 2^23
    static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
    static constexpr float largest_exponent = 87.0f;
    static constexpr int terms = 7;  // truncation below 2e-8 of exp(r) - 1
};

template <>
struct Simd<double> {
    using Int = int64_t;
    typedef double Vec __attribute__((vector_size(VECTOR_BYTES)));
    typedef int64_t IntVec __attribute__((vector_size(VECTOR_BYTES)));
    static constexpr int mantissa = 52;
    static constexpr Int exponent_bias = 1023;
    static constexpr double round_magic = 6755399441055744.0;  // 1.5 * 2^52
    static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
    static constexpr double largest_exponent = 708.0;
    static constexpr int terms = 13;  // truncation below 2e-17 of exp(r) - 1
};

template <typename Real>
using Vec = typename Simd<Real>::Vec;
template <typename Real>
using IntVec = typename Simd<Real>::IntVec;
template <typename Real>
constexpr Index WIDTH = VECTOR_BYTES / sizeof(Real);

template <typename Real>
INLINE Vec<Real> load(const Real *from) {
    Vec<Real> vector;
    memcpy(&vector, from, sizeof vector);
    return vector;
}

template <typename Real>
INLINE void store(Real *to, Vec<Real> vector) {
    memcpy(to, &vector, sizeof vector);
}

template <typename Real>
INLINE Vec<Real> splat(Real value) {
    return value - Vec<Real>{};
}

constexpr double reciprocal_factorial(int n) { return n < 2 ? 1.0 : reciprocal_factorial(n - 1) / n; }

// exp(x) = scale * (1 + rest) with scale a power of 2 and |rest| < 0.42, for |x| <= limit; a nan
// stays one. Kept apart, so that 1 can be subtracted from exp(x) without losing small digits.
template <typename Real>
struct Exponential {
    Vec<Real> scale, rest;

    INLINE Exponential(Vec<Real> x, Real limit) {
        using S = Simd<Real>;
        const Vec<Real> high = splat<Real>(limit), low = -high;
        x = x > high ? high : x;
        x = x < low ? low : x;
        const Vec<Real> shifted = x * Real(1.44269504088896340736) + S::round_magic;
        const Vec<Real> n = shifted - S::round_magic;
        const Vec<Real> r = (x - n * S::ln2_high) - n * S::ln2_low;
        // Taylor's series of exp(r) - 1 over |r| <= ln(2) / 2.
        Vec<Real> sum = splat<Real>(reciprocal_factorial(S::terms));
        UNROLL
        for (int term = S::terms - 1; term >= 1; --term)
            sum = sum * r + Real(reciprocal_factorial(term));
        rest = sum * r;
        IntVec<Real> bits;
        memcpy(&bits, &shifted, sizeof bits);
        // The low bits of `shifted` are n; those of the constant in it leave with the shift.
        bits = (bits + S::exponent_bias) << S::mantissa;
        memcpy(&scale, &bits, sizeof bits);
    }
};

// 1 / (1 + exp(-x)), within 3 units in the last place of 1.
template <typename Real>
INLINE Vec<Real> sigmoid(Vec<Real> x) {
    const Exponential<Real> e(-x, Simd<Real>::largest_exponent);
    return Real(1) / ((e.scale + Real(1)) + e.scale * e.rest);
}

// (exp(2x) - 1) / (exp(2x) + 1), within 3 units in the last place of the result, small ones too.
template <typename Real>
INLINE Vec<Real> hyperbolic_tangent(Vec<Real> x) {
    const Exponential<Real> e(x + x, Real(44));  // beyond, it is 1 in both precisions
    return ((e.scale - Real(1)) + e.scale * e.rest) / ((e.scale + Real(1)) + e.scale * e.rest);
}

template <typename Real>
INLINE Vec<Real> leaky(Vec<Real> x) {
    return x > Real(0) ? x : x * Real(LEAKY_SLOPE);
}

// Element `inner` of line `outer` of gate g is at + outer * line + g * gate + inner. A line is a
// sequence with its units in layout Rows, a unit with its sequences in layout Lanes. A bias in
// layout Rows has line 0.
template <typename Real>
struct View {
    Real *at;
    Index line, gate;
    INLINE Real *operator()(Index outer, Index g = 0) const { return at + outer * line + g * gate; }
};

// How much of a vector a line still fills: all of it, or a part.
struct Whole {
    template <typename Real>
    INLINE Vec<Real> get(const Real *from) const {
        return load(from);
    }
    template <typename Real>
    INLINE void put(Real *to, Vec<Real> vector) const {
        store(to, vector);
    }
};

struct Part {
    Index count;
    template <typename Real>
    INLINE Vec<Real> get(const Real *from) const {
        Vec<Real> vector{};
        for (Index i = 0; i < count; ++i) vector[i] = from[i];
        return vector;
    }
    template <typename Real>
    INLINE void put(Real *to, Vec<Real> vector) const {
        for (Index i = 0; i < count; ++i) to[i] = vector[i];
    }
};

// Calls f(extent, outer, inner) for all vectors of all lines. The last vector of a line overlaps
// the one before rather than being cut, so f must not read what it writes.
template <typename Real, typename F>
INLINE void for_vectors(Index lines, Index length, F f) {
    constexpr Index width = WIDTH<Real>;
    for (Index outer = 0; outer < lines; ++outer) {
        if (length < width) {
            f(Part{length}, outer, Index(0));
            continue;
        }
        Index inner = 0;
        for (; inner + width <= length; inner += width) f(Whole{}, outer, inner);
        if (inner < length) f(Whole{}, outer, length - width);
    }
}

}  // namespace
