#include "quant/integer/export_c_arena.h"

#include <algorithm>

namespace nibble::quant {
namespace {

// Whether a pool may write over its input, the first outputs in place of the first elements: where no window
// begins before its own output, neither in rows nor in columns, for then all that are still to come begin
// behind the outputs that are written.
bool may_overwrite(const IntMaxPool& layer, const Shape& in, const Shape& out) {
  const Size2 stride = layer.options.stride == Size2(0) ? layer.kernel : layer.options.stride;
  return stride.h > layer.options.padding.h && stride.w > layer.options.padding.w && out[1] <= in[1] &&
         out[2] <= in[2];
}

struct Codes {
  std::int64_t bytes;
  bool is_low;
};

}  // namespace

// Codes lie at the low and the high end by turns: a layer's input and output fit together where the arena is
// as large as both. Flattened codes stay where they are. A pool that may write over its input has its output
// at the low end: there its input is too, or further up, where it is overwritten even later.
ArenaPlan plan_arena(const IntModel& model, const std::vector<Shape>& shapes) {
  std::vector<Codes> codes{{shapes[0].numel(), true}};
  ArenaPlan plan{{}, shapes[0].numel()};
  for (std::size_t i = 0; i + 1 < model.layers.size(); ++i) {
    const Codes in = codes.back();
    const std::int64_t bytes = shapes[i + 1].numel();
    const auto* const pool = std::get_if<IntMaxPool>(&model.layers[i]);
    if (std::holds_alternative<IntFlatten>(model.layers[i])) {
      codes.push_back(in);
    } else if (pool != nullptr && may_overwrite(*pool, shapes[i], shapes[i + 1])) {
      codes.push_back({bytes, true});
    } else {
      codes.push_back({bytes, !in.is_low});
      plan.bytes = std::max(plan.bytes, in.bytes + bytes);
    }
  }
  for (const Codes& c : codes) plan.offset.push_back(c.is_low ? 0 : plan.bytes - c.bytes);
  return plan;
}

}  // namespace nibble::quant
