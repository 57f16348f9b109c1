#include "tensor/kernels/conv.h"

#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

using Index = std::ptrdiff_t;
constexpr Index kVec = static_cast<Index>(kLanes);

// Register blocks: kChannels x kPixels accumulators (forward) and kChannels x kTaps (weight gradient), with
// room for the operands: 32 vector registers on AVX-512 and NEON, 16 below.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr Index kChannels = 8, kPixels = 2, kTaps = 3;
#else
constexpr Index kChannels = 4, kPixels = 3, kTaps = 3;
#endif
static_assert(kConvBlock % kChannels == 0 && kConvLanes % kVec == 0);

struct Range {
  Index begin, end;
};

Index smaller(Index a, Index b) { return a < b ? a : b; }
Index larger(Index a, Index b) { return a > b ? a : b; }
Index divide_up(Index a, Index b) { return a <= 0 ? -(-a / b) : (a + b - 1) / b; }

// Taps t in [0, taps) whose input position start + t * dilation lies in [0, size).
Range valid_taps(Index start, Index dilation, Index taps, Index size) {
  const Index begin = larger(0, divide_up(-start, dilation));
  const Index end = smaller(taps, divide_up(size - start, dilation));
  return {smaller(begin, taps), larger(end, smaller(begin, taps))};
}

// Outputs o in [0, outputs) for which o * stride + offset lies in [0, size).
Range valid_outputs(Index offset, Index stride, Index outputs, Index size) {
  const Index begin = smaller(outputs, larger(0, divide_up(-offset, stride)));
  const Index end = smaller(outputs, larger(begin, divide_up(size - offset, stride)));
  return {begin, larger(begin, end)};
}

// One vector of images, P neighbouring pixels, K output channels of which the first `channels` exist; `start`
// is the offset of the first pixel's window in x, `taps_h` and `taps_w` what of the window lies inside.
template <Index K, Index P, bool Whole>
inline void forward_block(const DirectConv& p, const float* x, Index start, const float* weight,
                          const float* bias, Index channels, Range taps_h, Range taps_w, float* y, Index n) {
  VecF sum[K][P];
  for (Index k = 0; k < K; ++k)
    for (Index i = 0; i < P; ++i) sum[k][i] = VecF(0.0f);
  const Index pixel = p.stride_w * p.x_w;
  for (Index r = taps_h.begin; r < taps_h.end; ++r) {
    for (Index s = taps_w.begin; s < taps_w.end; ++s) {
      const float* in = x + (start + r * p.dilation_h * p.x_h + s * p.dilation_w * p.x_w);
      const float* w = weight + (r * p.s + s) * p.c * kConvBlock;
      for (Index c = 0; c < p.c; ++c, in += p.x_c, w += kConvBlock) {
        VecF v[P];
        for (Index i = 0; i < P; ++i) v[i] = load_some<Whole>(in + i * pixel, n);
        for (Index k = 0; k < K; ++k) {
          const VecF broadcast(w[k]);
          for (Index i = 0; i < P; ++i) sum[k][i] = fused_multiply_add(broadcast, v[i], sum[k][i]);
        }
      }
    }
  }
  for (Index k = 0; k < channels; ++k) {
    const VecF offset(bias != nullptr ? bias[k] : 0.0f);
    for (Index i = 0; i < P; ++i) store_some<Whole>(y + k * p.y_k + i * p.y_w, sum[k][i] + offset, n);
  }
}

// One row of the outputs of K channels, P pixels at a time where the whole window is inside.
template <Index K, Index P, bool Whole>
void forward_row(const DirectConv& p, const float* x, const float* weight, const float* bias, Index channels,
                 float* y, Index row, Index n) {
  const Index top = row * p.stride_h - p.padding_h;
  const Range taps_h = valid_taps(top, p.dilation_h, p.r, p.h);
  const Range first = valid_outputs(-p.padding_w, p.stride_w, p.ow, p.w);
  const Range last = valid_outputs((p.s - 1) * p.dilation_w - p.padding_w, p.stride_w, p.ow, p.w);
  const Index inner_begin = larger(first.begin, last.begin), inner_end = smaller(first.end, last.end);
  for (Index column = 0; column < p.ow;) {
    const Index left = column * p.stride_w - p.padding_w;
    const Index start = top * p.x_h + left * p.x_w;
    float* out = y + column * p.y_w;
    if (column >= inner_begin && column + P <= inner_end) {
      forward_block<K, P, Whole>(p, x, start, weight, bias, channels, taps_h, {0, p.s}, out, n);
      column += P;
    } else {
      const Range taps_w = valid_taps(left, p.dilation_w, p.s, p.w);
      forward_block<K, 1, Whole>(p, x, start, weight, bias, channels, taps_h, taps_w, out, n);
      ++column;
    }
  }
}

template <bool Whole>
void forward_images(const DirectConv& p, const float* x, const float* packed_weight, const float* bias,
                    float* y, Index row, Index n) {
  for (Index k = 0; k < p.k; k += kChannels) {
    const float* weight = packed_weight + k / kConvBlock * p.c * p.r * p.s * kConvBlock + k % kConvBlock;
    const float* b = bias == nullptr ? nullptr : bias + k;
    const Index channels = smaller(kChannels, p.k - k);
    float* out = y + k * p.y_k + row * p.y_h;
    // A single channel (grey images, depthwise) takes its independent sums from the pixels instead.
    if (channels == 1)
      forward_row<1, 8, Whole>(p, x, weight, b, channels, out, row, n);
    else
      forward_row<kChannels, kPixels, Whole>(p, x, weight, b, channels, out, row, n);
  }
}

