#include <sstream>

#include "quant/integer/export_c.h"
#include "quant/integer/export_c_text.h"

namespace nibble::quant {
namespace {

constexpr const char* kDriver = R"(
/* See trace_hash.h: of the codes and of the sums of each layer. */
static uint64_t hashes[layers][2];

void $name_trace(int layer, int is_accumulator, int32_t value) {
  uint64_t *const hash = &hashes[layer][is_accumulator];
  *hash = (*hash ^ (uint32_t)value) * UINT64_C(0x100000001b3);
}

static void put_bytes(uint64_t value, int bytes) {
  for (; bytes > 0; --bytes, value >>= 8) putchar((int)(value & 255));
}

int main(int argc, char **argv) {
  static uint8_t pixels[$NAME_PIXELS], arena[$NAME_ARENA_BYTES];
  int32_t logits[$NAME_LOGITS];
  size_t got;
  (void)argv;
  if (argc > 1) return $name_self_test() != 0;
  while ((got = fread(pixels, 1, $NAME_PIXELS, stdin)) == $NAME_PIXELS) {
    int best = 0;
    for (int i = 0; i < layers; ++i) hashes[i][0] = hashes[i][1] = UINT64_C(0xcbf29ce484222325);
    const int result = $name_infer(pixels, logits, arena);
    for (int i = 0; i < $NAME_LOGITS; ++i) {
      if (logits[i] > logits[best]) best = i;
      put_bytes((uint32_t)logits[i], 4);
    }
    if (result != best) {
      fprintf(stderr, "class %d, expected %d\n", result, best);
      return 3;
    }
    for (int i = 0; i < layers; ++i) {
      if (has_sums[i]) put_bytes(hashes[i][1], 8);
      put_bytes(hashes[i][0], 8);
    }
  }
  if (got != 0) fprintf(stderr, "the last image has %u bytes, expected %d\n", (unsigned)got, $NAME_PIXELS);
  return got != 0 || ferror(stdin) || fflush(stdout) != 0 ? 2 : 0;
}
)";

}  // namespace

std::string export_c_driver(const IntModel& model, const std::string& name) {
  std::ostringstream out;
  out << "#include <stdio.h>\n\n"
      << "#include \"$name.h\"\n\n"
      << "enum { layers = " << model.layers.size() + 1 << " };\n\n"
      << "static const unsigned char has_sums[layers] = {0";
  for (const IntLayer& layer : model.layers) out << ", " << std::holds_alternative<IntProduct>(layer);
  out << "};\n" << kDriver;
  return c_text::fill_in(out.str(), name);
}

}  // namespace nibble::quant
