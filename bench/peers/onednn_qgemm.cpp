#include <omp.h>

#include <dnnl.hpp>
#include <memory>
#include <vector>

#include "bench/cases.h"
#include "bench/measure.h"
#include "tensor/random.h"
#include "tensor/simd/isa.h"

// oneDNN's product of uint8 activations and int8 weights into int32, weights in the layout it likes best, on
// the instruction set that ONEDNN_MAX_CPU_ISA allows.

namespace nibble::bench {
namespace {

using dnnl::memory;
using Type = memory::data_type;
using Tag = memory::format_tag;

memory random_memory(const memory::desc& desc, const dnnl::engine& engine, std::uint64_t seed) {
  memory result(desc, engine);
  Rng rng(seed);
  auto* const bytes = static_cast<std::uint8_t*>(result.get_data_handle());
  for (std::size_t i = 0; i < desc.get_size(); ++i) bytes[i] = static_cast<std::uint8_t>(rng.below(256));
  return result;
}

std::function<void()> make_product(const QGemmCase& c, bool cold, int threads) {
  omp_set_num_threads(threads);
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const memory::desc a({c.m, c.k}, Type::u8, Tag::ab), w({c.k, c.n}, Type::s8, Tag::any),
      out({c.m, c.n}, Type::s32, Tag::ab);
  const dnnl::matmul::primitive_desc desc({a, w, out}, engine);
  std::vector<memory> weights{random_memory(desc.weights_desc(), engine, 2)};
  if (cold)
    while (static_cast<std::int64_t>(weights.size() * desc.weights_desc().get_size()) < kColdBytes)
      weights.push_back(random_memory(desc.weights_desc(), engine, 2));
  return [=, product = dnnl::matmul(desc), x = random_memory(a, engine, 3), y = random_memory(out, engine, 4),
          stream = dnnl::stream(engine), next = std::size_t{0}]() mutable {
    product.execute(
        stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights[next++ % weights.size()]}, {DNNL_ARG_DST, y}});
    stream.wait();
  };
}

}  // namespace

void register_onednn_qgemm() {
  for (const QGemmCase& shape : kQGemmShapes)
    for (const bool cold : {false, true}) {
      QGemmCase c = shape;
      c.weight_bits = 8;
      if (cold && c.n * c.k < kLargeWeights) continue;
      for (const int threads : {1, 2})
        add("onednn/" + c.name(8, name_of(active_isa()), cold), threads, "GOPS", c.gop(),
            [=] { return make_product(c, cold, threads); });
    }
}

}  // namespace nibble::bench
