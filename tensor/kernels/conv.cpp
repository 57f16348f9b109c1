#include "tensor/kernels/conv.h"

#include <type_traits>

#include "tensor/kernels/conv_ranges.h"
#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

constexpr Index kVec = static_cast<Index>(kLanes);

// Register blocks, with room for the operands: 32 vector registers on AVX-512 and NEON, 16 below. At most
// kSums accumulators of up to kChannels output channels (forward), kGradChannels x kTaps (weight gradient).
// Blocks are flattened: sums that are handed to a single lambda that was not inlined live in memory
// everywhere.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr bool kManyRegisters = true;
#else
constexpr bool kManyRegisters = false;
#endif
constexpr Index kSums = kManyRegisters ? 24 : 12, kGradChannels = kManyRegisters ? 8 : 4;
constexpr Index kChannels = 6, kVectors = 4, kTaps = 3;
constexpr Index kPositions = 14;
// What blocks of other output channels find in L1 when they follow: of the input, in floats.
constexpr Index kReusedInput = 6144;
// Neighbouring pixels of two vectors of images, beside weights of S taps: fewer than ten sums leave the
// multipliers waiting for each other.
template <Index S>
constexpr Index kPixels = S == 3 ? 5 : 4;
static_assert(kGradChannels <= kConvGradChannels && kConvLanes % kVec == 0);

// What of a window lies inside the input.
struct Taps {
  Range h, w;
};

// K output channels times P neighbouring pixels times V vectors of images, from x and to y, which point to
// the first pixel's first tap and its first output channel; and so on, `runs` times P pixels (once where
// registers are few: addresses of the next ones would take those of the innermost loop).
template <Index K, Index P, Index V, bool Whole>
[[gnu::flatten]] void forward_block(const DirectConv& p, const float* x, const float* weight,
                                    const float* bias, Taps taps, float* y, Index n, Index runs) {
  constexpr std::make_index_sequence<K> channels{};
  constexpr std::make_index_sequence<P * V> vectors{};
  const auto offset = [](auto i, Index pixel) {
    return static_cast<Index>(i) / V * pixel + static_cast<Index>(i) % V * kVec;
  };
  // A single channel leaves the innermost loop to the taps of a row.
  const bool single = p.c == 1;
  const Index width = taps.w.end - taps.w.begin, x_s = p.dilation_w * p.x_w, pixel = p.stride_w * p.x_w;
  const Index outer = single ? 1 : width, inner = single ? width : p.c, step = single ? x_s : p.x_c;
  const auto run = [&](const float* x, float* y) {
    VecF sum[K][P * V];
    unroll(channels, [&](auto k) { unroll(vectors, [&](auto i) { sum[k][i] = VecF(0.0f); }); });
    for (Index r = taps.h.begin; r < taps.h.end; ++r) {
      const float* line = x + (r * p.dilation_h * p.x_h + taps.w.begin * x_s);
      const float* w = weight + (r * p.s + taps.w.begin) * p.c * p.k;
      for (Index s = 0; s < outer; ++s, line += x_s) {
        const float* in = line;
        for (Index c = 0; c < inner; ++c, in += step, w += p.k) {
          // The fewer operands wait in registers for the others, which come one by one.
          if constexpr (K <= P * V) {
            VecF factor[K];
            unroll(channels, [&](auto k) { factor[k] = VecF(w[k]); });
            unroll(vectors, [&](auto i) {
              const VecF value = in_register(load_some<Whole>(in + offset(i, pixel), n));
              unroll(channels, [&](auto k) { sum[k][i] = fused_multiply_add(factor[k], value, sum[k][i]); });
            });
          } else {
            VecF value[P * V];
            unroll(vectors,
                   [&](auto i) { value[i] = in_register(load_some<Whole>(in + offset(i, pixel), n)); });
            unroll(channels, [&](auto k) {
              const VecF factor(w[k]);
              unroll(vectors, [&](auto i) { sum[k][i] = fused_multiply_add(factor, value[i], sum[k][i]); });
            });
          }
        }
      }
    }
    unroll(channels, [&](auto k) {
      const VecF shift(bias != nullptr ? bias[k] : 0.0f);
      unroll(vectors,
             [&](auto i) { store_some<Whole>(y + k * p.y_k + offset(i, p.y_w), sum[k][i] + shift, n); });
    });
  };
  if constexpr (kManyRegisters)
    for (; runs > 0; --runs, x += P * pixel, y += P * p.y_w) run(x, y);
  else
    run(x, y);
}

