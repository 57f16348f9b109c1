#include <omp.h>

#include <dnnl.hpp>
#include <functional>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "bench/cases.h"
#include "bench/measure.h"
#include "tensor/random.h"

// oneDNN on the same shapes: the best it offers, that is primitives in layouts of its own choice (format any)
// wherever the measured code may choose its own, without the reorders.

namespace nibble::bench {
namespace {

using dnnl::memory;
using dnnl::prop_kind;
using Dims = memory::dims;
using Tag = memory::format_tag;
constexpr auto kF32 = memory::data_type::f32;

const dnnl::engine& engine() {
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return cpu;
}

memory::desc any(const Dims& dims) { return {dims, kF32, Tag::any}; }

// Written before it is read: memory the system has not backed with pages yet is one page of zeros, and fast.
memory random_memory(const memory::desc& desc) {
  memory result(desc, engine());
  Rng rng(1);
  auto* const values = static_cast<float*>(result.get_data_handle());
  for (std::size_t i = 0; i < desc.get_size() / sizeof(float); ++i)
    values[i] = static_cast<float>(rng.normal());
  return result;
}

using Args = std::unordered_map<int, memory>;

// While it lives, the primitives made share memory wherever shape and layout agree: within a network one
// finds in the cache what another left there. (Not for single primitives: source and destination would be
// one.)
class SharedMemory {
 public:
  SharedMemory() { current() = this; }
  ~SharedMemory() { current() = nullptr; }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  static memory make(const memory::desc& desc) {
    if (current() == nullptr) return random_memory(desc);
    for (const memory& each : current()->all_)
      if (each.get_desc() == desc) return each;
    return current()->all_.emplace_back(random_memory(desc));
  }

 private:
  static SharedMemory*& current() {
    static SharedMemory* instance = nullptr;
    return instance;
  }
  std::vector<memory> all_;
};

class Call {
 public:
  Call(dnnl::primitive primitive, Args args) : primitive_(std::move(primitive)), args_(std::move(args)) {}
  void operator()() const {
    static dnnl::stream stream(engine());
    primitive_.execute(stream, args_);
    stream.wait();
  }

 private:
  dnnl::primitive primitive_;
  Args args_;
};

// The primitive with random memory for what its description lists, but for the arguments given.
template <class Primitive>
Call call(const typename Primitive::primitive_desc& desc, std::initializer_list<int> arguments,
          Args given = {}) {
  for (const int argument : arguments)
    if (!given.count(argument))
      given[argument] = SharedMemory::make(desc.query_md(dnnl::query::exec_arg_md, argument));
  return Call(Primitive(desc), std::move(given));
}

Call matmul_call(const GemmShape& s, Tag b_format) {
  const memory::desc a({s.m, s.k}, kF32, Tag::ab), b({s.k, s.n}, kF32, b_format),
      c({s.m, s.n}, kF32, Tag::ab);
  return call<dnnl::matmul>({{a, b, c}, engine()}, {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST});
}

struct ConvDims {
  Dims x, w, b, y, stride, dilation, padding;

