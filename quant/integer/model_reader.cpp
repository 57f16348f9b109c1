#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "quant/integer/container.h"
#include "quant/integer/model_file.h"
#include "quant/integer/model_payload.h"
#include "quant/qparams.h"
#include "tensor/factory.h"
#include "tensor/format_error.h"
#include "tensor/safetensors.h"

namespace nibble::quant {
namespace {

using Json = nlohmann::json;

// No size of an honest model comes near; products of a few of them stay far from overflow.
constexpr std::int64_t kMaxSize = 1 << 20, kMaxElements = 1 << 28;
constexpr std::size_t kMaxLayers = 10000;

[[noreturn]] void fail(const std::string& what) { throw FormatError("nbq: " + what, 0); }

// Rejects what the library would accept silently: a key that occurs twice, and absurd nesting.
Json parse_json(const char* first, const char* last) {
  constexpr int kMaxDepth = 6;
  std::vector<std::set<std::string>> keys;
  const auto callback = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) fail("model nests deeper than a model does");
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
      fail("a field of the model occurs twice");
    return true;
  };
  const Json json = Json::parse(first, last, callback, /*allow_exceptions=*/false);
  if (json.is_discarded()) fail("model is not JSON");
  return json;
}

// A JSON object whose keys are taken one by one: what is left over was not expected.
class Fields {
 public:
  Fields(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) fail(where_ + " is not an object");
  }
  bool has(const char* key) const { return json_.contains(key); }
  const Json& take(const char* key) {
    if (!has(key)) fail(where_ + " has no \"" + key + "\"");
    ++taken_;
    return json_[key];
  }
  std::int64_t integer(const char* key, std::int64_t lo, std::int64_t hi) {
    return integer_in(take(key), key, lo, hi);
  }
  std::int64_t integer(const char* key, std::int64_t lo, std::int64_t hi, std::int64_t otherwise) {
    return has(key) ? integer(key, lo, hi) : otherwise;
  }
  bool flag(const char* key) {
    if (!has(key)) return false;
    const Json& value = take(key);
    if (!value.is_boolean()) fail(where_ + ": " + key + " is not true or false");
    return value.get<bool>();
  }
  double number(const char* key) {
    const Json& value = take(key);
    if (!value.is_number()) fail(where_ + ": " + key + " is not a number");
    return value.get<double>();
  }
  std::string text(const char* key) {
    const Json& value = take(key);
    if (!value.is_string()) fail(where_ + ": " + key + " is not a string");
    const auto& text = value.get_ref<const std::string&>();
    if (text.empty() || text.size() > 200)
      fail(where_ + ": " + key + " is empty or longer than 200 characters");
    return text;
  }
  Size2 size(const char* key, Size2 otherwise) {
    if (!has(key)) return otherwise;
    const Shape s = shape(key, 0);
    if (s.rank() != 2) fail(where_ + ": " + key + " is not a pair");
    return {s[0], s[1]};
  }
  Shape shape(const char* key, std::int64_t least) {
    const Json& value = take(key);
    if (!value.is_array() || value.size() > 4)
      fail(where_ + ": " + key + " is not a list of at most 4 sizes");
    std::vector<std::int64_t> sizes;
    for (const Json& size : value) sizes.push_back(integer_in(size, key, least, kMaxSize));
    const Shape shape{std::span<const std::int64_t>(sizes)};
    if (shape.numel() > kMaxElements) fail(where_ + ": " + key + " is too large");
    return shape;
  }
  void finish() const {
    if (taken_ != json_.size()) fail(where_ + " has a field that version 1 does not know");
  }
  const std::string& where() const { return where_; }

 private:
  std::int64_t integer_in(const Json& value, const char* key, std::int64_t lo, std::int64_t hi) const {
    if (!value.is_number_integer() || (value.is_number_unsigned() && value.get<std::uint64_t>() > INT64_MAX))
      fail(where_ + ": " + key + " is not a whole number");
    const auto number = value.get<std::int64_t>();
    if (number < lo || number > hi)
      fail(where_ + ": " + key + " is " + std::to_string(number) + ", expected " + std::to_string(lo) +
           " to " + std::to_string(hi));
    return number;
  }

  const Json& json_;
  std::string where_;
  std::size_t taken_ = 0;
};

