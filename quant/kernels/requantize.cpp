#include "quant/kernels/requantize.h"

#include "quant/kernels/fake_quant_formulas.h"  // select
#include "quant/kernels/requantize_formula.h"
#include "quant/kernels/vec_int.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

// What is needed of 16 columns is brought into registers once and serves all rows. An epilogue has
//   Columns<Whole>(j, n): n columns from j
//   store(out, sums, n): of one row
template <bool Whole, class V, class T, class Epilogue, class Out>
void run_columns(const SumTileOf<T>& tile, const Epilogue& epilogue, std::size_t j, std::size_t n, Out* out,
                 std::ptrdiff_t out_stride) {
  Block<V> add;
  for (V& part : add.part) part = V(0);
  if (tile.add != nullptr) add = load_block<V, Whole>(tile.add + j, n);
  const auto columns = epilogue.template columns<Whole>(j, n);
  for (std::size_t i = 0; i < tile.rows; ++i) {
    Block<V> sums = load_block<V, Whole>(tile.acc + i * tile.stride + j, n);
    for (std::size_t part = 0; part < kParts; ++part) sums.part[part] = sums.part[part] + add.part[part];
    columns.template store<Whole>(out + static_cast<std::ptrdiff_t>(i) * out_stride + j, sums, n);
  }
}

template <class V, class T, class Epilogue, class Out>
void run(const SumTileOf<T>& tile, const Epilogue& epilogue, Out* out, std::ptrdiff_t out_stride) {
  std::size_t j = 0;
  for (; j + kBlock <= tile.cols; j += kBlock)
    run_columns<true, V>(tile, epilogue, j, kBlock, out, out_stride);
  if (j < tile.cols) run_columns<false, V>(tile, epilogue, j, tile.cols - j, out, out_stride);
}

struct Sums {
  template <bool Whole>
  Sums columns(std::size_t, std::size_t) const {
    return {};
  }

  template <bool Whole>
  void store(std::int32_t* out, const IntBlock& sums, std::size_t n) const {
    store_block<Whole>(out, sums, n);
  }
};

inline VecF as_floats(VecI v) { return to_float(v); }
inline VecF as_floats(VecF v) { return v; }

struct Floats {
  FloatEpilogue p;

  struct Columns {
    FloatBlock scale, bias;
    bool relu;

    template <bool Whole, class V>
    void store(float* out, const Block<V>& sums, std::size_t n) const {
      const VecF zero(0.0f);
      FloatBlock values;
      for (std::size_t j = 0; j < kParts; ++j) {
        const VecF value = as_floats(sums.part[j]) * scale.part[j] + bias.part[j];
        values.part[j] = relu ? select(value <= zero, zero, value) : value;
      }
      store_block<Whole>(out, values, n);
    }
  };

  template <bool Whole>
  Columns columns(std::size_t j, std::size_t n) const {
    Columns c{load_block<VecF, Whole>(p.scale + j, n), {}, p.relu};
    for (VecF& part : c.bias.part) part = VecF(-0.0f);  // what changes no number, -0 included
    if (p.bias != nullptr) c.bias = load_block<VecF, Whole>(p.bias + j, n);
    return c;
  }
};

struct Codes {
  CodeEpilogue p;

  struct Columns {
    IntBlock multiplier;
    RoundingShift<WordU> shift[kParts][kWords];
    WordS zero_point, lo, hi;

    template <bool Whole>
    void store(std::uint8_t* out, const IntBlock& sums, std::size_t n) const {
      IntBlock codes = sums;
      for (std::size_t j = 0; j < parts_of<Whole>(n); ++j) {
        Words words = products(sums.part[j], multiplier.part[j]);
        for (std::size_t i = 0; i < kWords; ++i)
          words.word[i] =
              std::bit_cast<WordU>(requantize<WordS>(words.word[i], shift[j][i], zero_point, lo, hi));
        codes.part[j] = narrow(words);
      }
      store_codes<Whole>(out, codes, n);
    }
  };

  template <bool Whole>
  Columns columns(std::size_t j, std::size_t n) const {
    Columns c;
    c.multiplier = load_block<VecI, Whole>(p.multiplier + j, n);
    const IntBlock shifts = load_block<VecI, Whole>(p.shift + j, n);
    for (std::size_t part = 0; part < kParts; ++part) {
      const Words words = widen(shifts.part[part]);
      for (std::size_t i = 0; i < kWords; ++i) c.shift[part][i] = RoundingShift<WordU>(words.word[i]);
    }
    c.zero_point = WordS{} + std::int64_t{p.zero_point};
    c.lo = WordS{} + std::int64_t{p.lo};
    c.hi = WordS{} + std::int64_t{p.hi};
    return c;
  }
};

void add(const SumTile& sums, std::int32_t* out, std::ptrdiff_t out_stride) noexcept {
  run<VecI>(sums, Sums{}, out, out_stride);
}

void to_floats(const SumTile& sums, const FloatEpilogue& epilogue, float* out,
               std::ptrdiff_t out_stride) noexcept {
  run<VecI>(sums, Floats{epilogue}, out, out_stride);
}

void floats_to_floats(const FloatSumTile& sums, const FloatEpilogue& epilogue, float* out,
                      std::ptrdiff_t out_stride) noexcept {
  run<VecF>(sums, Floats{epilogue}, out, out_stride);
}

void to_codes(const SumTile& sums, const CodeEpilogue& epilogue, std::uint8_t* out,
              std::ptrdiff_t out_stride) noexcept {
  run<VecI>(sums, Codes{epilogue}, out, out_stride);
}

}  // namespace

extern const RequantizeKernels requantize_kernels = {
    .add = add, .to_float = to_floats, .floats_to_float = floats_to_floats, .to_codes = to_codes};

}  // namespace nibble::quant::NIBBLE_TIER
