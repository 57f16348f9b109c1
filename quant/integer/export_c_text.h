#pragma once

#include <algorithm>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "quant/integer/model.h"
#include "tensor/check.h"

// The parts of an exported program that do not depend on the model. Every $name in them becomes its name,
// every $NAME its name in upper case.

namespace nibble::quant::c_text {

// Throws std::invalid_argument unless the name is a C identifier.
inline std::string fill_in(std::string_view text, const std::string& name) {
  // Not those of <cctype>, to which a locale's letters are letters.
  const auto is_lower = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto is_word = [&](char c) {
    return is_lower(c) || (c >= 'A' && c <= 'Z') || c == '_' || is_digit(c);
  };
  NIBBLE_CHECK(!name.empty() && std::all_of(name.begin(), name.end(), is_word) && !is_digit(name[0]),
               "export_c: name \"", name, "\", expected a C identifier");
  std::string upper = name, result;
  for (char& c : upper)
    if (is_lower(c)) c = static_cast<char>(c - 'a' + 'A');
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view word = text.substr(at, 5);
    result += word == "$name" ? name : word == "$NAME" ? upper : std::string(1, text[at]);
    at += word == "$name" || word == "$NAME" ? 5 : 1;
  }
  return result;
}

template <class T>
void write_array(std::ostream& out, const std::string& declaration, const std::vector<T>& values) {
  constexpr std::size_t kColumns = 100;
  out << "static const " << declaration << '[' << values.size() << "] = {";
  std::size_t column = kColumns;
  for (const T value : values) {
    const std::string text = std::to_string(value) + ',';
    if (column + 1 + text.size() > kColumns) {
      out << "\n ";
      column = 1;
    }
    out << ' ' << text;
    column += 1 + text.size();
  }
  out << "\n};\n";
}

// The function of the self test and its data. pixels: uint8 [n, C, H, W]; layers are called layer1, layer2,
// ...
std::string self_test(const IntModel& model, const Tensor& pixels);

inline constexpr const char* kTrace = R"(
#ifdef $NAME_TRACE
#define TRACE(layer, is_accumulator, value) $name_trace(layer, is_accumulator, value)
#else
#define TRACE(layer, is_accumulator, value) ((void)0)
#endif
#define TRACE_CODES(layer, codes, count, origin) \
  for (int32_t i = 0; i < (count); ++i) TRACE(layer, 0, (codes)[i] + (origin))
)";

inline constexpr const char* kWindow = R"(
/* Windows over planes of h x w, out_h x out_w of them. */
struct window {
  int32_t h, w, out_h, out_w, kernel_h, kernel_w;
  int32_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
};
)";

inline constexpr const char* kProduct = R"(
/* A convolution or a linear layer: with sum = bias + weights * (codes - their zero point),
   result = clamp(round(sum * multiplier / 2^shift) + zero_point, lo, hi), or the sum itself. */
struct product {
  const uint8_t *weight; /* packed, see weight() */
  const int32_t *bias;
  const int32_t *multiplier; /* as many as shifts: one, or one per_channel; 0: the results are the sums */
  const uint8_t *shift;
  int32_t channels, depth;    /* outputs or planes of them; inputs or planes, those of one group */
  int32_t zero;               /* the byte of the input that stands for 0 */
  int32_t zero_point, lo, hi; /* of the results: bytes, or logits as they are */
  int16_t origin;             /* the code that a result of 0 stands for */
  uint16_t layer;
  uint8_t bits, per_channel, is_last;
};

/* Weight i, low bits of a byte first: two's complement, or one bit of 0 for -1 and 1 for 1. */
static int32_t weight(const struct product *p, int32_t i) {
  const int32_t at = i * p->bits, sign = 1 << (p->bits - 1);
  const int32_t code = p->weight[at >> 3] >> (at & 7) & (2 * sign - 1);
  return sign == 1 ? 2 * code - 1 : (code ^ sign) - sign;
}

/* Rounds once, half to even. The product, lifted by 2^62, is not negative: shifting it is a floor. */
static int32_t requantize(const struct product *p, int32_t channel, int32_t sum) {
  const int32_t at = p->per_channel ? channel : 0;
  const int shift = p->shift[at];
  const uint64_t lift = (uint64_t)1 << 62, one = (uint64_t)1 << shift, half = one >> 1;
  const uint64_t lifted = (uint64_t)((int64_t)sum * p->multiplier[at]) + lift;
  const uint64_t rest = lifted & (one - 1);
  int64_t result = (int64_t)(lifted >> shift) - (int64_t)(lift >> shift);
  if (rest > half || (rest == half && half != 0 && result % 2 != 0)) ++result;
  result += p->zero_point;
  return (int32_t)(result < p->lo ? p->lo : result > p->hi ? p->hi : result);
}

