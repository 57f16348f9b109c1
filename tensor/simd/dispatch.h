#pragma once

#include "tensor/simd/isa.h"

// Applies X(tier, a, b) to every tier, lowest first, that float kernels are compiled for; to every tier of
// integer kernels; and to those of the integer products, which alone have a use for tiles: NIBBLE_TIERS,
// NIBBLE_INTEGER_TIERS and NIBBLE_TILE_TIERS of cmake/NibbleTargets.cmake.
#if defined(__x86_64__)
#define NIBBLE_FOR_EACH_TIER(X, a, b) X(sse2, a, b) X(avx2, a, b) X(avx512, a, b)
#define NIBBLE_FOR_EACH_INTEGER_TIER(X, a, b) \
  X(scalar, a, b) X(sse2, a, b) X(ssse3, a, b) X(avx2, a, b) X(avx512, a, b) X(avx512vnni, a, b)
#define NIBBLE_FOR_EACH_PRODUCT_TIER(X, a, b) NIBBLE_FOR_EACH_INTEGER_TIER(X, a, b) X(amx, a, b)
#else
#define NIBBLE_FOR_EACH_TIER(X, a, b) X(neon, a, b)
#define NIBBLE_FOR_EACH_INTEGER_TIER(X, a, b) X(scalar, a, b) X(neon, a, b) X(neondot, a, b)
#define NIBBLE_FOR_EACH_PRODUCT_TIER(X, a, b) NIBBLE_FOR_EACH_INTEGER_TIER(X, a, b)
#endif

#define NIBBLE_DECLARE_TABLE(tier, Table, name) \
  namespace tier {                              \
  extern const Table name;                      \
  }
#define NIBBLE_CONSIDER_TABLE(tier, Table, name) \
  if (table == nullptr || Isa::tier <= isa) table = &tier::name;

// A kernel family is a struct of function pointers, `Table`. Its source is compiled once per tier and defines
// the object `name` in namespace nibble::<tier>; everything else there stays in an unnamed namespace. This
// macro, placed in namespace nibble of the family's header, declares those objects and the function name()
// that picks the table of the best tier up to the one asked for, the active one by default.
#define NIBBLE_DECLARE_KERNELS_OF(FOR_EACH, Table, name) \
  FOR_EACH(NIBBLE_DECLARE_TABLE, Table, name)            \
  inline const Table& name(Isa isa = active_isa()) {     \
    const Table* table = nullptr;                        \
    FOR_EACH(NIBBLE_CONSIDER_TABLE, Table, name)         \
    return *table;                                       \
  }
#define NIBBLE_DECLARE_KERNELS(Table, name) NIBBLE_DECLARE_KERNELS_OF(NIBBLE_FOR_EACH_TIER, Table, name)
#define NIBBLE_DECLARE_INTEGER_KERNELS(Table, name) \
  NIBBLE_DECLARE_KERNELS_OF(NIBBLE_FOR_EACH_INTEGER_TIER, Table, name)
#define NIBBLE_DECLARE_PRODUCT_KERNELS(Table, name) \
  NIBBLE_DECLARE_KERNELS_OF(NIBBLE_FOR_EACH_PRODUCT_TIER, Table, name)