// The next of `left` output channels: 3, 5 and 6 of them fill the accumulators, or half of the vectors do.
Index channels_of_block(Index left) {
  constexpr Index kOf[] = {0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 5};
  return left > 10 ? kChannels : kOf[left];
}

// K output channels, where they have too many accumulators in two halves of the vectors or of the pixels:
// with few registers only, and therefore with a single run.
template <Index K, Index P, Index V, bool Whole>
void forward_halves(const DirectConv& p, const float* x, const float* weight, const float* bias, Taps taps,
                    float* y, Index n, Index runs) {
  static_assert(!kManyRegisters || K * P * V <= kSums);
  if constexpr (K * P * V <= kSums) {
    forward_block<K, P, V, Whole>(p, x, weight, bias, taps, y, n, runs);
  } else if constexpr (V > 1) {
    for (Index v = 0; v < V; v += V / 2)
      forward_block<K, P, V / 2, Whole>(p, x + v * kVec, weight, bias, taps, y + v * kVec, n, 1);
  } else {
    for (Index i = 0; i < P; i += P / 2)
      forward_block<K, P / 2, V, Whole>(p, x + i * p.stride_w * p.x_w, weight, bias, taps, y + i * p.y_w, n,
                                        1);
  }
}

// All output channels.
template <Index P, Index V, bool Whole>
void forward_channels(const DirectConv& conv, const float* x, const float* weight, const float* bias,
                      Taps taps, float* y, Index n, Index runs) {
  const DirectConv p = conv;  // else read anew after every store, which might change it
  for (Index k = 0, channels = 0; k < p.k; k += channels) {
    channels = channels_of_block(p.k - k);
    const float* const b = bias == nullptr ? nullptr : bias + k;
    unroll(std::make_index_sequence<kChannels>{}, [&](auto i) {
      constexpr Index kCount = static_cast<Index>(i) + 1;
      if constexpr (kCount == 1 || P * V <= kVectors)  // more for a single channel only
        if (channels == kCount)
          forward_halves<kCount, P, V, Whole>(p, x, weight + k, b, taps, y + k * p.y_k, n, runs);
    });
  }
}

// One output row of V vectors of images, P pixels at once where the whole window is inside.
template <Index P, Index V, bool Whole>
void forward_pixels(const DirectConv& p, const float* x, const float* weight, const float* bias, float* y,
                    Index row, Index n) {
  const Index top = row * p.stride_h - p.padding_h;
  const Range taps_h = valid_taps(top, p.dilation_h, p.r, p.h);
  const Range inner =
      intersection(valid_outputs(-p.padding_w, p.stride_w, p.ow, p.w),
                   valid_outputs((p.s - 1) * p.dilation_w - p.padding_w, p.stride_w, p.ow, p.w));
  const Index most = kReusedInput / larger(Index{1}, p.c * p.r * P * V * kVec);
  for (Index column = 0; column < p.ow;) {
    const Index left = column * p.stride_w - p.padding_w;
    const float* const in = x + (top * p.x_h + left * p.x_w);
    float* const out = y + (row * p.y_h + column * p.y_w);
    if (column >= inner.begin && column + P <= inner.end) {
      const Index runs = kManyRegisters ? larger(Index{1}, smaller((inner.end - column) / P, most)) : 1;
      forward_channels<P, V, Whole>(p, in, weight, bias, {taps_h, {0, p.s}}, out, n, runs);
      column += runs * P;
    } else {
      const Range taps_w = valid_taps(left, p.dilation_w, p.s, p.w);
      forward_channels<1, V, Whole>(p, in, weight, bias, {taps_h, taps_w}, out, n, 1);
      ++column;
    }
  }
}

