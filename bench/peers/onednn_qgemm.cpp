#include <omp.h>

#include <cstring>
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

memory copy_of(const memory& from, const dnnl::engine& engine) {
  memory result(from.get_desc(), engine);
  std::memcpy(result.get_data_handle(), from.get_data_handle(), from.get_desc().get_size());
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
      weights.push_back(copy_of(weights.front(), engine));
  return [=, product = dnnl::matmul(desc), x = random_memory(a, engine, 3), y = random_memory(out, engine, 4),
          stream = dnnl::stream(engine), next = std::size_t{0}]() mutable {
    product.execute(
        stream, {{DNNL_ARG_SRC, x}, {DNNL_ARG_WEIGHTS, weights[next++ % weights.size()]}, {DNNL_ARG_DST, y}});
    stream.wait();
  };
}

}  // namespace

std::int32_t onednn_sum_of_extremes() {
  const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  const memory::desc a({1, kExtremeProducts}, Type::u8, Tag::ab), w({kExtremeProducts, 1}, Type::s8, Tag::ab),
      out({1, 1}, Type::s32, Tag::ab);
  std::vector<std::uint8_t> activations(kExtremeProducts, 255);
  std::vector<std::int8_t> weights(kExtremeProducts, 127);
  std::int32_t sum = 0;
  dnnl::stream stream(engine);
  dnnl::matmul({{a, w, out}, engine})
      .execute(stream, {{DNNL_ARG_SRC, memory(a, engine, activations.data())},
                        {DNNL_ARG_WEIGHTS, memory(w, engine, weights.data())},
                        {DNNL_ARG_DST, memory(out, engine, &sum)}});
  stream.wait();
  return sum;
}

void register_onednn_qgemm() {
  for (const QGemmCase& shape : kQGemmShapes)
    for (const bool cold : {false, true}) {
      QGemmCase c = shape;
      c.weight_bits = 8;
      if (cold && c.n * c.k < kLargeWeights) continue;
      for (const int threads : {1, 2}) {
        if (cold && threads > 1) continue;
        add("onednn/" + c.name(8, name_of(active_isa()), cold), threads, "GOPS", c.gop(),
            [=] { return make_product(c, cold, threads); });
      }
    }
}

}  // namespace nibble::bench
