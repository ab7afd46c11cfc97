// Products of bfloat16 rows with float32 sums, on the matrix tiles or the dot products of the processor.
//
// The right factor holds pairs of rows: number (k, column) lies beside (k + 1, column), for even k.
#pragma once

#include <chrono>
#include <memory>
#include <vector>

#include "products.h"

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define GRID_HAS_PAIRS

namespace grid {

// Rows r and r + 1 of a matrix -> pairs of its columns, in natural order. `columns` is a multiple of 32.
inline void interleave(const BFloat16* rows, int64_t row, int64_t count, int64_t columns, BFloat16* pairs) {
    alignas(64) int16_t low[32], high[32];
    for (int n = 0; n < 32; ++n) {
        low[n] = n / 2 + (n % 2) * 32;
        high[n] = low[n] + 16;
    }
    const __m512i first = _mm512_load_si512(low), second = _mm512_load_si512(high);
    for (int64_t r = 0; r < count; r += 2)
        for (int64_t column = 0; column < columns; column += 32) {
            const __m512i even = _mm512_loadu_si512(rows + r * row + column);
            const __m512i odd = _mm512_loadu_si512(rows + (r + 1) * row + column);
            BFloat16* to = pairs + (r * columns + column * 2);
            _mm512_storeu_si512(to, _mm512_permutex2var_epi16(even, first, odd));
            _mm512_storeu_si512(to + 32, _mm512_permutex2var_epi16(even, second, odd));
        }
}

// Memory for the pairs of the rows whose outer product is due; kept by a thread as long as it needs no more.
inline BFloat16* pairs_buffer(int which, int64_t count) {
    struct Free {
        void operator()(void* memory) const { std::free(memory); }
    };
    static thread_local std::unique_ptr<void, Free> memory[2];
    static thread_local int64_t sizes[2];
    if (sizes[which] < count) {
        memory[which].reset(std::aligned_alloc(64, (count * sizeof(BFloat16) + 63) / 64 * 64));
        sizes[which] = memory[which] ? count : 0;
        if (!memory[which]) throw std::bad_alloc();
    }
    return static_cast<BFloat16*>(memory[which].get());
}

// On the dot products of pairs (AVX512-BF16).
struct PairProducts {
    using Number = BFloat16;
    static constexpr int ROWS = 6;
    static constexpr int64_t DEPTH = 2;
    static constexpr int64_t FLUSH = 288;
    struct Working {};

    static void set_columns(const BFloat16* rows, int64_t row, int64_t depth, BFloat16* panel, int64_t column, int64_t columns) {
        transpose_rows(reinterpret_cast<const Bits*>(rows), row / 2, depth / 2, reinterpret_cast<Bits*>(panel) + column, columns);
    }

    static void set_rows(const BFloat16* rows, int64_t row, int64_t count, BFloat16* panel) {
        interleave(rows, row, count, 64, panel);
    }

    static void rows(int count, int columns, int64_t depth, const BFloat16* a, int64_t a_row, const BFloat16* panel, int width,
                     const float* start, float* c, int64_t c_row) {
        const auto* left = reinterpret_cast<const int32_t*>(a);
        product(count, columns, depth / 2, left, a_row / 2, 1, panel, width, start, 0, c, c_row);
    }

    static void outer(int64_t count, int64_t k_count, int64_t columns, int panel, BFloat16* a, int64_t a_row, BFloat16* b,
                      int64_t b_row, float* c, int64_t c_row) {
        count = (count + 1) / 2 * 2;
        BFloat16* left = pairs_buffer(0, count * a_row);
        BFloat16* right = pairs_buffer(1, count * b_row);
        interleave(a, a_row, count, a_row, left);
        interleave(b, b_row, count, b_row, right);
        for (int64_t column = 0; column < columns; column += panel)
            for (int64_t k = 0; k < k_count; k += ROWS) {
                float* to = c + k * c_row + column;
                product(std::min<int64_t>(ROWS, k_count - k), panel, count / 2, reinterpret_cast<const int32_t*>(left) + k, 1,
                        a_row, right + column * 2, b_row, to, c_row, to, c_row);
            }
    }

