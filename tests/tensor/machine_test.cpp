#include "tensor/machine.h"

#include <cmath>
#include <vector>

#include "tensor/kernels/probe.h"
#include "tests/support/catch.h"

using namespace nibble;

TEST_CASE("the read probe reads everything", "[tiers]") {
  for (const Isa isa : supported_isas()) {
    const ProbeKernels& kernels = probe_kernels(isa);
    for (const std::size_t n : {0, 1, 15, 16, 127, 128, 129, 1000}) {
      const std::vector<float> x(n, 0.5f);
      INFO(name_of(isa) << ", " << n << " elements");
      CHECK(kernels.read(x.data(), n) == 0.5f * static_cast<float>(n));
    }
    // Every lane of every chain approaches 0.001 / (1 - 0.999) = 1.
    CHECK(kernels.multiply_add(100'000) ==
          Approx(static_cast<double>(kernels.flops_per_round) / 2).epsilon(0.01));
  }
}

TEST_CASE("measured rates are finite and positive") {
  // How fast a machine is, a loaded one included, is no matter of right or wrong.
  for (const double rate : {measure_peak_flops(), measure_read_bandwidth(1 << 15)}) {
    CHECK(std::isfinite(rate));
    CHECK(rate > 0);
  }
  CHECK_THROWS(measure_read_bandwidth(16));
}