// The register block takes its vectors from the images, from neighbouring pixels where there are fewer
// images, and from both where there is but one output channel.
template <Index V, bool Whole>
void forward_row(const DirectConv& p, const float* x, const float* weight, const float* bias, float* y,
                 Index row, Index n) {
  if (p.k == 1)
    forward_pixels<2 * kVectors / V, V, Whole>(p, x, weight, bias, y, row, n);
  else
    forward_pixels<kVectors / V, V, Whole>(p, x, weight, bias, y, row, n);
}

// A single output channel, P neighbouring pixels times V vectors of images, windows S wide whose taps are
// neighbours too: what is loaded of the input serves up to S of the pixels. `columns` are those of the
// P + S - 1 input columns that exist.
template <Index P, Index V, Index S, bool Whole>
[[gnu::flatten]] void single_channel_block(const DirectConv& p, const float* x, const float* weight,
                                           const float* bias, Range taps_h, Range columns, float* y,
                                           Index n) {
  constexpr std::make_index_sequence<P> pixels{};
  constexpr std::make_index_sequence<V> vectors{};
  constexpr std::make_index_sequence<S> taps{};
  VecF sum[P][V];
  unroll(pixels, [&](auto i) { unroll(vectors, [&](auto v) { sum[i][v] = VecF(0.0f); }); });
  for (Index r = taps_h.begin; r < taps_h.end; ++r) {
    const float* in = x + r * p.dilation_h * p.x_h;
    const float* w = weight + r * S * p.c;
    for (Index c = 0; c < p.c; ++c, in += p.x_c, ++w) {
      VecF broadcast[S];
      unroll(taps, [&](auto s) { broadcast[s] = VecF(w[static_cast<Index>(s) * p.c]); });
      unroll(std::make_index_sequence<P + S - 1>{}, [&](auto i) {
        constexpr auto kColumn = static_cast<Index>(i);
        if (kColumn < columns.begin || kColumn >= columns.end) return;
        VecF value[V];
        unroll(vectors, [&](auto v) {
          value[v] = in_register(load_some<Whole>(in + kColumn * p.x_w + static_cast<Index>(v) * kVec, n));
        });
        unroll(taps, [&](auto s) {
          constexpr Index kPixel = kColumn - static_cast<Index>(s);
          if constexpr (kPixel >= 0 && kPixel < P)
            unroll(vectors, [&](auto v) {
              sum[kPixel][v] = fused_multiply_add(broadcast[s], value[v], sum[kPixel][v]);
            });
        });
      });
    }
  }
  const VecF shift(bias != nullptr ? *bias : 0.0f);
  unroll(pixels, [&](auto i) {
    unroll(vectors, [&](auto v) {
      store_some<Whole>(y + static_cast<Index>(i) * p.y_w + static_cast<Index>(v) * kVec, sum[i][v] + shift,
                        n);
    });
  });
}

// One output row. All images of some pixels come before the next pixels: they are neighbours in memory.
template <Index S>
void single_channel_row(const DirectConv& p, const float* x, const float* weight, const float* bias, float* y,
                        Index row) {
  const Index top = row * p.stride_h - p.padding_h;
  const Range taps_h = valid_taps(top, p.dilation_h, p.r, p.h);
  const auto pixels = [&](auto count, Index column) {
    constexpr Index P = decltype(count)::value;
    const Index left = column - p.padding_w;
    const Range columns{-left, p.w - left};
    const float* const in = x + (top * p.x_h + left * p.x_w);
    float* const out = y + (row * p.y_h + column * p.y_w);
    Index i = 0;
    for (; i + 2 * kVec <= p.images; i += 2 * kVec)
      single_channel_block<P, 2, S, true>(p, in + i, weight, bias, taps_h, columns, out + i, kVec);
    for (; i + kVec <= p.images; i += kVec)
      single_channel_block<P, 1, S, true>(p, in + i, weight, bias, taps_h, columns, out + i, kVec);
    if (i < p.images)
      single_channel_block<P, 1, S, false>(p, in + i, weight, bias, taps_h, columns, out + i, p.images - i);
  };
  // In blocks of nearly equal size.
  constexpr Index kMost = kPixels<S>;
  const Index blocks = divide_up(p.ow, kMost), least = p.ow / blocks, larger_blocks = p.ow % blocks;
  for (Index block = 0, column = 0, count = 0; block < blocks; ++block, column += count) {
    count = least + (block < larger_blocks);
    unroll(std::make_index_sequence<kMost>{}, [&](auto i) {
      if (count == static_cast<Index>(i) + 1) pixels(std::integral_constant<Index, i + 1>{}, column);
    });
  }
}