   private:
    template <int M, int N>
    __attribute__((noinline)) static void pair_tile(int64_t depth, const int32_t* a, int64_t a_row, int64_t a_step,
                                                    const BFloat16* b, int64_t b_step, const float* start,
                                                    int64_t start_row, float* c, int64_t c_row) {
        __m512 sum[M][N];
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
            for (int j = 0; j < N; ++j)
                sum[i][j] = start ? _mm512_loadu_ps(start + i * start_row + j * 16) : _mm512_setzero_ps();
        for (int64_t k = 0; k < depth; ++k) {
            __m512i right[N];
#pragma GCC unroll 8
            for (int j = 0; j < N; ++j) right[j] = _mm512_loadu_si512(b + j * 32);
#pragma GCC unroll 8
            for (int i = 0; i < M; ++i) {
                const __m512i left = _mm512_set1_epi32(a[i * a_row]);
#pragma GCC unroll 8
                for (int j = 0; j < N; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], (__m512bh)left, (__m512bh)right[j]);
            }
            a += a_step;
            b += b_step * 2;
        }
#pragma GCC unroll 8
        for (int i = 0; i < M; ++i)
#pragma GCC unroll 8
            for (int j = 0; j < N; ++j) _mm512_storeu_ps(c + i * c_row + j * 16, sum[i][j]);
    }

    template <int M>
    static void pair_rows(int columns, int64_t depth, const int32_t* a, int64_t a_row, int64_t a_step, const BFloat16* b,
                          int64_t b_step, const float* start, int64_t start_row, float* c, int64_t c_row) {
        int j = 0;
        for (; j + 64 <= columns; j += 64)
            pair_tile<M, 4>(depth, a, a_row, a_step, b + j * 2, b_step, start ? start + j : nullptr, start_row, c + j, c_row);
        for (; j < columns; j += 16)
            pair_tile<M, 1>(depth, a, a_row, a_step, b + j * 2, b_step, start ? start + j : nullptr, start_row, c + j, c_row);
    }

    static void product(int rows, int columns, int64_t depth, const int32_t* a, int64_t a_row, int64_t a_step,
                        const BFloat16* b, int64_t b_step, const float* start, int64_t start_row, float* c, int64_t c_row) {
        with_rows(rows, [&](auto count) {
            pair_rows<count>(columns, depth, a, a_row, a_step, b, b_step, start, start_row, c, c_row);
        });
    }
};

}  // namespace grid
#endif

#if defined(GRID_HAS_PAIRS) && defined(__AMX_BF16__) && defined(__AMX_TILE__) && defined(__linux__)
#define GRID_HAS_TILES

#include <sys/syscall.h>
#include <unistd.h>

namespace grid {

// Whether the operating system lets this process use the tiles; asked once.
inline bool tiles_allowed() {
    constexpr int REQUEST = 0x1023, TILES = 18;  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
    static const bool allowed = syscall(SYS_arch_prctl, REQUEST, TILES) == 0;
    return allowed;
}

// On matrix tiles (AMX) of 16 rows of 16 float32 numbers, or of 16 pairs.
struct TileProducts {
    using Number = BFloat16;
    static constexpr int ROWS = 16;
    static constexpr int64_t DEPTH = 32;
    static constexpr int64_t FLUSH = 288;

    // Everything written so far is in memory: the compiler does not know of all that tile instructions read.
    static void settle() { asm volatile("" ::: "memory"); }

    // The shape of the tiles, as long as a thread multiplies.
    struct Working {
        Working() {
            alignas(64) struct {
                uint8_t palette = 1, start = 0, reserved[14] = {};
                uint16_t bytes[16] = {};
                uint8_t rows[16] = {};
            } shape;
            for (int tile = 0; tile < 8; ++tile) {
                shape.bytes[tile] = 64;
                shape.rows[tile] = 16;
            }
            asm volatile("" : : "r"(&shape) : "memory");
            _tile_loadconfig(&shape);
        }
        ~Working() { _tile_release(); }
        Working(const Working&) = delete;
    };

    static void set_columns(const BFloat16* rows, int64_t row, int64_t depth, BFloat16* panel, int64_t column, int64_t columns) {
        PairProducts::set_columns(rows, row, depth, panel, column, columns);
    }

    static void set_rows(const BFloat16* rows, int64_t row, int64_t count, BFloat16* panel) {
        PairProducts::set_rows(rows, row, count, panel);
    }

    static void rows(int, int columns, int64_t depth, const BFloat16* a, int64_t a_row, const BFloat16* panel, int width,
                     const float* start, float* c, int64_t c_row) {
        int j = 0;
        for (; j + 64 <= columns; j += 64)
            tiles<4>(depth, a, a_row * 2, 32, panel + j * 2, width, start ? start + j : nullptr, 0, c + j, c_row);
        for (; j < columns; j += 16)
            tiles<1>(depth, a, a_row * 2, 32, panel + j * 2, width, start ? start + j : nullptr, 0, c + j, c_row);
    }

