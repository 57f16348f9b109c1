#include <omp.h>

#include <dnnl.hpp>
#include <memory>
#include <string>
#include <vector>

#include "bench/measure.h"
#include "tensor/random.h"

// The lab's network as oneDNN's int8 primitives, the sum of which is what a framework on top of it cannot
// beat: uint8 activations, int8 weights, ReLU and the scale of the result as parts of the convolution,
// pooling on uint8, every operand in the layout its primitive likes best, no reorders.

namespace nibble::bench {
namespace {

using dnnl::memory;
using Type = memory::data_type;
using Tag = memory::format_tag;

class Network {
 public:
  explicit Network(memory::dim n) : stream_(engine_) {
    memory::desc x = add_conv({{n, 1, 28, 28}, Type::u8, Tag::any}, 8, 28);
    x = add_pool(x, {n, 8, 14, 14});
    x = add_conv({{n, 8, 14, 14}, Type::u8, Tag::any}, 16, 14);
    x = add_pool(x, {n, 16, 7, 7});
    const memory::desc features({n, 16, 7, 7}, Type::u8, Tag::any), w({10, 16, 7, 7}, Type::s8, Tag::any),
        bias({10}, Type::s32, Tag::a), out({n, 10}, Type::s32, Tag::ab);
    const dnnl::inner_product_forward::primitive_desc desc(
        {dnnl::prop_kind::forward_inference, features, w, bias, out}, engine_);
    add(dnnl::inner_product_forward(desc), {{DNNL_ARG_SRC, random(desc.src_desc())},
                                            {DNNL_ARG_WEIGHTS, random(desc.weights_desc())},
                                            {DNNL_ARG_BIAS, random(desc.bias_desc())},
                                            {DNNL_ARG_DST, random(desc.dst_desc())}});
  }

  void run() {
    for (Call& call : calls_) call.primitive.execute(stream_, call.arguments);
    stream_.wait();
  }

 private:
  struct Call {
    dnnl::primitive primitive;
    std::unordered_map<int, memory> arguments;
  };

  memory random(const memory::desc& desc) {
    memory result(desc, engine_);
    Rng rng(++seed_);
    auto* const bytes = static_cast<std::uint8_t*>(result.get_data_handle());
    for (std::size_t i = 0; i < desc.get_size(); ++i) bytes[i] = static_cast<std::uint8_t>(rng.below(256));
    return result;
  }
  void add(const dnnl::primitive& primitive, const std::unordered_map<int, memory>& arguments) {
    calls_.push_back({primitive, arguments});
  }

  // 3 x 3, padding 1. Returns the layout of the result.
  memory::desc add_conv(const memory::desc& x, memory::dim channels, memory::dim side) {
    const memory::dim n = x.dims()[0], in = x.dims()[1];
    const memory::desc w({channels, in, 3, 3}, Type::s8, Tag::any), bias({channels}, Type::s32, Tag::a),
        out({n, channels, side, side}, Type::u8, Tag::any);
    dnnl::post_ops relu;
    relu.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
    dnnl::primitive_attr attributes;
    attributes.set_output_scales(0, {0.001f});
    attributes.set_post_ops(relu);
    const dnnl::convolution_forward::primitive_desc desc({dnnl::prop_kind::forward_inference,
                                                          dnnl::algorithm::convolution_direct,
                                                          x,
                                                          w,
                                                          bias,
                                                          out,
                                                          {1, 1},
                                                          {1, 1},
                                                          {1, 1}},
                                                         attributes, engine_);
    add(dnnl::convolution_forward(desc), {{DNNL_ARG_SRC, random(desc.src_desc())},
                                          {DNNL_ARG_WEIGHTS, random(desc.weights_desc())},
                                          {DNNL_ARG_BIAS, random(desc.bias_desc())},
                                          {DNNL_ARG_DST, random(desc.dst_desc())}});
    return desc.dst_desc();
  }
  memory::desc add_pool(const memory::desc& x, const memory::dims& out) {
    const dnnl::pooling_forward::primitive_desc desc({dnnl::prop_kind::forward_inference,
                                                      dnnl::algorithm::pooling_max,
                                                      x,
                                                      {out, Type::u8, Tag::any},
                                                      {2, 2},
                                                      {2, 2},
                                                      {0, 0},
                                                      {0, 0}},
                                                     engine_);
    add(dnnl::pooling_forward(desc),
        {{DNNL_ARG_SRC, random(desc.src_desc())}, {DNNL_ARG_DST, random(desc.dst_desc())}});
    return desc.dst_desc();
  }

  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_;
  std::uint64_t seed_ = 0;
  std::vector<Call> calls_;
};

}  // namespace

void register_onednn_int_infer() {
  for (std::int64_t n : {1, 64, 1000})
    for (int threads : {1, 2})
      add("onednn/int_infer/w:8/a:8/batch:" + std::to_string(n), threads, "kimages/s",
          1e-3 * static_cast<double>(n), [=]() -> std::function<void()> {
            omp_set_num_threads(threads);
            return [network = std::make_shared<Network>(n)] { network->run(); };
          });
}

}  // namespace nibble::bench