void forward(const DirectConv& p, const float* x, const float* packed_weight, const float* bias, float* y,
             Index row) noexcept {
  if (p.k == 1 && p.stride_w == 1 && p.dilation_w == 1) {
    if (p.s == 3) return single_channel_row<3>(p, x, packed_weight, bias, y, row);
    if (p.s == 5) return single_channel_row<5>(p, x, packed_weight, bias, y, row);
  }
  Index i = 0;
  for (; i + kVectors * kVec <= p.images; i += kVectors * kVec)
    forward_row<kVectors, true>(p, x + i, packed_weight, bias, y + i, row, kVec);
  for (; i + kVec <= p.images; i += kVec)
    forward_row<1, true>(p, x + i, packed_weight, bias, y + i, row, kVec);
  if (i < p.images) forward_row<1, false>(p, x + i, packed_weight, bias, y + i, row, p.images - i);
}

// A vector of output channels times P positions, `x_step` and `y_step` apart, with the same taps inside.
template <Index P>
void image_block(const DirectConv& p, const float* x, Index x_step, const float* weight, Index w_step,
                 const float* bias, Taps taps, float* y, Index y_step, Index channels) {
  constexpr std::make_index_sequence<P> positions{};
  VecF sum[P];
  unroll(positions, [&](auto i) { sum[i] = VecF(0.0f); });
  for (Index r = taps.h.begin; r < taps.h.end; ++r) {
    for (Index s = taps.w.begin; s < taps.w.end; ++s) {
      const float* in = x + (r * p.dilation_h * p.x_h + s * p.dilation_w * p.x_w);
      const float* w = weight + (r * p.s + s) * p.c * w_step;
      for (Index c = 0; c < p.c; ++c, in += p.x_c, w += w_step) {
        const VecF value = load(w);
        unroll(positions, [&](auto i) {
          sum[i] = fused_multiply_add(VecF(in[static_cast<Index>(i) * x_step]), value, sum[i]);
        });
      }
    }
  }
  const auto finish = [&](auto whole) {
    const VecF offset = bias != nullptr ? load_some<whole>(bias, channels) : VecF(0.0f);
    unroll(positions,
           [&](auto i) { store_some<whole>(y + static_cast<Index>(i) * y_step, sum[i] + offset, channels); });
  };
  channels == kVec ? finish(std::true_type{}) : finish(std::false_type{});
}

// `count` positions in a line, in blocks of nearly equal size.
void image_line(const DirectConv& p, const float* x, Index x_step, const float* weight, const float* bias,
                Taps taps, float* y, Index y_step, Index count) {
  const Index w_step = divide_up(p.k, kConvLanes) * kConvLanes, blocks = divide_up(count, kPositions);
  for (Index k = 0; k < p.k; k += kVec) {
    for (Index block = 0; block < blocks; ++block) {
      const Index first = count * block / blocks, positions = count * (block + 1) / blocks - first;
      unroll(std::make_index_sequence<kPositions>{}, [&](auto i) {
        if (positions == static_cast<Index>(i) + 1)
          image_block<i + 1>(p, x + first * x_step, x_step, weight + k, w_step,
                             bias == nullptr ? nullptr : bias + k, taps, y + first * y_step + k, y_step,
                             smaller(kVec, p.k - k));
      });
    }
  }
}

