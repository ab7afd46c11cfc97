// Small matrix products on float32: C (+)= A B for a few rows of A and a panel of columns of B, held in registers.
#pragma once

#include <algorithm>
#include <type_traits>

#include "vectors.h"

namespace grid {

// Registers: with AVX-512 six rows of 64 columns take 24 of 32; with 16 registers of 8 numbers, six rows of 16 columns take 12.
constexpr int AHEAD = 8;  // rows of B that are fetched into the first-level cache before they are needed
#if defined(__AVX512F__)
constexpr int REGISTER = 16;
constexpr int TILE = 4;
#elif defined(__AVX__)
constexpr int REGISTER = 8;
constexpr int TILE = 2;
#else
constexpr int REGISTER = 4;
constexpr int TILE = 4;
#endif

typedef float Register __attribute__((vector_size(REGISTER * 4)));
typedef float UnalignedRegister __attribute__((vector_size(REGISTER * 4), aligned(4), may_alias));

// One tile: C[i][j] = start[i][j] + sum over k of A[i * a_row + k * a_step] * B[k * b_step + j].
// `start` is C itself (start_row = its row stride), or one row for all (start_row = 0), or null for zeros.
template <int M, int N>
__attribute__((noinline)) void tile(int64_t depth, const float* a, int64_t a_row, int64_t a_step, const float* b, int64_t b_step,
                 const float* start, int64_t start_row, float* c, int64_t c_row) {
    Register sum[M][N];
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < N; ++j)
            sum[i][j] = start ? Register(*reinterpret_cast<const UnalignedRegister*>(start + i * start_row + j * REGISTER))
                              : Register{};
    for (int64_t k = 0; k < depth; ++k) {
        Register right[N];
#pragma GCC unroll 8
        for (int j = 0; j < N; ++j) right[j] = *reinterpret_cast<const UnalignedRegister*>(b + j * REGISTER);
#pragma GCC unroll 8
        for (int j = 0; j < N; ++j) __builtin_prefetch(b + AHEAD * b_step + j * REGISTER);
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i) {
            const Register left = a[i * a_row] - Register{};  // in all lanes
#pragma GCC unroll 8
            for (int j = 0; j < N; ++j) sum[i][j] += left * right[j];
        }
        a += a_step;
        b += b_step;
    }
#pragma GCC unroll 8
    for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < N; ++j)
            *reinterpret_cast<UnalignedRegister*>(c + i * c_row + j * REGISTER) = sum[i][j];
}

// The same for `columns` (a multiple of 16) of B, tile by tile.
template <int M>
inline void rows_of_product(int columns, int64_t depth, const float* a, int64_t a_row, int64_t a_step, const float* b,
                            int64_t b_step, const float* start, int64_t start_row, float* c, int64_t c_row) {
    int j = 0;
    for (; j + TILE * REGISTER <= columns; j += TILE * REGISTER)
        tile<M, TILE>(depth, a, a_row, a_step, b + j, b_step, start ? start + j : nullptr, start_row, c + j, c_row);
    if (columns - j == 48 && REGISTER == 16)
        return tile<M, 48 / REGISTER % 8>(depth, a, a_row, a_step, b + j, b_step, start ? start + j : nullptr, start_row, c + j,
                                          c_row);
    for (; j < columns; j += REGISTER)
        tile<M, 1>(depth, a, a_row, a_step, b + j, b_step, start ? start + j : nullptr, start_row, c + j, c_row);
}

// Calls run with the number of rows, 1 to 6, as a constant.
template <class Run>
void with_rows(int rows, Run run) {
    switch (rows) {
        case 6: return run(std::integral_constant<int, 6>());
        case 5: return run(std::integral_constant<int, 5>());
        case 4: return run(std::integral_constant<int, 4>());
        case 3: return run(std::integral_constant<int, 3>());
        case 2: return run(std::integral_constant<int, 2>());
        case 1: return run(std::integral_constant<int, 1>());
    }
}

// Products of float32 rows.
struct FloatProducts {
    using Number = float;
    static constexpr int ROWS = 6;            // rows that are multiplied together
    static constexpr int64_t DEPTH = 1;       // the depth of a product is a multiple of it
    static constexpr int64_t FLUSH = 144;     // rows over which gradients of weights are summed at once
    struct Working {};                        // what a thread needs while it multiplies

    // Makes sixteen rows of `depth` numbers (up to 31 more are read) columns of a panel of B that has `columns`.
    static void set_columns(const float* rows, int64_t row, int64_t depth, float* panel, int64_t column, int64_t columns) {
        transpose_rows(reinterpret_cast<const Bits*>(rows), row, depth, reinterpret_cast<Bits*>(panel) + column, columns);
    }

    // Makes the first 64 numbers of `count` rows, which are even in number, the rows of a panel of B.
    static void set_rows(const float* rows, int64_t row, int64_t count, float* panel) {
        for (int64_t r = 0; r < count; ++r) std::memcpy(panel + r * 64, rows + r * row, 64 * sizeof(float));
    }

    // C[i] = start + A[i] B for `count` rows (up to ROWS; more may be read and written), `columns` a multiple of 16 of a
    // panel that is `width` wide; `start` is one row for all, or null.
    static void rows(int count, int columns, int64_t depth, const float* a, int64_t a_row, const float* panel, int width,
                     const float* start, float* c, int64_t c_row) {
        product(count, columns, depth, a, a_row, 1, panel, width, start, 0, c, c_row);
    }

    // C += A^T B over `count` rows of A (with `k_count` columns) and B (with `columns`, a multiple of `panel`).
    static void outer(int64_t count, int64_t k_count, int64_t columns, int panel, float* a, int64_t a_row, float* b,
                      int64_t b_row, float* c, int64_t c_row) {
        for (int64_t column = 0; column < columns; column += panel)
            for (int64_t k = 0; k < k_count; k += ROWS) {
                float* to = c + k * c_row + column;
                product(std::min<int64_t>(ROWS, k_count - k), panel, count, a + k, 1, a_row, b + column, b_row, to, c_row, to,
                        c_row);
            }
    }

   private:
    static void product(int rows, int columns, int64_t depth, const float* a, int64_t a_row, int64_t a_step, const float* b,
                        int64_t b_step, const float* start, int64_t start_row, float* c, int64_t c_row) {
        with_rows(rows, [&](auto count) {
            rows_of_product<count>(columns, depth, a, a_row, a_step, b, b_step, start, start_row, c, c_row);
        });
    }
};

}  // namespace grid