  explicit ConvDims(const ConvCase& c)
      : x{c.n, c.c, c.size, c.size},
        w{c.k, c.c, c.window, c.window},
        b{c.k},
        y{c.n, c.k, c.out(), c.out()},
        stride{c.stride, c.stride},
        dilation{c.dilation - 1, c.dilation - 1},
        padding{c.padding, c.padding} {
    if (c.groups > 1) w = {c.groups, c.k / c.groups, c.c / c.groups, c.window, c.window};
  }
};

constexpr auto kDirect = dnnl::algorithm::convolution_direct;

dnnl::convolution_forward::primitive_desc conv_forward(const ConvDims& d, bool relu = false,
                                                       prop_kind kind = prop_kind::forward_training) {
  dnnl::primitive_attr attr;
  dnnl::post_ops ops;
  if (relu) ops.append_eltwise(1, dnnl::algorithm::eltwise_relu, 0, 0);
  attr.set_post_ops(ops);
  return {{kind, kDirect, any(d.x), any(d.w), any(d.b), any(d.y), d.stride, d.dilation, d.padding, d.padding},
          attr,
          engine()};
}

Call conv_forward_call(const ConvDims& d, bool relu = false, prop_kind kind = prop_kind::forward_training) {
  return call<dnnl::convolution_forward>(conv_forward(d, relu, kind),
                                         {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST});
}

Call conv_backward_data_call(const ConvDims& d) {
  return call<dnnl::convolution_backward_data>(
      {{kDirect, any(d.x), any(d.w), any(d.y), d.stride, d.dilation, d.padding, d.padding},
       engine(),
       conv_forward(d)},
      {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST});
}

Call conv_backward_weights_call(const ConvDims& d) {
  return call<dnnl::convolution_backward_weights>(
      {{kDirect, any(d.x), any(d.w), any(d.b), any(d.y), d.stride, d.dilation, d.padding, d.padding},
       engine(),
       conv_forward(d)},
      {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS, DNNL_ARG_DIFF_DST});
}

// In the layout that the convolution before it (the case `conv`) leaves its result in.
struct Pool {
  dnnl::pooling_forward::primitive_desc forward;
  dnnl::pooling_backward::primitive_desc backward;

  Pool(const PoolCase& c, const memory::desc& x, prop_kind kind = prop_kind::forward_training)
      : forward({kind, dnnl::algorithm::pooling_max, x, any({c.n, c.c, c.out(), c.out()}),
                 Dims{c.window, c.window}, Dims{c.window, c.window}, Dims{0, 0}, Dims{0, 0}},
                engine()) {
    if (kind == prop_kind::forward_training)
      backward = {{dnnl::algorithm::pooling_max, x, forward.dst_desc(), Dims{c.window, c.window},
                   Dims{c.window, c.window}, Dims{0, 0}, Dims{0, 0}},
                  engine(),
                  forward};
  }

