#include <sstream>

#include "quant/integer/export_c_text.h"
#include "quant/integer/reference.h"
#include "quant/integer/trace_hash.h"

namespace nibble::quant::c_text {
namespace {

constexpr const char* kHash = R"(
/* FNV-1a over 32-bit words. */
static uint64_t hash_word(uint64_t hash, int32_t word) {
  return (hash ^ (uint32_t)word) * UINT64_C(0x100000001b3);
}

static uint64_t hash_product(uint64_t hash, const struct product *p, int32_t weights) {
  for (int32_t i = 0; i < weights; ++i) hash = hash_word(hash, weight(p, i));
  for (int32_t k = 0; k < p->channels; ++k) {
    hash = hash_word(hash, p->bias[k]);
    if (!p->multiplier) continue;
    hash = hash_word(hash, p->multiplier[p->per_channel ? k : 0]);
    hash = hash_word(hash, p->shift[p->per_channel ? k : 0]);
  }
  return hash;
}
)";

// What hash_product() of the program hashes.
void append_words(std::vector<std::int32_t>& words, const IntProduct& layer) {
  const Tensor dense = layer.weight.contiguous();
  const auto weights = dense.values<std::int8_t>();
  words.insert(words.end(), weights.begin(), weights.end());
  for (std::int64_t k = 0; k < layer.out_channels(); ++k) {
    words.push_back(layer.bias[static_cast<std::size_t>(k)]);
    if (layer.is_requantized()) words.insert(words.end(), {layer.multiplier_of(k), layer.shift_of(k)});
  }
}

}  // namespace

// Images alone would miss much: a code of 0 hides what is wrong with its weights. The hash misses nothing.
std::string self_test(const IntModel& model, const Tensor& pixels) {
  std::ostringstream out;
  const Tensor images = pixels.contiguous();
  const Tensor expected = run_reference(model, images).back().codes.contiguous();
  const auto bytes = images.values<std::uint8_t>();
  const auto results = expected.values<std::int32_t>();
  out << "\n#ifndef $NAME_NO_SELF_TEST" << kHash << '\n';
  write_array(out, "uint8_t test_pixels", std::vector<int>(bytes.begin(), bytes.end()));
  write_array(out, "int32_t test_logits", std::vector<std::int32_t>(results.begin(), results.end()));
  out << R"(
int $name_self_test(void) {
  static uint8_t arena[$NAME_ARENA_BYTES];
  int32_t logits[$NAME_LOGITS];
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (int i = 0; i < )"
      << images.size(0) << R"(; ++i) {
    const int32_t *const expected = test_logits + i * $NAME_LOGITS;
    $name_infer(test_pixels + i * $NAME_PIXELS, logits, arena);
    for (int j = 0; j < $NAME_LOGITS; ++j)
      if (logits[j] != expected[j]) return i + 1;
  }
  for (int i = 0; i < 256; ++i) hash = hash_word(hash, input[i]);
)";
  std::vector<std::int32_t> words;
  for (const std::int16_t code : model.input.codes) words.push_back(code - model.input.format.lo);
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const auto* const product = std::get_if<IntProduct>(&model.layers[i]);
    if (product == nullptr) continue;
    out << "  hash = hash_product(hash, &layer" << i + 1 << (product->is_linear() ? "" : ".product") << ", "
        << product->weight.numel() << ");\n";
    append_words(words, *product);
  }
  out << "  return hash == UINT64_C(" << trace_hash(words) << ") ? 0 : -1;\n}\n#endif\n";
  return out.str();
}

}  // namespace nibble::quant::c_text
