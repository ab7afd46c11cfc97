// As many float32 numbers at a time as a register holds, as the compiler's vector type.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace grid {

#if defined(__AVX512F__)
constexpr int WIDTH = 16;
#elif defined(__AVX__)
constexpr int WIDTH = 8;
#else
constexpr int WIDTH = 4;
#endif

typedef float Vector __attribute__((vector_size(WIDTH * 4)));
typedef int32_t IntVector __attribute__((vector_size(WIDTH * 4)));
typedef uint32_t BitVector __attribute__((vector_size(WIDTH * 4)));
typedef float UnalignedVector __attribute__((vector_size(WIDTH * 4), aligned(4), may_alias));
typedef uint16_t HalfVector __attribute__((vector_size(WIDTH * 2), aligned(2), may_alias));

// bfloat16 as it lies in memory.
struct BFloat16 {
    uint16_t bits;
};

inline Vector broadcast(float x) { return x - Vector{}; }

inline Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }

inline Vector load(const BFloat16* from) {
    return (Vector)(__builtin_convertvector(*reinterpret_cast<const HalfVector*>(from), BitVector) << 16);
}

inline void store(float* to, Vector x) { *reinterpret_cast<UnalignedVector*>(to) = x; }

// Rounds to the nearest, ties to even; a NaN stays one.
inline void store(BFloat16* to, Vector x) {
#if defined(__AVX512BF16__)
    const __m256bh half = _mm512_cvtneps_pbh((__m512)(x));
    std::memcpy(to, &half, sizeof(half));
#else
    const BitVector bits = (BitVector)x;
    const BitVector rounded = (bits + (0x7fff + ((bits >> 16) & 1))) >> 16;
    const BitVector nan = (BitVector)(x != x);
    *reinterpret_cast<HalfVector*>(to) = __builtin_convertvector((nan & 0x7fc0) | (~nan & rounded), HalfVector);
#endif
}

// Past the caches, for what is not read again soon; `to` is aligned to the vector.
inline void stream(float* to, Vector x) {
#if defined(__AVX512F__)
    _mm512_stream_ps(to, (__m512)(x));
#elif defined(__AVX__)
    _mm256_stream_ps(to, (__m256)(x));
#else
    store(to, x);
#endif
}

inline void stream(BFloat16* to, Vector x) { store(to, x); }

// The first `count` numbers (there may be none), zeros behind them.
template <class Number>
inline Vector load_part(const Number* from, int count) {
    if (count >= WIDTH) return load(from);
    alignas(64) Number part[WIDTH] = {};
    if (count > 0) std::memcpy(part, from, count * sizeof(Number));
    return load(part);
}

