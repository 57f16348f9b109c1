#pragma once

#include <stdexcept>

#include "tensor/simd/isa.h"

// Applies X(tier, a, b) to every tier that this architecture has.
#if defined(__x86_64__)
#define NIBBLE_FOR_EACH_TIER(X, a, b) X(sse2, a, b) X(avx2, a, b) X(avx512, a, b)
#else
#define NIBBLE_FOR_EACH_TIER(X, a, b) X(neon, a, b)
#endif

#define NIBBLE_DECLARE_TABLE(tier, Table, name) \
  namespace tier {                              \
  extern const Table name;                      \
  }
#define NIBBLE_SELECT_TABLE(tier, Table, name) \
  case Isa::tier:                              \
    return tier::name;

// A kernel family is a struct of function pointers, `Table`. Its source is compiled once per tier and defines
// the object `name` in namespace nibble::<tier>; everything else there stays in an unnamed namespace. This
// macro, placed in namespace nibble of the family's header, declares those objects and the function name()
// that picks the table of a tier, the active one by default.
#define NIBBLE_DECLARE_KERNELS(Table, name)                  \
  NIBBLE_FOR_EACH_TIER(NIBBLE_DECLARE_TABLE, Table, name)    \
  inline const Table& name(Isa isa = active_isa()) {         \
    switch (isa) {                                           \
      NIBBLE_FOR_EACH_TIER(NIBBLE_SELECT_TABLE, Table, name) \
      default:                                               \
        throw std::logic_error("no kernels for this tier");  \
    }                                                        \
  }
