#include "quant/integer/model_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <nlohmann/json.hpp>

#include "quant/integer/container.h"
#include "quant/integer/model_payload.h"
#include "quant/qparams.h"
#include "tensor/atomic_file.h"
#include "tensor/factory.h"
#include "tensor/format_error.h"
#include "tensor/mapped_file.h"
#include "tensor/safetensors.h"

namespace nibble::quant {
namespace {

using Json = nlohmann::ordered_json;

// What has its default value is left out.

Json pair_of(Size2 size) { return {size.h, size.w}; }

void put_size(Json& json, const char* key, Size2 size, Size2 otherwise) {
  if (!(size == otherwise)) json[key] = pair_of(size);
}

// A float32 in as few digits as tell it from its neighbours, which is not the double of the same value.
Json shortest(float value) { return std::strtod(fmt::format("{}", value).c_str(), nullptr); }

Json format_json(const CodeFormat& f) {
  Json json{{"bits", f.bit_width}};
  if (f.bit_width == 32) return json["scale"] = shortest(f.scale), json;
  if (f.is_signed) json["signed"] = true;
  if (f.zero_point != 0) json["zero_point"] = f.zero_point;
  const IntegerRange range = integer_range(f.bit_width, f.is_signed, false);
  if (f.lo != range.lo) json["lo"] = f.lo;
  if (f.hi != range.hi) json["hi"] = f.hi;
  json["scale"] = shortest(f.scale);
  return json;
}

template <class T>
Tensor bytes_tensor(const std::vector<T>& values) {
  return from_values({static_cast<std::int64_t>(values.size())}, values);
}

// One number goes into the JSON, one for each channel into a tensor.
template <class T, class Stored>
void put_values(Json& json, TensorFile& file, const std::string& layer, const char* key,
                const std::vector<T>& values, Stored) {
  if (values.size() == 1)
    json[key] = values[0];
  else if (!values.empty())
    file.tensors[layer + "." + key] = bytes_tensor(std::vector<Stored>(values.begin(), values.end()));
}

void put(const IntProduct& l, Json& json, TensorFile& file) {
  json[l.is_linear() ? "linear" : "conv2d"] = l.name;
  json["weight"] = std::vector<std::int64_t>(l.weight.shape().begin(), l.weight.shape().end());
  json["weight_bits"] = l.weight_bits;
  put_size(json, "stride", l.options.stride, 1);
  put_size(json, "padding", l.options.padding, 0);
  put_size(json, "dilation", l.options.dilation, 1);
  if (l.options.groups != 1) json["groups"] = l.options.groups;
  json["bias_bits"] = l.bias_bits;
  const Tensor weight = l.weight.contiguous();
  file.tensors[l.name + ".weight"] =
      bytes_tensor(pack_codes(weight.values<std::int8_t>(), container_bits(l.weight_bits)));
  file.tensors[l.name + ".bias"] = l.bias_bits <= 16
                                       ? bytes_tensor(std::vector<std::int16_t>(l.bias.begin(), l.bias.end()))
                                       : bytes_tensor(l.bias);
  put_values(json, file, l.name, "weight_scale", l.weight_scale, double{});
  put_values(json, file, l.name, "multiplier", l.multiplier, std::int32_t{});
  put_values(json, file, l.name, "shift", l.shift, std::uint8_t{});
  json["out"] = format_json(l.out);
}

void put(const IntMaxPool& l, Json& json, TensorFile&) {
  json["max_pool2d"] = l.name;
  json["kernel"] = pair_of(l.kernel);
  put_size(json, "stride", l.options.stride, 0);
  put_size(json, "padding", l.options.padding, 0);
  put_size(json, "dilation", l.options.dilation, 1);
  if (l.options.ceil_mode) json["ceil_mode"] = true;
}

void put(const IntFlatten& l, Json& json, TensorFile&) { json["flatten"] = l.name; }

TensorFile to_file(const IntModel& model) {
  TensorFile file;
  const IntInput& input = model.input;
  Json json;
  Json& in = json["input"] = format_json(input.format);
  in["image"] = std::vector<std::int64_t>(input.image.begin(), input.image.end());
  if (input.pixel_divisor != 255) in["pixel_divisor"] = input.pixel_divisor;
  // Of one bit: unsigned, as codes of 0 and 1 are.
  const std::vector<std::int8_t> codes(input.codes.begin(), input.codes.end());
  file.tensors["input.codes"] = bytes_tensor(pack_codes(codes, container_bits(input.format.bit_width)));
  json["layers"] = Json::array();
  for (const IntLayer& layer : model.layers)
    std::visit([&](const auto& l) { put(l, json["layers"].emplace_back(Json::object()), file); }, layer);
  const std::string text = json.dump();
  file.tensors["model"] = bytes_tensor(std::vector<std::uint8_t>(text.begin(), text.end()));
  std::map<std::string, std::vector<std::byte>> payload;
  for (const auto& [name, tensor] : file.tensors)
    visit(tensor.dtype(), [&, &name = name, &tensor = tensor](auto kind) {
      const auto bytes = std::as_bytes(tensor.values<decltype(kind)>());
      payload[name] = {bytes.begin(), bytes.end()};
    });
  file.metadata = {{"format", "nbq"}, {"version", kNbqVersion}, {"sha256", payload_hash(payload)}};
  return file;
}

}  // namespace

std::vector<std::byte> serialize_nbq(const IntModel& model) {
  check(model);
  return serialize_safetensors(to_file(model));
}

bool is_nbq(const std::filesystem::path& path) { return path.extension() == ".nbq"; }

void save_nbq(const std::filesystem::path& path, const IntModel& model) {
  write_file_atomically(path, serialize_nbq(model));
}

IntModel load_nbq(const std::filesystem::path& path) {
  const MappedFile file(path);
  try {
    return parse_nbq(file.bytes());
  } catch (const FormatError& error) {
    throw FormatError(path.string() + ": " + error.reason(), error.offset());
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(path.string() + ": " + error.what());
  }
}

std::string sha256_of(const IntModel& model) { return to_file(model).metadata.at("sha256"); }

}  // namespace nibble::quant