// The first `count` lanes, zeros in the others.
inline Vector first_lanes(Vector x, int count) {
    alignas(64) static constexpr int32_t number[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    IntVector lane;
    std::memcpy(&lane, number, sizeof(lane));
    return lane < count ? x : Vector{};
}

template <class Number>
inline void store_part(Number* to, Vector x, int count) {
    if (count >= WIDTH) return store(to, x);
    alignas(64) Number part[WIDTH];
    store(part, x);
    if (count > 0) std::memcpy(to, part, count * sizeof(Number));
}

// Numbers of 32 bits that are moved, whatever they are.
typedef int32_t Bits __attribute__((may_alias));

// Sixteen rows of sixteen, `row` apart -> their transpose, its rows `to_row` apart.
inline void transpose(const Bits* from, int64_t row, Bits* to, int64_t to_row) {
#if defined(__AVX512F__)
    __m512i r[16], t[16];
    for (int n = 0; n < 16; ++n) r[n] = _mm512_loadu_si512(from + n * row);
    for (int n = 0; n < 16; n += 2) {
        t[n] = _mm512_unpacklo_epi32(r[n], r[n + 1]);
        t[n + 1] = _mm512_unpackhi_epi32(r[n], r[n + 1]);
    }
    for (int n = 0; n < 16; n += 4) {
        r[n] = _mm512_unpacklo_epi64(t[n], t[n + 2]);
        r[n + 1] = _mm512_unpackhi_epi64(t[n], t[n + 2]);
        r[n + 2] = _mm512_unpacklo_epi64(t[n + 1], t[n + 3]);
        r[n + 3] = _mm512_unpackhi_epi64(t[n + 1], t[n + 3]);
    }
    for (int n = 0; n < 4; ++n) {
        t[n] = _mm512_shuffle_i32x4(r[n], r[n + 4], 0x88);
        t[n + 4] = _mm512_shuffle_i32x4(r[n], r[n + 4], 0xdd);
        t[n + 8] = _mm512_shuffle_i32x4(r[n + 8], r[n + 12], 0x88);
        t[n + 12] = _mm512_shuffle_i32x4(r[n + 8], r[n + 12], 0xdd);
    }
    for (int n = 0; n < 4; ++n) {
        _mm512_storeu_si512(to + n * to_row, _mm512_shuffle_i32x4(t[n], t[n + 8], 0x88));
        _mm512_storeu_si512(to + (n + 8) * to_row, _mm512_shuffle_i32x4(t[n], t[n + 8], 0xdd));
        _mm512_storeu_si512(to + (n + 4) * to_row, _mm512_shuffle_i32x4(t[n + 4], t[n + 12], 0x88));
        _mm512_storeu_si512(to + (n + 12) * to_row, _mm512_shuffle_i32x4(t[n + 4], t[n + 12], 0xdd));
    }
#else
    for (int n = 0; n < 16; ++n)
        for (int m = 0; m < 16; ++m) to[m * to_row + n] = from[n * row + m];
#endif
}

// Sixteen rows of `count` -> `count` rows of sixteen; up to fifteen more are read of each.
inline void transpose_rows(const Bits* from, int64_t row, int64_t count, Bits* to, int64_t to_row) {
    int64_t n = 0;
    for (; n + 16 <= count; n += 16) transpose(from + n, row, to + n * to_row, to_row);
    if (n == count) return;
    alignas(64) Bits last[16 * 16];
    transpose(from + n, row, last, 16);
    for (int64_t m = n; m < count; ++m) std::memcpy(to + m * to_row, last + (m - n) * 16, 16 * sizeof(Bits));
}

inline Vector reciprocal(Vector x) {
#if defined(__AVX512F__)
    const __m512 argument = (__m512)(x);
    const __m512 near = _mm512_rcp14_ps(argument);
    const Vector estimate = (Vector)(near);
    return estimate * (2.0f - x * estimate);
#else
    return 1.0f / x;
#endif
}

// 2^x to 3e-7 of its value, for x within +-126; beyond, the value at the end of that range. A NaN stays one.
inline Vector power_of_two(Vector x) {
    x = x > 126.0f ? broadcast(126.0f) : x;
    x = x < -126.0f ? broadcast(-126.0f) : x;
    const Vector shifted = x + 12582912.0f;  // rounds x to a whole number, which is left in the low bits
    const Vector r = x - (shifted - 12582912.0f);
    Vector p = 0.001326472731307149f * r + 0.009671512991189957f;  // minimax on +-1/2 of the relative error (1.1e-7), exact at 0
    p = p * r + 0.05550733581185341f;
    p = p * r + 0.24022242426872253f;
    p = p * r + 0.6931470036506653f;
    p = p * r + 1.0f;
    return (Vector)((IntVector)p + ((IntVector)shifted << 23));
}

constexpr float LOG2_E = 1.44269504f;

inline Vector sigmoid(Vector x) { return reciprocal(1.0f + power_of_two(x * -LOG2_E)); }

inline Vector tanh(Vector x) { return 1.0f - 2.0f * reciprocal(1.0f + power_of_two(x * (2 * LOG2_E))); }

}  // namespace grid