// Rows where the whole window is inside, between the columns where it is not; those run downwards, where
// neighbours have the same taps.
void forward_image(const DirectConv& p, const float* x, const float* packed_weight, const float* bias,
                   float* y) noexcept {
  const auto inner = [](Index padding, Index stride, Index dilation, Index taps, Index outputs, Index size) {
    return intersection(valid_outputs(-padding, stride, outputs, size),
                        valid_outputs((taps - 1) * dilation - padding, stride, outputs, size));
  };
  const Range rows = inner(p.padding_h, p.stride_h, p.dilation_h, p.r, p.oh, p.h);
  const Range columns = inner(p.padding_w, p.stride_w, p.dilation_w, p.s, p.ow, p.w);
  const auto line = [&](Index row, Index column, Index down, Index right, Index count) {
    const Index top = row * p.stride_h - p.padding_h, left = column * p.stride_w - p.padding_w;
    const Taps taps{valid_taps(top, p.dilation_h, p.r, p.h), valid_taps(left, p.dilation_w, p.s, p.w)};
    image_line(p, x + (top * p.x_h + left * p.x_w), down * p.stride_h * p.x_h + right * p.stride_w * p.x_w,
               packed_weight, bias, taps, y + (row * p.y_h + column * p.y_w), down * p.y_h + right * p.y_w,
               count);
  };
  for (Index row = 0; row < p.oh; ++row)
    if (columns.begin < columns.end) line(row, columns.begin, 0, 1, columns.end - columns.begin);
  for (Index column = 0; column < p.ow; ++column) {
    if (column >= columns.begin && column < columns.end) continue;
    for (Index row = 0; row < p.oh;) {
      const Index count = row == rows.begin && rows.begin < rows.end ? rows.end - rows.begin : 1;
      line(row, column, 1, 0, count);
      row += count;
    }
  }
}

// Up to kTaps vectors of the input for one of the gradient: neighbouring taps of a kernel row, or input
// channels where the kernel has but one tap.
struct Inputs {
  // Neighbouring columns of the gradient for which the same inputs lie inside the input.
  struct Run {
    Range columns;
    Index first, last;
  };
  Index count, x_step, sum_step;
  Index runs = 0;
  Run run[2 * kTaps - 1] = {};
};

// `inside(t)` are the columns for which input t lies inside. They move to the left as t grows, so that those
// inside at one column are neighbours.
template <class F>
void set_runs(Inputs& inputs, Index columns, F inside) {
  for (Index column = 0, end; column < columns; column = end) {
    end = columns;
    Index first = inputs.count, last = 0;
    for (Index t = inputs.count; t-- > 0;) {
      const Range r = inside(t);
      if (column < r.begin) end = smaller(end, r.begin);
      if (column < r.begin || column >= r.end) continue;
      end = smaller(end, r.end);
      first = t;
      last = larger(last, t + 1);
    }
    if (first < last) inputs.run[inputs.runs++] = {{column, end}, first, last};
  }
}

// sum[t][k] += input t * gradient of channel k, for one vector of images and inputs First to First + Count.
template <Index First, Index Count, bool Whole, Index T, Index K>
[[gnu::always_inline]] inline void add_products(VecF (&sum)[T][K], const float* x, const float* grad,
                                                Index y_k, Index x_step, Index n) {
  constexpr std::make_index_sequence<Count> inputs{};
  VecF value[Count];
  unroll(inputs, [&](auto t) { value[t] = load_some<Whole>(x + (First + t) * x_step, n); });
  unroll(std::make_index_sequence<K>{}, [&](auto k) {
    const VecF upstream = in_register(load_some<Whole>(grad + k * y_k, n));
    unroll(inputs, [&](auto t) { sum[First + t][k] = fma(upstream, value[t], sum[First + t][k]); });
  });
}

template <Index First, Index Count, Index T, Index K>
[[gnu::always_inline]] inline void add_columns(VecF (&sum)[T][K], const DirectConv& p, const float* x,
                                               const float* grad, Index x_step, Range columns) {
  for (Index column = columns.begin; column < columns.end; ++column) {
    const float* const in = x + column * p.stride_w * p.x_w;
    const float* const g = grad + column * p.y_w;
    Index i = 0;
    for (; i + kVec <= p.images; i += kVec)
      add_products<First, Count, true>(sum, in + i, g + i, p.y_k, x_step, kVec);
    if (i < p.images) add_products<First, Count, false>(sum, in + i, g + i, p.y_k, x_step, p.images - i);
  }
}