void forward(const DirectConv& p, const float* x, const float* packed_weight, const float* bias, float* y,
             Index row) noexcept {
  Index i = 0;
  for (; i + kVec <= p.images; i += kVec)
    forward_images<true>(p, x + i, packed_weight, bias, y + i, row, kVec);
  if (i < p.images) forward_images<false>(p, x + i, packed_weight, bias, y + i, row, p.images - i);
}

// kChannels output channels times T neighbouring taps, over the output columns given.
template <Index T, bool Whole>
inline void backward_weight_block(const DirectConv& p, const float* x, const float* grad, Index channels,
                                  Range columns, float* sums, Index n) {
  if (columns.begin >= columns.end) return;
  VecF sum[kChannels][T];
  for (Index k = 0; k < kChannels; ++k)
    for (Index t = 0; t < T; ++t) sum[k][t] = load(sums + (t * p.c * kConvBlock + k) * kConvLanes);
  const float* in = x + columns.begin * p.stride_w * p.x_w;
  const float* g = grad + columns.begin * p.y_w;
  for (Index column = columns.begin; column < columns.end; ++column, in += p.stride_w * p.x_w, g += p.y_w) {
    VecF v[T];
    for (Index t = 0; t < T; ++t) v[t] = load_some<Whole>(in + t * p.dilation_w * p.x_w, n);
    for (Index k = 0; k < kChannels; ++k) {
      // Beyond the last channel the first one is read again; those sums are dropped.
      const VecF upstream = load_some<Whole>(g + (k < channels ? k : 0) * p.y_k, n);
      for (Index t = 0; t < T; ++t) sum[k][t] = fma(upstream, v[t], sum[k][t]);
    }
  }
  for (Index k = 0; k < kChannels; ++k)
    for (Index t = 0; t < T; ++t) store(sums + (t * p.c * kConvBlock + k) * kConvLanes, sum[k][t]);
}

template <bool Whole>
void backward_weight_row(const DirectConv& p, const float* x, const float* grad_y, float* sums, Index row,
                         Index n) {
  const Index top = row * p.stride_h - p.padding_h;
  const Range taps_h = valid_taps(top, p.dilation_h, p.r, p.h);
  for (Index k = 0; k < p.k; k += kChannels) {
    const Index channels = smaller(kChannels, p.k - k);
    const float* grad = grad_y + k * p.y_k + row * p.y_h;
    float* block = sums + (k / kConvBlock * p.c * p.r * p.s * kConvBlock + k % kConvBlock) * kConvLanes;
    for (Index c = 0; c < p.c; ++c) {
      for (Index r = taps_h.begin; r < taps_h.end; ++r) {
        const Index line = c * p.x_c + (top + r * p.dilation_h) * p.x_h - p.padding_w * p.x_w;
        for (Index s = 0; s < p.s; s += kTaps) {
          const Index taps = smaller(kTaps, p.s - s);
          float* at = block + ((r * p.s + s) * p.c + c) * kConvBlock * kConvLanes;
          const auto columns_of = [&](Index tap) {
            return valid_outputs((s + tap) * p.dilation_w - p.padding_w, p.stride_w, p.ow, p.w);
          };
          const float* in = x + (line + s * p.dilation_w * p.x_w);
          // Columns where every tap of the group is inside together, what remains tap by tap.
          Range common = taps == kTaps ? columns_of(0) : Range{0, 0};
          for (Index t = 1; t < kTaps && taps == kTaps; ++t) {
            const Range other = columns_of(t);
            common = {larger(common.begin, other.begin), smaller(common.end, other.end)};
          }
          if (common.end < common.begin) common = {0, 0};
          backward_weight_block<kTaps, Whole>(p, in, grad, channels, common, at, n);
          for (Index t = 0; t < taps; ++t) {
            const Range own = columns_of(t);
            const float* shifted = in + t * p.dilation_w * p.x_w;
            float* sum = at + t * p.c * kConvBlock * kConvLanes;
            const bool split = common.begin < common.end;
            backward_weight_block<1, Whole>(p, shifted, grad, channels,
                                            {own.begin, split ? common.begin : own.end}, sum, n);
            if (split)
              backward_weight_block<1, Whole>(p, shifted, grad, channels, {common.end, own.end}, sum, n);
          }
        }
      }
    }
  }
}

void backward_weight(const DirectConv& p, const float* x, const float* grad_y, float* sums, Index row_begin,
                     Index row_end) noexcept {
  for (Index row = row_begin; row < row_end; ++row) {
    Index i = 0;
    for (; i + kVec <= p.images; i += kVec) backward_weight_row<true>(p, x + i, grad_y + i, sums, row, kVec);
    if (i < p.images) backward_weight_row<false>(p, x + i, grad_y + i, sums, row, p.images - i);
  }
}

void reduce_sums(const float* sums, Index chunks, Index chunk_stride, float* out, Index n) noexcept {
  for (Index i = 0; i < n; ++i) {
    float total = 0.0f;
    for (Index lane = 0; lane < kConvLanes; lane += kVec) {
      VecF sum = load(sums + i * kConvLanes + lane);
      for (Index chunk = 1; chunk < chunks; ++chunk)
        sum = sum + load(sums + chunk * chunk_stride + i * kConvLanes + lane);
      total += reduce_add(sum);
    }
    out[i] = total;
  }
}

}  // namespace

extern const ConvKernels conv_kernels = {forward, backward_weight, reduce_sums};

}  // namespace nibble::NIBBLE_TIER
