// Runs the tests of one program. Exit code 77, which ctest counts as skipped, when NIBBLE_ISA names a tier
// that this machine lacks.
#if __has_include(<catch2/catch_session.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif
#include <cstdio>
#include <stdexcept>

#include "tensor/simd/isa.h"

int main(int argc, char** argv) {
  try {
    nibble::active_isa();
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "skipped: %s\n", error.what());
    return 77;
  }
  return Catch::Session().run(argc, argv);
}