// Calls f(first, count, columns) for every run of columns, first and count known when compiled.
template <Index T, class F>
[[gnu::always_inline]] inline void for_each_run(const Inputs& inputs, F f) {
  for (Index i = 0; i < inputs.runs; ++i) {
    const Inputs::Run& run = inputs.run[i];
    unroll(std::make_index_sequence<T>{}, [&](auto first) {
      unroll(std::make_index_sequence<T - first>{}, [&](auto more) {
        constexpr std::integral_constant<Index, static_cast<Index>(first)> kFirst{};
        constexpr std::integral_constant<Index, static_cast<Index>(more) + 1> kCount{};
        if (run.first == kFirst && run.last == kFirst + kCount) f(kFirst, kCount, run.columns);
      });
    });
  }
}

// Adds the products of a row of the gradients of K output channels with T inputs.
template <Index K, Index T>
[[gnu::flatten]] void backward_weight_block(const DirectConv& p, const float* x, const float* grad,
                                            const Inputs& inputs, float* sums) {
  constexpr std::make_index_sequence<K> channels{};
  constexpr std::make_index_sequence<T> all{};
  VecF sum[T][K];
  unroll(all, [&](auto t) {
    unroll(channels, [&](auto k) { sum[t][k] = load(sums + t * inputs.sum_step + k * kConvLanes); });
  });
  for_each_run<T>(inputs, [&](auto first, auto count, Range columns) {
    add_columns<first, count>(sum, p, x, grad, inputs.x_step, columns);
  });
  unroll(all, [&](auto t) {
    unroll(channels, [&](auto k) { store(sums + t * inputs.sum_step + k * kConvLanes, sum[t][k]); });
  });
}

// The above for numbers of channels and inputs known at run time alone.
void backward_weight_inputs(const DirectConv& p, const float* x, const float* grad, const Inputs& inputs,
                            float* sums) {
  const Index blocks = divide_up(p.k, kGradChannels);
  for (Index block = 0; block < blocks; ++block) {
    const Index k = p.k * block / blocks, channels = p.k * (block + 1) / blocks - k;
    unroll(std::make_index_sequence<kGradChannels>{}, [&](auto i) {
      unroll(std::make_index_sequence<kTaps>{}, [&](auto j) {
        if (channels == static_cast<Index>(i) + 1 && inputs.count == static_cast<Index>(j) + 1)
          backward_weight_block<i + 1, j + 1>(p, x, grad + k * p.y_k, inputs, sums + k * kConvLanes);
      });
    });
  }
}

void backward_weight(const DirectConv& conv, const float* x, const float* grad_y, float* sums,
                     Index row_begin, Index row_end) noexcept {
  const DirectConv p = conv;
  const Index tap = p.k * kConvLanes, channel = p.s * tap;
  const bool by_channels = p.s == 1;
  const Index c_step = by_channels ? kTaps : 1;
  for (Index s = 0; s < p.s; s += kTaps) {
    const auto inputs_of = [&](Index count) {
      Inputs inputs{count, by_channels ? p.x_c : p.dilation_w * p.x_w, by_channels ? channel : tap};
      set_runs(inputs, p.ow, [&](Index t) {
        return valid_outputs((by_channels ? 0 : s + t) * p.dilation_w - p.padding_w, p.stride_w, p.ow, p.w);
      });
      return inputs;
    };
    const Inputs inputs = inputs_of(by_channels ? kTaps : smaller(kTaps, p.s - s));
    const Inputs rest = inputs_of(p.c % c_step);
    for (Index row = row_begin; row < row_end; ++row) {
      const Index top = row * p.stride_h - p.padding_h, left = s * p.dilation_w - p.padding_w;
      const Range taps_h = valid_taps(top, p.dilation_h, p.r, p.h);
      for (Index r = taps_h.begin; r < taps_h.end; ++r)
        for (Index c = 0; c < p.c; c += c_step)
          backward_weight_inputs(p, x + (c * p.x_c + (top + r * p.dilation_h) * p.x_h + left * p.x_w),
                                 grad_y + row * p.y_h, c + c_step <= p.c ? inputs : rest,
                                 sums + ((r * p.c + c) * channel + s * tap));
    }
  }
}

