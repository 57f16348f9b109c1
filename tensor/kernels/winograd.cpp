#include "tensor/kernels/winograd.h"

#include <type_traits>

#include "tensor/kernels/conv_ranges.h"
#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
#if defined(__AVX512F__)
namespace {

constexpr Index kVec = static_cast<Index>(kLanes);
constexpr std::make_index_sequence<4> kProducts{};

// Register blocks, four sums each: output channels; and, for the weight gradient, output channels for one
// input channel, half of them for two.
constexpr Index kChannels = 6, kGradChannels = 4, kGradInputs = 2;
// Gradients of a block that stay in L1 while the input passes.
constexpr Index kGradFloats = 4 << 10;

// `count` split into blocks of nearly equal size, at most kMost: calls f(first, size), the size known when
// compiled.
template <Index kMost, class F>
[[gnu::always_inline]] inline void for_each_block(Index count, Index most, F f) {
  const Index blocks = divide_up(count, most);
  for (Index block = 0; block < blocks; ++block) {
    const Index first = count * block / blocks, size = count * (block + 1) / blocks - first;
    unroll(std::make_index_sequence<kMost>{}, [&](auto i) {
      if (size == static_cast<Index>(i) + 1) f(first, std::integral_constant<Index, i + 1>{});
    });
  }
}

// Two neighbouring outputs of a row and the four columns of the input they read.
struct Pair {
  Pair(const DirectConv& p, Index column)
      : left(column - p.padding_w),
        existing{-left, p.w - left},
        inside(left >= 0 && left + 4 <= p.w && column + 1 < p.ow),
        both(column + 1 < p.ow) {}