/* Result i of `out`, from the sum of its channel: in the last layer an int32_t, a logit, elsewhere a byte. */
static void put(const struct product *p, int32_t channel, int32_t sum, int32_t i, void *out) {
  const int32_t result = p->multiplier ? requantize(p, channel, sum) : sum;
  TRACE(p->layer, 1, sum);
  TRACE(p->layer, 0, result + p->origin);
  if (p->is_last)
    ((int32_t *)out)[i] = result;
  else
    ((uint8_t *)out)[i] = (uint8_t)result;
}
)";

// Sums a row of outputs at a time: each weight is unpacked once a row and has its padding cut off once.
inline constexpr const char* kConv2d = R"(
struct conv2d {
  struct product product;
  struct window window;
  int32_t per_group; /* output channels */
};

static void conv2d(const struct conv2d *l, const uint8_t *in, void *out) {
  const struct product *const p = &l->product;
  const struct window *const g = &l->window;
  int32_t sums[longest_row], outputs = 0, first_weight = 0;
  for (int32_t k = 0; k < p->channels; ++k) {
    const uint8_t *const group = in + k / l->per_group * p->depth * g->h * g->w;
    for (int32_t y = 0; y < g->out_h; ++y) {
      int32_t at = first_weight;
      for (int32_t x = 0; x < g->out_w; ++x) sums[x] = p->bias[k];
      for (int32_t c = 0; c < p->depth; ++c)
        for (int32_t r = 0; r < g->kernel_h; ++r) {
          const int32_t in_y = y * g->stride_h + r * g->dilation_h - g->padding_h;
          if (in_y < 0 || in_y >= g->h) {
            at += g->kernel_w;
            continue;
          }
          const uint8_t *const row = group + (c * g->h + in_y) * g->w;
          for (int32_t s = 0; s < g->kernel_w; ++s) {
            const int32_t w = weight(p, at++), left = s * g->dilation_w - g->padding_w;
            int32_t x = 0, end = g->out_w;
            while (x < end && x * g->stride_w + left < 0) ++x;
            while (x < end && (end - 1) * g->stride_w + left >= g->w) --end;
            for (; x < end; ++x) sums[x] += w * (row[x * g->stride_w + left] - p->zero);
          }
        }
      for (int32_t x = 0; x < g->out_w; ++x) put(p, k, sums[x], outputs++, out);
    }
    first_weight += p->depth * g->kernel_h * g->kernel_w;
  }
}
)";

inline constexpr const char* kLinear = R"(
static void linear(const struct product *p, const uint8_t *in, void *out) {
  int32_t at = 0;
  for (int32_t k = 0; k < p->channels; ++k) {
    int32_t sum = p->bias[k];
    for (int32_t c = 0; c < p->depth; ++c) sum += weight(p, at++) * (in[c] - p->zero);
    put(p, k, sum, k, out);
  }
}
)";

inline constexpr const char* kMaxPool = R"(
struct max_pool2d {
  struct window window;
  int32_t channels;
  int16_t origin;
  uint16_t layer;
};

/* No byte is below 0, which padding counts as. `out` may be `in`, or lie below it, where $name_infer has them so. */
static void max_pool2d(const struct max_pool2d *l, const uint8_t *in, uint8_t *out) {
  const struct window *const g = &l->window;
  for (int32_t c = 0; c < l->channels; ++c, in += g->h * g->w)
    for (int32_t y = 0; y < g->out_h; ++y)
      for (int32_t x = 0; x < g->out_w; ++x) {
        uint8_t most = 0;
        for (int32_t r = 0; r < g->kernel_h; ++r)
          for (int32_t s = 0; s < g->kernel_w; ++s) {
            const int32_t in_y = y * g->stride_h + r * g->dilation_h - g->padding_h;
            const int32_t in_x = x * g->stride_w + s * g->dilation_w - g->padding_w;
            if (in_y >= 0 && in_y < g->h && in_x >= 0 && in_x < g->w && in[in_y * g->w + in_x] > most)
              most = in[in_y * g->w + in_x];
          }
        TRACE(l->layer, 0, most + l->origin);
        *out++ = most;
      }
}
)";

}  // namespace nibble::quant::c_text
