#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "quant/integer/engine.h"
#include "quant/integer/graph.h"
#include "quant/integer/model_file.h"
#include "quant/integer/reference.h"
#include "tensor/factory.h"
#include "tensor/format_error.h"
#include "tensor/safetensors.h"
#include "tensor/sha256.h"

// Inputs are of two kinds, told apart by their first byte.
//   R         records: a tensor each, separated by three bytes 1e. A record is a name, a line feed, one of
//   the
//             letters U, S, I, D for U8, I16, I32, F64, and bytes. The target builds the container around
//             them, with the right hash: no mutation of a record can spoil the others.
//   the rest  a .nbq file. It is parsed as it is, and with the SHA-256 that it states put right.
// Whatever is accepted has the sizes that check() promises, is written and read back the same, and runs: the
// reference, deploy mode and the engine agree.

namespace {

using namespace nibble;
using namespace nibble::quant;
using Bytes = std::vector<std::byte>;

constexpr std::string_view kSeparator = "\x1e\x1e\x1e";
constexpr std::int64_t kMostProducts = 1 << 18, kMostActivations = 1 << 14, kMostPadding = 8;

void require(bool holds) {
  if (!holds) std::abort();
}

template <class Map, class BytesOf>
std::string hash_of(const Map& tensors, BytesOf bytes_of) {
  Bytes all;
  for (const auto& [name, tensor] : tensors) {
    const auto bytes = bytes_of(tensor);
    all.insert(all.end(), bytes.begin(), bytes.end());
  }
  return sha256(all);
}

std::span<const std::byte> bytes_of(const Tensor& tensor) {
  return visit(tensor.dtype(), [&](auto kind) { return std::as_bytes(tensor.values<decltype(kind)>()); });
}

template <class T>
Tensor tensor_of(std::string_view bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return from_values({std::ssize(values)}, values);
}

void add_record(TensorFile& file, std::string_view record) {
  const std::size_t line = record.find('\n');
  if (line == record.npos || line + 1 == record.size()) return;
  const std::string name(record.substr(0, line));
  const std::string_view bytes = record.substr(line + 2);
  if (name == "__metadata__") return;
  switch (record[line + 1]) {
    case 'U':
      file.tensors[name] = tensor_of<std::uint8_t>(bytes);
      return;
    case 'S':
      file.tensors[name] = tensor_of<std::int16_t>(bytes);
      return;
    case 'I':
      file.tensors[name] = tensor_of<std::int32_t>(bytes);
      return;
    case 'D':
      file.tensors[name] = tensor_of<double>(bytes);
      return;
    default:
      return;
  }
}

Bytes file_of_records(std::string_view records) {
  TensorFile file;
  for (std::size_t at = 0; at <= records.size();) {
    const std::size_t end = std::min(records.find(kSeparator, at), records.size());
    add_record(file, records.substr(at, end - at));
    at = end + kSeparator.size();
  }
  const std::string hash = hash_of(file.tensors, bytes_of);
  file.metadata = {{"format", "nbq"}, {"version", "1"}, {"sha256", hash}};
  return serialize_safetensors(file);
}

Bytes with_right_hash(std::span<const std::byte> input) {
  Bytes bytes(input.begin(), input.end());
  constexpr std::string_view kKey = "\"sha256\":\"";
  const auto is_same = [](std::byte a, char b) { return a == static_cast<std::byte>(b); };
  const auto found = std::search(bytes.begin(), bytes.end(), kKey.begin(), kKey.end(), is_same);
  try {
    const std::string hash =
        hash_of(view_safetensors(bytes).tensors, [](const StoredTensor& stored) { return stored.bytes; });
    if (bytes.end() - found >= std::ssize(kKey) + std::ssize(hash))
      std::transform(hash.begin(), hash.end(), found + std::ssize(kKey),
                     [](char c) { return static_cast<std::byte>(c); });
  } catch (const FormatError&) {
  }
  return bytes;
}

bool equal(const IntTrace& a, const IntTrace& b) {
  const auto x = tensors_of(a), y = tensors_of(b);
  return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const TracedTensor& s, const TracedTensor& t) {
    const auto values = s.values.values<std::int32_t>(), others = t.values.values<std::int32_t>();
    return s.name == t.name && s.values.shape() == t.values.shape() &&
           std::equal(values.begin(), values.end(), others.begin());
  });
}

// Whether a fuzzer can afford to run the model. Checks every shape on the way.
bool is_small(const IntModel& model) {
  Shape shape = model.input.image;
  std::int64_t activations = shape.numel();
  double products = 0;
  bool padded_far = false;
  for (const IntLayer& layer : model.layers) {
    shape = output_shape(layer, shape);
    require(shape.numel() > 0 && shape.numel() <= 1 << 26);
    activations += shape.numel();
    if (const auto* product = std::get_if<IntProduct>(&layer)) {
      products += static_cast<double>(shape.numel()) *
                  static_cast<double>(product->weight.numel() / product->out_channels());
      padded_far |= std::max(product->options.padding.h, product->options.padding.w) > kMostPadding;
    } else if (const auto* pool = std::get_if<IntMaxPool>(&layer)) {
      products += static_cast<double>(shape.numel()) * static_cast<double>(pool->kernel.h * pool->kernel.w);
      padded_far |= std::max(pool->options.padding.h, pool->options.padding.w) > kMostPadding;
    }
  }
  require(logits_of(model) == shape.numel());
  return activations <= kMostActivations && products <= kMostProducts && !padded_far;
}

void run(const IntModel& model) {
  // A black image, and one with every pixel value.
  Tensor pixels = zeros(model.input.image.inserted(0, 2), DType::uint8);
  const auto values = pixels.mutable_values<std::uint8_t>();
  for (std::size_t i = values.size() / 2; i < values.size(); ++i)
    values[i] = static_cast<std::uint8_t>(37 * i);
  const IntTrace expected = run_reference(model, pixels);
  require(equal(expected, run_deploy(model, pixels)));
  try {
    const IntEngine engine(model);
    require(equal(expected, engine.trace(pixels)));
  } catch (const std::invalid_argument&) {  // sums over shifted codes may be larger than the model's own
  }
}

void check_parsing(std::span<const std::byte> bytes) {
  IntModel model;
  try {
    model = parse_nbq(bytes);
  } catch (const FormatError&) {
    return;
  } catch (const std::invalid_argument&) {
    return;
  }
  const Bytes written = serialize_nbq(model);
  require(serialize_nbq(parse_nbq(written)) == written);
  if (is_small(model)) run(model);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes = std::as_bytes(std::span(data, size));
  if (size > 0 && data[0] == 'R') {
    check_parsing(file_of_records({reinterpret_cast<const char*>(data) + 1, size - 1}));
  } else {
    check_parsing(bytes);
    check_parsing(with_right_hash(bytes));
  }
  return 0;
}