// The tensors of the file, each of which belongs to something.
class Tensors {
 public:
  explicit Tensors(const TensorFileView& view) : view_(view) {}

  bool has(const std::string& name) const { return view_.tensors.contains(name); }
  std::span<const std::byte> take(const std::string& name, std::string_view type, std::size_t bytes) {
    const auto found = view_.tensors.find(name);
    if (found == view_.tensors.end()) fail("tensor " + name + " is missing");
    if (found->second.type != type)
      fail("tensor " + name + " is " + std::string(found->second.type) + ", expected " + std::string(type));
    if (found->second.bytes.size() != bytes)
      fail("tensor " + name + " has " + std::to_string(found->second.bytes.size()) + " bytes, expected " +
           std::to_string(bytes));
    ++taken_;
    return found->second.bytes;
  }
  template <class Stored, class T>
  std::vector<T> values(const std::string& name, std::string_view type, std::size_t count) {
    const auto bytes = take(name, type, count * sizeof(Stored));
    std::vector<Stored> stored(count);
    if (count > 0) std::memcpy(stored.data(), bytes.data(), bytes.size());
    return {stored.begin(), stored.end()};
  }
  // Nothing is allocated for codes that the file does not have.
  std::vector<std::int16_t> codes(const std::string& name, int bits, bool is_signed, std::size_t count) {
    const auto bytes = take(name, "U8", container_bytes(count, bits));
    std::vector<std::int16_t> codes(count);
    unpack_codes({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, bits, is_signed, codes);
    return codes;
  }
  void finish() const {
    if (taken_ != view_.tensors.size()) fail("a tensor that no layer names");
  }

 private:
  const TensorFileView& view_;
  std::size_t taken_ = 0;
};

CodeFormat get_format(Fields& fields) {
  CodeFormat f;
  f.bit_width = static_cast<int>(fields.integer("bits", 1, 32));
  const double scale = fields.number("scale");
  if (!(scale > 0 && scale <= 3.4e38)) fail(fields.where() + ": scale is not a float32 above 0");
  f.scale = static_cast<float>(scale);
  if (f.bit_width == 32) return f.is_signed = true, f.lo = -INT32_MAX, f.hi = INT32_MAX, f;
  if (f.bit_width > 8) fail(fields.where() + ": codes of " + std::to_string(f.bit_width) + " bits");
  f.is_signed = fields.flag("signed");
  const IntegerRange range = integer_range(f.bit_width, f.is_signed, false);
  const auto lo = static_cast<std::int64_t>(range.lo), hi = static_cast<std::int64_t>(range.hi);
  f.zero_point = static_cast<std::int32_t>(fields.integer("zero_point", lo, hi, 0));
  f.lo = static_cast<std::int32_t>(fields.integer("lo", lo, hi, lo));
  f.hi = static_cast<std::int32_t>(fields.integer("hi", lo, hi, hi));
  return f;
}

template <class T, class Stored>
std::vector<T> get_values(Fields& fields, Tensors& tensors, const std::string& layer, const char* key,
                          std::string_view type, std::size_t channels, Stored) {
  if (fields.has(key)) {
    if constexpr (std::is_floating_point_v<T>) return {fields.number(key)};
    return {static_cast<T>(fields.integer(key, INT32_MIN, INT32_MAX))};
  }
  const std::string name = layer + "." + key;
  if (!tensors.has(name)) return {};
  return tensors.values<Stored, T>(name, type, channels);
}

IntProduct get_product(Fields& fields, Tensors& tensors, const char* kind) {
  IntProduct l;
  l.name = fields.text(kind);
  const Shape shape = fields.shape("weight", 1);
  if (shape.rank() != (std::string_view(kind) == "linear" ? 2 : 4))
    fail(l.name + ": weight has another rank");
  l.weight_bits = static_cast<int>(fields.integer("weight_bits", 1, 8));
  l.options.stride = fields.size("stride", 1);
  l.options.padding = fields.size("padding", 0);
  l.options.dilation = fields.size("dilation", 1);
  l.options.groups = fields.integer("groups", 1, kMaxSize, 1);
  l.bias_bits = static_cast<int>(fields.integer("bias_bits", 2, 32));
  const std::vector<std::int16_t> codes = tensors.codes(l.name + ".weight", container_bits(l.weight_bits),
                                                        true, static_cast<std::size_t>(shape.numel()));
  l.weight = empty(shape, DType::int8);
  std::copy(codes.begin(), codes.end(), l.weight.mutable_data<std::int8_t>());
  const auto channels = static_cast<std::size_t>(shape[0]);
  l.bias = l.bias_bits <= 16 ? tensors.values<std::int16_t, std::int32_t>(l.name + ".bias", "I16", channels)
                             : tensors.values<std::int32_t, std::int32_t>(l.name + ".bias", "I32", channels);
  l.weight_scale = get_values<double>(fields, tensors, l.name, "weight_scale", "F64", channels, double{});
  l.multiplier =
      get_values<std::int32_t>(fields, tensors, l.name, "multiplier", "I32", channels, std::int32_t{});
  l.shift = get_values<std::int32_t>(fields, tensors, l.name, "shift", "U8", channels, std::uint8_t{});
  Fields out(fields.take("out"), l.name + ": out");
  l.out = get_format(out);
  out.finish();
  return l;
}

IntMaxPool get_pool(Fields& fields) {
  IntMaxPool l{fields.text("max_pool2d"), fields.size("kernel", 0), {}};
  l.options.stride = fields.size("stride", 0);
  l.options.padding = fields.size("padding", 0);
  l.options.dilation = fields.size("dilation", 1);
  l.options.ceil_mode = fields.flag("ceil_mode");
  return l;
}

IntLayer get_layer(const Json& json, std::size_t index, Tensors& tensors) {
  Fields fields(json, "layer " + std::to_string(index));
  const auto get = [&]() -> IntLayer {
    if (fields.has("conv2d")) return get_product(fields, tensors, "conv2d");
    if (fields.has("linear")) return get_product(fields, tensors, "linear");
    if (fields.has("max_pool2d")) return get_pool(fields);
    if (fields.has("flatten")) return IntFlatten{fields.text("flatten")};
    fail(fields.where() + " is of a kind that version 1 does not know");
  };
  IntLayer layer = get();
  fields.finish();
  return layer;
}

IntModel get_model(const Json& json, Tensors& tensors) {
  IntModel model;
  Fields fields(json, "model");
  Fields in(fields.take("input"), "input");
  model.input.format = get_format(in);
  if (model.input.format.bit_width > 8) fail("input: codes of 32 bits");
  model.input.image = in.shape("image", 1);
  if (in.has("pixel_divisor")) model.input.pixel_divisor = in.number("pixel_divisor");
  in.finish();
  const int bits = container_bits(model.input.format.bit_width);
  const auto codes =
      tensors.codes("input.codes", bits, model.input.format.is_signed, model.input.codes.size());
  std::copy(codes.begin(), codes.end(), model.input.codes.begin());
  const Json& layers = fields.take("layers");
  if (!layers.is_array() || layers.size() > kMaxLayers) fail("layers is not a list of at most 10000");
  for (std::size_t i = 0; i < layers.size(); ++i) model.layers.push_back(get_layer(layers[i], i, tensors));
  fields.finish();
  return model;
}

std::string metadata(const TensorFileView& view, const char* key) {
  const auto found = view.metadata.find(key);
  return found == view.metadata.end() ? std::string() : found->second;
}

}  // namespace

IntModel parse_nbq(std::span<const std::byte> bytes) {
  const TensorFileView view = view_safetensors(bytes);
  if (metadata(view, "format") != "nbq") fail("not an integer model; nibble lower makes one of a checkpoint");
  if (metadata(view, "version") != kNbqVersion)
    fail("version \"" + metadata(view, "version").substr(0, 20) + "\", expected " + kNbqVersion);
  std::map<std::string, std::span<const std::byte>> payload;
  for (const auto& [name, stored] : view.tensors) payload[name] = stored.bytes;
  if (metadata(view, "sha256") != payload_hash(payload))
    fail("its contents do not have the SHA-256 it states");
  Tensors tensors(view);
  const auto found = payload.find("model");
  if (found == payload.end()) fail("tensor model is missing");
  const auto text = tensors.take("model", "U8", found->second.size());
  const auto* const first = reinterpret_cast<const char*>(text.data());
  const Json json = parse_json(first, first + text.size());
  IntModel model = get_model(json, tensors);
  tensors.finish();
  check(model);
  return model;
}

}  // namespace nibble::quant
