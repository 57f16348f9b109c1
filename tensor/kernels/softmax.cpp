#include "tensor/kernels/softmax.h"

#include <limits>

#include "tensor/kernels/elementwise_ops.h"
#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

// Both arrangements walk through a line as vectors 0 to count(): Along splits the line over the lanes and
// joins the lanes at the end of a reduction, Across has one line in each lane.
struct Along {
  std::size_t n;

  std::size_t count() const { return (n + kLanes - 1) / kLanes; }
  VecF get(const float* p, std::size_t i, float fill) const {
    const std::size_t left = n - i * kLanes;
    return left >= kLanes ? load(p + i * kLanes) : load_partial(p + i * kLanes, left, fill);
  }
  void put(float* p, std::size_t i, VecF value) const {
    const std::size_t left = n - i * kLanes;
    if (left >= kLanes)
      store(p + i * kLanes, value);
    else
      store_partial(p + i * kLanes, value, left);
  }
  VecF max(VecF v) const { return VecF(reduce(v, Maximum{})); }
  VecF add(VecF v) const { return VecF(reduce_add(v)); }
};

struct Across {
  std::size_t n, step, lines;  // lines <= kLanes

  std::size_t count() const { return n; }
  VecF get(const float* p, std::size_t i, float) const {
    return lines == kLanes ? load(p + i * step) : load_partial(p + i * step, lines);
  }
  void put(float* p, std::size_t i, VecF value) const {
    if (lines == kLanes)
      store(p + i * step, value);
    else
      store_partial(p + i * step, value, lines);
  }
  VecF max(VecF v) const { return v; }
  VecF add(VecF v) const { return v; }
};

template <class Line>
VecF line_max(const Line& line, const float* x) {
  VecF best(kLowest);
  for (std::size_t i = 0; i < line.count(); ++i) best = Maximum{}(best, line.get(x, i, kLowest));
  return line.max(best);
}

struct Softmax {
  template <class Line>
  void operator()(const Line& line, const float* x, float* y) const {
    const VecF shift = line_max(line, x);
    VecF total(0.0f);
    for (std::size_t i = 0; i < line.count(); ++i) {
      const VecF e = Exp{}(line.get(x, i, kLowest) - shift);
      total = total + e;
      line.put(y, i, e);
    }
    total = line.add(total);
    for (std::size_t i = 0; i < line.count(); ++i) line.put(y, i, quotient(line.get(y, i, 0.0f), total));
  }
};

struct LogSoftmax {
  template <class Line>
  void operator()(const Line& line, const float* x, float* y) const {
    const VecF shift = line_max(line, x);
    VecF total(0.0f);
    for (std::size_t i = 0; i < line.count(); ++i) total = total + Exp{}(line.get(x, i, kLowest) - shift);
    const VecF log_total = Log{}(line.add(total));
    for (std::size_t i = 0; i < line.count(); ++i) line.put(y, i, line.get(x, i, 0.0f) - shift - log_total);
  }
};

struct SoftmaxBackward {
  template <class Line>
  void operator()(const Line& line, const float* grad, const float* y, float* out) const {
    VecF dot(0.0f);
    for (std::size_t i = 0; i < line.count(); ++i)
      dot = fma(line.get(grad, i, 0.0f), line.get(y, i, 0.0f), dot);
    dot = line.add(dot);
    for (std::size_t i = 0; i < line.count(); ++i)
      line.put(out, i, line.get(y, i, 0.0f) * (line.get(grad, i, 0.0f) - dot));
  }
};

struct LogSoftmaxBackward {
  template <class Line>
  void operator()(const Line& line, const float* grad, const float* y, float* out) const {
    VecF total(0.0f);
    for (std::size_t i = 0; i < line.count(); ++i) total = total + line.get(grad, i, 0.0f);
    total = line.add(total);
    for (std::size_t i = 0; i < line.count(); ++i)
      line.put(out, i, line.get(grad, i, 0.0f) - Exp{}(line.get(y, i, 0.0f)) * total);
  }
};

template <class F>
void for_each_block(std::size_t step, std::size_t lines, std::size_t n, F f) {
  for (std::size_t j = 0; j < lines; j += kLanes)
    f(Across{n, step, lines - j < kLanes ? lines - j : kLanes}, j);
}

template <class Op>
void forward_along(const float* x, float* y, std::size_t n) noexcept {
  Op{}(Along{n}, x, y);
}
template <class Op>
void forward_across(const float* x, float* y, std::size_t step, std::size_t lines, std::size_t n) noexcept {
  for_each_block(step, lines, n, [&](const Across& block, std::size_t j) { Op{}(block, x + j, y + j); });
}
template <class Op>
void backward_along(const float* grad, const float* y, float* out, std::size_t n) noexcept {
  Op{}(Along{n}, grad, y, out);
}
template <class Op>
void backward_across(const float* grad, const float* y, float* out, std::size_t step, std::size_t lines,
                     std::size_t n) noexcept {
  for_each_block(step, lines, n,
                 [&](const Across& block, std::size_t j) { Op{}(block, grad + j, y + j, out + j); });
}

}  // namespace

extern const SoftmaxKernels softmax_kernels = {
    .softmax = {forward_along<Softmax>, forward_across<Softmax>},
    .log_softmax = {forward_along<LogSoftmax>, forward_across<LogSoftmax>},
    .softmax_backward = {backward_along<SoftmaxBackward>, backward_across<SoftmaxBackward>},
    .log_softmax_backward = {backward_along<LogSoftmaxBackward>, backward_across<LogSoftmaxBackward>},
};

}  // namespace nibble::NIBBLE_TIER