  std::pair<Call, Call> training_calls() const {
    const memory workspace(forward.workspace_desc(), engine());
    const Call f =
        call<dnnl::pooling_forward>(forward, {DNNL_ARG_SRC, DNNL_ARG_DST}, {{DNNL_ARG_WORKSPACE, workspace}});
    f();  // fills the workspace
    return {f, call<dnnl::pooling_backward>(backward, {DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST},
                                            {{DNNL_ARG_WORKSPACE, workspace}})};
  }
};

Call relu_backward_call(const memory::desc& y) {
  const auto relu = dnnl::algorithm::eltwise_relu;
  const dnnl::eltwise_forward::primitive_desc forward({prop_kind::forward_training, relu, y, 0}, engine());
  return call<dnnl::eltwise_backward>({{relu, y, y, 0}, engine(), forward},
                                      {DNNL_ARG_SRC, DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST});
}

constexpr ConvCase conv1(std::int64_t n) { return {"", n, 1, 28, 8, 3, 1, 1, 1, 1}; }
constexpr ConvCase conv2(std::int64_t n) { return {"", n, 8, 14, 16, 3, 1, 1, 1, 1}; }

// The lab's network, forward and, in training, backward.
std::vector<Call> network(std::int64_t n, bool training) {
  const SharedMemory shared;
  const prop_kind kind = training ? prop_kind::forward_training : prop_kind::forward_inference;
  const ConvDims d1(conv1(n)), d2(conv2(n));
  const memory::desc y1 = conv_forward(d1, true, kind).dst_desc(),
                     y2 = conv_forward(d2, true, kind).dst_desc();
  const Pool pool1({"", n, 8, 28, 2}, y1, kind), pool2({"", n, 16, 14, 2}, y2, kind);
  const Dims x{n, 784}, w{10, 784}, b{10}, y{n, 10};
  const dnnl::inner_product_forward::primitive_desc linear({kind, any(x), any(w), any(b), any(y)}, engine());
  const Call forward_linear = call<dnnl::inner_product_forward>(
      linear, {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS, DNNL_ARG_DST});
  if (!training) {
    return {conv_forward_call(d1, true, kind),
            call<dnnl::pooling_forward>(pool1.forward, {DNNL_ARG_SRC, DNNL_ARG_DST}),
            conv_forward_call(d2, true, kind),
            call<dnnl::pooling_forward>(pool2.forward, {DNNL_ARG_SRC, DNNL_ARG_DST}), forward_linear};
  }
  const auto [forward1, backward1] = pool1.training_calls();
  const auto [forward2, backward2] = pool2.training_calls();
  return {conv_forward_call(d1, true),
          forward1,
          conv_forward_call(d2, true),
          forward2,
          forward_linear,
          call<dnnl::inner_product_backward_data>({{any(x), any(w), any(y)}, engine(), linear},
                                                  {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST}),
          call<dnnl::inner_product_backward_weights>(
              {{any(x), any(w), any(b), any(y)}, engine(), linear},
              {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_BIAS, DNNL_ARG_DIFF_DST}),
          backward2,
          relu_backward_call(y2),
          conv_backward_weights_call(d2),
          conv_backward_data_call(d2),
          backward1,
          relu_backward_call(y1),
          conv_backward_weights_call(d1)};
}

template <class Make>
void add_peer(const std::string& name, int threads, const char* unit, double work, Make make) {
  add("onednn/" + name, threads, unit, work, [=]() -> std::function<void()> {
    omp_set_num_threads(threads);
    return make();
  });
}

std::function<void()> in_order(std::vector<Call> calls) {
  return [calls = std::move(calls)] {
    for (const Call& each : calls) each();
  };
}

}  // namespace

void register_onednn() {
  for (const int threads : {1, 2}) {
    for (const GemmShape& shape : kGemmShapes) {
      const auto add_form = [&](const char* form, Tag b) {
        add_peer(std::string(form) + "/" + shape.name(), threads, "GFLOPS", shape.gflop(),
                 [=] { return matmul_call(shape, b); });
      };
      add_form("sgemm_nn", Tag::ab);
      add_form("sgemm_nt", Tag::ba);
      add_form("sgemm_packed", Tag::any);
    }
    for (const ConvCase& c : kConvCases) {
      const auto add_direction = [&](const char* direction, Call (*make)(const ConvDims&)) {
        add_peer(std::string("conv2d/") + c.name + "/" + direction, threads, "GFLOPS", c.gflop(),
                 [=] { return make(ConvDims(c)); });
      };
      add_direction("fwd", [](const ConvDims& d) { return conv_forward_call(d); });
      add_direction("bwd_data", conv_backward_data_call);
      add_direction("bwd_weights", conv_backward_weights_call);
    }
    for (const PoolCase& c : kPoolCases) {
      // As the lab's convolutions leave their results.
      const ConvDims conv(c.c == 8 ? conv1(c.n) : conv2(c.n));
      add_peer(std::string("pool/") + c.name + "/fwd", threads, "GB/s", c.gigabytes(),
               [=] { return Pool(c, conv_forward(conv, true).dst_desc()).training_calls().first; });
      add_peer(std::string("pool/") + c.name + "/bwd", threads, "GB/s", c.gigabytes(),
               [=] { return Pool(c, conv_forward(conv, true).dst_desc()).training_calls().second; });
    }
    add_peer("train_step/batch:64", threads, "kimages/s", 64e-3, [] { return in_order(network(64, true)); });
    for (const std::int64_t n : {1, 64, 1000})
      add_peer("infer/batch:" + std::to_string(n), threads, "kimages/s", 1e-3 * static_cast<double>(n),
               [=] { return in_order(network(n, false)); });
  }
}

}  // namespace nibble::bench