// A vector of output channels by C input channels and T taps, of all the rows that have them.
template <Index C, Index T, bool Whole>
[[gnu::flatten]] void image_weight_block(const DirectConv& p, const float* x, const float* grad,
                                         const Inputs& inputs, Range rows, float* sums, Index c_step,
                                         Index n) {
  constexpr std::make_index_sequence<C> channels{};
  constexpr std::make_index_sequence<T> all{};
  VecF sum[T][C];
  unroll(all, [&](auto t) {
    unroll(channels, [&](auto c) { sum[t][c] = load(sums + t * inputs.sum_step + c * c_step); });
  });
  for (Index row = rows.begin; row < rows.end; ++row)
    for_each_run<T>(inputs, [&](auto first, auto count, Range columns) {
      for (Index column = columns.begin; column < columns.end; ++column) {
        const VecF upstream = load_some<Whole>(grad + row * p.y_h + column * p.y_w, n);
        const float* const in = x + row * p.stride_h * p.x_h + column * p.stride_w * p.x_w;
        unroll(std::make_index_sequence<count>{}, [&](auto t) {
          unroll(channels, [&](auto c) {
            const VecF value(in[(first + t) * inputs.x_step + c * p.x_c]);
            sum[first + t][c] = fma(upstream, value, sum[first + t][c]);
          });
        });
      }
    });
  unroll(all, [&](auto t) {
    unroll(channels, [&](auto c) { store(sums + t * inputs.sum_step + c * c_step, sum[t][c]); });
  });
}

void backward_weight_image(const DirectConv& conv, const float* x, const float* grad_y,
                           float* sums) noexcept {
  constexpr Index kInputChannels = 4;
  const DirectConv p = conv;
  const Index tap = divide_up(p.k, kConvLanes) * kConvLanes, channel = p.s * tap;
  for (Index s = 0; s < p.s; s += kTaps) {
    Inputs inputs{smaller(kTaps, p.s - s), p.dilation_w * p.x_w, tap};
    set_runs(inputs, p.ow, [&](Index t) {
      return valid_outputs((s + t) * p.dilation_w - p.padding_w, p.stride_w, p.ow, p.w);
    });
    for (Index r = 0; r < p.r; ++r) {
      const Index top = r * p.dilation_h - p.padding_h, left = s * p.dilation_w - p.padding_w;
      const Range rows = valid_outputs(top, p.stride_h, p.oh, p.h);
      for (Index c = 0; c < p.c; c += kInputChannels)
        for (Index k = 0; k < p.k; k += kVec) {
          const Index count = smaller(kInputChannels, p.c - c), n = smaller(kVec, p.k - k);
          unroll(std::make_index_sequence<kInputChannels>{}, [&](auto i) {
            unroll(std::make_index_sequence<kTaps>{}, [&](auto j) {
              if (count != static_cast<Index>(i) + 1 || inputs.count != static_cast<Index>(j) + 1) return;
              (n == kVec
                   ? image_weight_block<i + 1, j + 1, true>
                   : image_weight_block<i + 1, j + 1, false>)(p, x + c * p.x_c + top * p.x_h + left * p.x_w,
                                                              grad_y + k, inputs, rows,
                                                              sums + (r * p.c + c) * channel + s * tap + k,
                                                              channel, n);
            });
          });
        }
    }
  }
}

void reduce_sums(const float* sums, float* out, Index n) noexcept {
  for (Index i = 0; i < n; ++i) {
    VecF total = load(sums + i * kConvLanes);
    for (Index lane = kVec; lane < kConvLanes; lane += kVec)
      total = total + load(sums + i * kConvLanes + lane);
    out[i] = reduce_add(total);
  }
}

}  // namespace

extern const ConvKernels conv_kernels = {forward, forward_image, backward_weight, backward_weight_image,
                                         reduce_sums};

}  // namespace nibble::NIBBLE_TIER