    static void outer(int64_t count, int64_t k_count, int64_t columns, int, BFloat16* a, int64_t a_row, BFloat16* b,
                      int64_t b_row, float* c, int64_t c_row) {
        const int64_t padded = (count + 31) / 32 * 32;
        std::memset(a + count * a_row, 0, (padded - count) * a_row * sizeof(BFloat16));
        std::memset(b + count * b_row, 0, (padded - count) * b_row * sizeof(BFloat16));
        BFloat16* right = pairs_buffer(1, padded * b_row);
        interleave(b, b_row, padded, b_row, right);
        BFloat16* pairs = pairs_buffer(0, padded * a_row + padded * 16);
        BFloat16* left = pairs + padded * a_row;  // 16 columns of A at a time, transposed
        interleave(a, a_row, padded, a_row, pairs);
        for (int64_t k = 0; k < k_count; k += 16) {
            for (int64_t r = 0; r < padded; r += 32)
                transpose(reinterpret_cast<const Bits*>(pairs) + r / 2 * a_row + k, a_row,
                          reinterpret_cast<Bits*>(left) + r * 8, 16);
            float* to = c + k * c_row;
            int64_t j = 0;
            for (; j + 64 <= columns; j += 64)
                tiles<4>(padded, left, 64, 512, right + j * 2, b_row, to + j, c_row, to + j, c_row);
            for (; j < columns; j += 16)
                tiles<1>(padded, left, 64, 512, right + j * 2, b_row, to + j, c_row, to + j, c_row);
        }
    }

   private:
    // C = start + A B for 16 rows and N * 16 columns. A's rows are `a_bytes` apart, its next 32 columns `a_step` numbers.
    template <int N>
    static void tiles(int64_t depth, const BFloat16* a, int64_t a_bytes, int64_t a_step, const BFloat16* b, int64_t b_row,
                      const float* start, int64_t start_row, float* c, int64_t c_row) {
        settle();
        if (start) {
            _tile_loadd(0, start, start_row * 4);
            if (N > 1) _tile_loadd(1, start + 16, start_row * 4);
            if (N > 2) _tile_loadd(2, start + 32, start_row * 4);
            if (N > 3) _tile_loadd(3, start + 48, start_row * 4);
        } else {
            _tile_zero(0);
            if (N > 1) _tile_zero(1);
            if (N > 2) _tile_zero(2);
            if (N > 3) _tile_zero(3);
        }
        for (int64_t k = 0; k < depth; k += 32) {
            const BFloat16* right = b + k * b_row;
            _tile_loadd(4, a, a_bytes);
            _tile_loadd(5, right, b_row * 4);
            _tile_dpbf16ps(0, 4, 5);
            if (N > 1) {
                _tile_loadd(6, right + 32, b_row * 4);
                _tile_dpbf16ps(1, 4, 6);
            }
            if (N > 2) {
                _tile_loadd(7, right + 64, b_row * 4);
                _tile_dpbf16ps(2, 4, 7);
            }
            if (N > 3) {
                _tile_loadd(5, right + 96, b_row * 4);
                _tile_dpbf16ps(3, 4, 5);
            }
            a += a_step;
        }
        _tile_stored(0, c, c_row * 4);
        if (N > 1) _tile_stored(1, c + 16, c_row * 4);
        if (N > 2) _tile_stored(2, c + 32, c_row * 4);
        if (N > 3) _tile_stored(3, c + 48, c_row * 4);
        settle();
    }
};

}  // namespace grid
#endif

namespace grid {

// How products are computed, numbered as in kernel.py: on float32; on bfloat16 that is widened to float32 first, on dot
// products of pairs, on tiles; or in the fastest of the last three.
enum Way { FLOAT32, FASTEST, WIDENED, PAIRS, TILES };

// How long a product takes, in seconds, undisturbed.
template <class Products>
double seconds_of_product() {
    constexpr int64_t DEPTH = 128, COLUMNS = 64;
    using Number = typename Products::Number;
    const std::vector<Number> left(Products::ROWS * DEPTH), right((DEPTH + AHEAD) * COLUMNS);
    std::vector<float> out(Products::ROWS * COLUMNS);
    double best = 1;
    for (int round = 0; round < 10; ++round) {
        const auto start = std::chrono::steady_clock::now();
        for (int n = 0; n < 20; ++n)
            Products::rows(Products::ROWS, COLUMNS, DEPTH, left.data(), DEPTH, right.data(), COLUMNS, nullptr, out.data(), COLUMNS);
        best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    return best;
}

// Tiles where there are some; else pairs, unless the processor has these instructions and takes longer with them, which is
// measured once (Intel's fourth and fifth Xeons take twice as long).
inline int fastest_way() {
#if defined(GRID_HAS_TILES)
    if (tiles_allowed()) return TILES;
#endif
#if defined(GRID_HAS_PAIRS)
    static const bool pairs = seconds_of_product<PairProducts>() < seconds_of_product<FloatProducts>();
    return pairs ? PAIRS : WIDENED;
#else
    return WIDENED;
#endif
}

}  // namespace grid