  Index left;      // the first column of the input
  Range existing;  // those of the four that exist
  bool inside;     // all four do, and both outputs
  bool both;
};

// One vector of images of the four columns, as the products take them.
template <bool Inside, bool Whole>
[[gnu::always_inline]] inline void load_transformed(VecF (&t)[4], const float* in, Index x_w, Range existing,
                                                    Index n) {
  VecF d[4];
  unroll(kProducts, [&](auto i) {
    constexpr auto kColumn = static_cast<Index>(i);
    d[i] = Inside || (kColumn >= existing.begin && kColumn < existing.end)
               ? in_register(load_some<Whole>(in + kColumn * x_w, n))
               : VecF(0.0f);
  });
  t[0] = d[0] - d[2];
  t[1] = d[1] + d[2];
  t[2] = d[2] - d[1];
  t[3] = d[1] - d[3];
}

// K output channels of one vector of images.
template <Index K, bool Inside, bool Whole>
[[gnu::flatten]] void convolve_block(const DirectConv& p, const float* x, const float* weight, Range taps,
                                     const Pair& pair, float* y, Index n) {
  constexpr std::make_index_sequence<K> channels{};
  VecF sum[K][4];
  unroll(channels, [&](auto k) { unroll(kProducts, [&](auto i) { sum[k][i] = VecF(0.0f); }); });
  const Index c_end = p.c, w_step = p.k * 4, x_c = p.x_c, x_w = p.x_w;
  const Range existing = pair.existing;
  for (Index r = taps.begin; r < taps.end; ++r) {
    const float* in = x + r * p.dilation_h * p.x_h;
    const float* w = weight + r * c_end * w_step;
    for (Index c = 0; c < c_end; ++c, in += x_c, w += w_step) {
      VecF t[4];
      load_transformed<Inside, Whole>(t, in, x_w, existing, n);
      unroll(channels, [&](auto k) {
        unroll(kProducts, [&](auto i) { sum[k][i] = fma(VecF(w[k * 4 + i]), t[i], sum[k][i]); });
      });
    }
  }
  unroll(channels, [&](auto k) {
    float* const out = y + k * p.y_k;
    store_some<Whole>(out, sum[k][0] + (sum[k][1] + sum[k][2]), n);
    if (Inside || pair.both) store_some<Whole>(out + p.y_w, (sum[k][1] - sum[k][2]) - sum[k][3], n);
  });
}

void convolve(const DirectConv& conv, const float* x, const float* packed_weight, float* y,
              Index row) noexcept {
  const DirectConv p = conv;  // else read anew after every store, which might change it
  const Index top = row * p.stride_h - p.padding_h;
  const Range taps = valid_taps(top, p.dilation_h, p.r, p.h);
  for (Index column = 0; column < p.ow; column += 2) {
    const Pair pair(p, column);
    const float* const in = x + (top * p.x_h + pair.left * p.x_w);
    float* const out = y + (row * p.y_h + column * p.y_w);
    const auto channels = [&](auto inside, auto whole, Index i, Index n) {
      for_each_block<kChannels>(p.k, kChannels, [&](Index k, auto count) {
        convolve_block<count, inside, whole>(p, in + i, packed_weight + k * 4, taps, pair,
                                             out + k * p.y_k + i, n);
      });
    };
    constexpr std::true_type kYes{};
    constexpr std::false_type kNo{};
    Index i = 0;
    for (; i + kVec <= p.images; i += kVec)
      pair.inside ? channels(kYes, kYes, i, kVec) : channels(kNo, kYes, i, kVec);
    if (i < p.images) channels(kNo, kNo, i, p.images - i);
  }
}

// Adds the products of all images of a pair for C input and K output channels.
template <bool Inside, Index C, Index K>
[[gnu::always_inline]] inline void add_pair(VecF (&sum)[C][K][4], const Pair& pair, const float* x, Index x_c,
                                            Index x_w, const float* grad, Index y_k, Index y_w,
                                            Index images) {
  constexpr std::make_index_sequence<C> inputs{};
  const auto add = [&](auto whole, Index i, Index n) {
    VecF t[C][4];
    unroll(inputs,
           [&](auto c) { load_transformed<Inside, whole>(t[c], x + c * x_c + i, x_w, pair.existing, n); });
    unroll(std::make_index_sequence<K>{}, [&](auto k) {
      const float* const g = grad + k * y_k + i;
      const VecF first = in_register(load_some<whole>(g, n));
      const VecF second = Inside || pair.both ? in_register(load_some<whole>(g + y_w, n)) : VecF(0.0f);
      const VecF together = first + second, apart = first - second;
      unroll(inputs, [&](auto c) {
        sum[c][k][0] = fma(first, t[c][0], sum[c][k][0]);
        sum[c][k][1] = fma(together, t[c][1], sum[c][k][1]);
        sum[c][k][2] = fma(apart, t[c][2], sum[c][k][2]);
        sum[c][k][3] = fma(second, t[c][3], sum[c][k][3]);
      });
    });
  };
  Index i = 0;
  for (; i + kVec <= images; i += kVec) add(std::true_type{}, i, kVec);
  if (i < images) add(std::false_type{}, i, images - i);
}

// Adds the products of `rows` rows for a row of taps. x points to the taps of the first output.
template <Index C, Index K>
[[gnu::flatten]] void backward_weight_block(const DirectConv& p, const float* x, const float* grad,
                                            Index rows, float* sums) {
  const Index x_c = p.x_c, x_w = p.x_w, y_k = p.y_k, y_w = p.y_w, images = p.images;
  VecF sum[C][K][4];
  const auto for_each_sum = [&](auto f) {
    unroll(std::make_index_sequence<C>{}, [&](auto c) {
      unroll(std::make_index_sequence<K>{}, [&](auto k) {
        unroll(kProducts, [&](auto i) { f(sum[c][k][i], sums + ((c * p.k + k) * 4 + i) * kConvLanes); });
      });
    });
  };
  for_each_sum([](VecF& s, const float* at) { s = load(at); });
  for (Index row = 0; row < rows; ++row, x += p.stride_h * p.x_h, grad += p.y_h)
    for (Index column = 0; column < p.ow; column += 2) {
      const Pair pair(p, column);
      const float* const in = x + column * x_w;
      const float* const g = grad + column * y_w;
      pair.inside ? add_pair<true>(sum, pair, in, x_c, x_w, g, y_k, y_w, images)
                  : add_pair<false>(sum, pair, in, x_c, x_w, g, y_k, y_w, images);
    }
  for_each_sum([](VecF s, float* at) { store(at, s); });
}

void backward_weight(const DirectConv& conv, const float* x, const float* grad_y, float* sums,
                     Index row_begin, Index row_end) noexcept {
  const DirectConv p = conv;
  const Index most = p.c == 1 ? kGradChannels : kGradChannels / kGradInputs;
  const Index row_step = larger(1, kGradFloats / (most * p.ow * p.images));
  for (Index row = row_begin; row < row_end; row += row_step)
    for_each_block<kGradChannels>(p.k, most, [&](Index k, auto k_count) {
      for_each_block<kGradInputs>(p.c, kGradInputs, [&](Index c, auto c_count) {
        if constexpr (c_count * k_count <= kGradChannels)
          for (Index r = 0; r < p.r; ++r) {
            const Index offset = r * p.dilation_h - p.padding_h;
            const Range rows = intersection({row, smaller(row_end, row + row_step)},
                                            valid_outputs(offset, p.stride_h, p.oh, p.h));
            if (rows.begin == rows.end) continue;
            const Index top = rows.begin * p.stride_h + offset;
            backward_weight_block<c_count, k_count>(p, x + (c * p.x_c + top * p.x_h - p.padding_w * p.x_w),
                                                    grad_y + (k * p.y_k + rows.begin * p.y_h),
                                                    rows.end - rows.begin,
                                                    sums + ((r * p.c + c) * p.k + k) * 4 * kConvLanes);
          }
      });
    });
}

}  // namespace

extern const WinogradKernels winograd_kernels = {convolve, backward_weight};
#else
extern const WinogradKernels winograd_kernels = {nullptr, nullptr};
#endif

}  // namespace nibble::NIBBLE_TIER
