#pragma once

// The tile registers of AMX and the five instructions on them that an integer product needs. There are eight
// registers; a configuration says how many rows (up to 16) and bytes a row (up to 64) each of them has.
//
//   dot_tiles<C, A, B>:  C[i][j] += sum over q, b < 4 of A[i][4q + b] * B[q][4j + b]
//
//        A: uint8, a row of C          B: int8, four successive k                C: int32
//           has its bytes in a row        of a column side by side
//        k=0 1 2 3 4 ...               column 0   1   2 ...  15                  column 0 1 2 ... 15
//    i=0 [. . . . . ...]           q=0 [k=0..3|...|...|    ]                  i=0 [. . . ...]
//    i=1 [. . . . . ...]           q=1 [k=4..7|...|...|    ]                  i=1 [. . . ...]
//
// With NIBBLE_EMULATED_TILES the same in plain C++, for machines without tiles: it stops the program where
// the processor would fault, and where tiles are configured that nobody released. The kernels are tested with
// that.

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace nibble::quant::NIBBLE_TIER {
namespace {

inline constexpr std::size_t kTileRows = 16;   // the most
inline constexpr std::size_t kTileBytes = 64;  // of a row, the most
inline constexpr int kTileCount = 8;

// As LDTILECFG reads it.
struct alignas(64) TileConfig {
  std::uint8_t palette = 1;
  std::uint8_t start_row = 0;
  std::uint8_t reserved[14] = {};
  std::uint16_t row_bytes[16] = {};
  std::uint8_t rows[16] = {};

  void set(int tile, std::size_t tile_rows, std::size_t bytes) {
    rows[tile] = static_cast<std::uint8_t>(tile_rows);
    row_bytes[tile] = static_cast<std::uint16_t>(bytes);
  }
};
static_assert(sizeof(TileConfig) == 64);

#if !defined(NIBBLE_EMULATED_TILES)

// Assembly, because the intrinsics of GCC 12 are macros around it that take literal numbers only, and do not
// tell the compiler which memory they read. Compilers never use tile registers by themselves.
inline void configure_tiles(const TileConfig& config) { asm volatile("ldtilecfg %0" : : "m"(config)); }
inline void release_tiles() { asm volatile("tilerelease"); }

template <int T>
void zero_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(T));
}
// Rows `stride` bytes apart.
template <int T>
void load_tile(const void* from, std::size_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
void store_tile(void* to, std::size_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(T) : "memory");
}
template <int C, int A, int B>
void dot_tiles() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

#else

struct Tile {
  std::uint8_t row[kTileRows][kTileBytes];
};
thread_local Tile tiles[kTileCount];
thread_local TileConfig config_of_tiles = {.palette = 0};  // 0: not configured

inline void fault_unless(bool legal) {
  if (!legal) __builtin_trap();
}

inline void configure_tiles(const TileConfig& config) {
  fault_unless(config_of_tiles.palette == 0);
  fault_unless(config.palette == 1 && config.start_row == 0);
  for (const std::uint8_t byte : config.reserved) fault_unless(byte == 0);
  for (int t = 0; t < 16; ++t) {
    const std::size_t rows = config.rows[t], bytes = config.row_bytes[t];
    fault_unless(rows <= kTileRows && bytes <= kTileBytes && (rows == 0) == (bytes == 0));
    fault_unless(t < kTileCount || rows == 0);
  }
  config_of_tiles = config;
  std::memset(tiles, 0, sizeof tiles);
}
inline void release_tiles() {
  config_of_tiles.palette = 0;
  std::memset(tiles, 0, sizeof tiles);
}

inline void check_tile(int t) {
  fault_unless(t >= 0 && t < kTileCount && config_of_tiles.palette == 1 && config_of_tiles.rows[t] > 0);
}
template <int T>
void zero_tile() {
  check_tile(T);
  std::memset(&tiles[T], 0, sizeof tiles[T]);
}
template <int T>
void load_tile(const void* from, std::size_t stride) {
  zero_tile<T>();
  for (std::size_t i = 0; i < config_of_tiles.rows[T]; ++i)
    std::memcpy(tiles[T].row[i], static_cast<const std::byte*>(from) + i * stride,
                config_of_tiles.row_bytes[T]);
}
template <int T>
void store_tile(void* to, std::size_t stride) {
  check_tile(T);
  for (std::size_t i = 0; i < config_of_tiles.rows[T]; ++i)
    std::memcpy(static_cast<std::byte*>(to) + i * stride, tiles[T].row[i], config_of_tiles.row_bytes[T]);
}
template <int C, int A, int B>
void dot_tiles() {
  static_assert(C != A && C != B && A != B);
  check_tile(C), check_tile(A), check_tile(B);
  const std::size_t rows = config_of_tiles.rows[C], bytes = config_of_tiles.row_bytes[C],
                    depth = config_of_tiles.rows[B];
  fault_unless(config_of_tiles.rows[A] == rows && config_of_tiles.row_bytes[B] == bytes &&
               config_of_tiles.row_bytes[A] == 4 * depth && bytes % 4 == 0);
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < bytes; j += 4) {
      std::uint32_t sum;  // wraps around, as the instruction does
      std::memcpy(&sum, tiles[C].row[i] + j, sizeof sum);
      for (std::size_t q = 0; q < depth; ++q)
        for (std::size_t b = 0; b < 4; ++b)
          sum += static_cast<std::uint32_t>(tiles[A].row[i][4 * q + b] *
                                            static_cast<std::int8_t>(tiles[B].row[q][j + b]));
      std::memcpy(tiles[C].row[i] + j, &sum, sizeof sum);
    }
}

#endif

}  // namespace
}  // namespace nibble::quant::NIBBLE_TIER
