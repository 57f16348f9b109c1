#include "tensor/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "tensor/atomic_file.h"
#include "tensor/factory.h"
#include "tensor/format_error.h"

namespace nibble {
namespace {

using Json = nlohmann::json;
static_assert(std::endian::native == std::endian::little,
              "safetensors data is little-endian and copied as it is");

constexpr std::uint64_t kPrefix = 8;
// The reference implementation's bound; a header is a few kilobytes.
constexpr std::uint64_t kMaxHeader = 100'000'000;
constexpr int kMaxDepth = 4;  // file, entry, shape: nothing legitimate nests deeper

struct StoredType {
  const char* name;
  DType dtype;  // in memory
  std::uint64_t size;
};

// F16, BF16 and BOOL have no dtype of their own here: they are widened on reading and never written.
constexpr StoredType kTypes[] = {
    {"F32", DType::float32, 4}, {"F64", DType::float64, 8}, {"I8", DType::int8, 1},
    {"U8", DType::uint8, 1},    {"I16", DType::int16, 2},   {"I32", DType::int32, 4},
    {"I64", DType::int64, 8},   {"F16", DType::float32, 2}, {"BF16", DType::float32, 2},
    {"BOOL", DType::uint8, 1},
};

struct Entry {
  std::string name;
  const StoredType* type;
  Shape shape;
  std::uint64_t begin, end;  // within the data section
};

[[noreturn]] void fail(const std::string& what, std::uint64_t offset) {
  throw FormatError("safetensors: " + what, offset);
}

std::string shortened(const std::string& name) {
  return name.size() <= 80 ? name : name.substr(0, 77) + "...";
}

// Rejects what nlohmann-json would accept silently: a key that occurs twice, and absurd nesting.
Json parse_header(const char* first, const char* last) {
  std::vector<std::set<std::string>> keys;
  const auto callback = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > kMaxDepth) fail("header nests deeper than a header does", kPrefix);
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second)
        fail("\"" + shortened(key) + "\" occurs twice in the header", kPrefix);
    }
    return true;
  };
  try {
    return Json::parse(first, last, callback);
  } catch (const Json::parse_error& error) {
    fail("header is not JSON", kPrefix + (error.byte > 0 ? error.byte - 1 : 0));
  } catch (const Json::exception&) {
    fail("header is not JSON", kPrefix);
  }
}

std::uint64_t natural(const Json& value, const std::string& what) {
  if (!value.is_number_unsigned()) fail(what + " is not a natural number", kPrefix);
  return value.get<std::uint64_t>();
}

const StoredType* find_type(std::string_view name) {
  const auto* const found =
      std::find_if(std::begin(kTypes), std::end(kTypes), [&](const StoredType& t) { return name == t.name; });
  return found == std::end(kTypes) ? nullptr : found;
}

Entry parse_entry(const std::string& key, const Json& value, std::uint64_t data_size) {
  const std::string name = "\"" + shortened(key) + "\"";
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") || !value.contains("shape") ||
      !value.contains("data_offsets"))
    fail(name + " has not exactly dtype, shape and data_offsets", kPrefix);

  const Json& dtype = value["dtype"];
  const StoredType* const type = dtype.is_string() ? find_type(dtype.get_ref<const std::string&>()) : nullptr;
  if (type == nullptr) fail(name + " has an unknown dtype", kPrefix);

  const Json& sizes = value["shape"];
  if (!sizes.is_array() || sizes.size() > Shape::kMaxRank)
    fail(name + " has no shape of rank 0 to 8", kPrefix);
  Shape shape = Shape::filled(static_cast<int>(sizes.size()), 0);
  // A size of 0 does not excuse the others: strides are products of them.
  std::uint64_t extent = type->size;
  bool is_empty = false;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::uint64_t size = natural(sizes[i], name + ": a size");
    is_empty |= size == 0;
    if (__builtin_mul_overflow(extent, std::max<std::uint64_t>(size, 1), &extent) || extent > INT64_MAX)
      fail(name + " is too large", kPrefix);
    shape[static_cast<int>(i)] = static_cast<std::int64_t>(size);
  }

  const std::uint64_t bytes = is_empty ? 0 : extent;

  const Json& offsets = value["data_offsets"];
  if (!offsets.is_array() || offsets.size() != 2) fail(name + ": data_offsets is not a pair", kPrefix);
  const std::uint64_t begin = natural(offsets[0], name + ": an offset");
  const std::uint64_t end = natural(offsets[1], name + ": an offset");
  if (begin > end || end > data_size) fail(name + " lies outside the file", kPrefix);
  if (end - begin != bytes)
    fail(name + " has " + std::to_string(end - begin) + " bytes, its dtype and shape need " +
             std::to_string(bytes),
         kPrefix);
  return {key, type, shape, begin, end};
}

float half_to_float(std::uint16_t half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16;
  const std::uint32_t exponent = half >> 10 & 0x1F, fraction = half & 0x3FF;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000 | fraction << 13);
  const float magnitude = exponent == 0 ? static_cast<float>(fraction) * 0x1p-24f
                                        : std::bit_cast<float>((exponent + 112) << 23 | fraction << 13);
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

Tensor read_tensor(const StoredTensor& stored) {
  Tensor tensor = empty(stored.shape, find_type(stored.type)->dtype);
  const std::size_t bytes = stored.bytes.size();
  if (bytes == 0) return tensor;
  const std::byte* const source = stored.bytes.data();
  const std::string_view type = stored.type;
  if (type == "F16" || type == "BF16") {
    for (std::size_t i = 0; float& value : tensor.mutable_values<float>()) {
      std::uint16_t bits;
      std::memcpy(&bits, source + 2 * i++, 2);
      value =
          type == "F16" ? half_to_float(bits) : std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
    }
  } else {
    visit(tensor.dtype(),
          [&](auto kind) { std::memcpy(tensor.mutable_data<decltype(kind)>(), source, bytes); });
  }
  return tensor;
}

const char* stored_name(DType dtype) {
  return std::find_if(std::begin(kTypes), std::end(kTypes), [&](const auto& t) { return t.dtype == dtype; })
      ->name;
}

}  // namespace

TensorFileView view_safetensors(std::span<const std::byte> bytes) {
  if (bytes.size() < kPrefix) fail("file of " + std::to_string(bytes.size()) + " bytes has no header", 0);
  std::uint64_t header_size = 0;
  std::memcpy(&header_size, bytes.data(), kPrefix);
  if (header_size > kMaxHeader || header_size > bytes.size() - kPrefix) {
    // Their first bytes read as a length; so does an honest header of 640 bytes as the start of a pickle.
    const auto starts_with = [&](std::string_view magic) {
      return std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
    };
    if (starts_with("PK\x03\x04") || starts_with("\x80\x02"))
      fail("this is a PyTorch pickle; convert it with scripts/pth2safetensors.py", 0);
    fail("header length " + std::to_string(header_size) + " exceeds the file", 0);
  }

  const char* const text = reinterpret_cast<const char*>(bytes.data()) + kPrefix;
  const Json header = parse_header(text, text + header_size);
  if (!header.is_object()) fail("header is not an object", kPrefix);

  const std::uint64_t data_offset = kPrefix + header_size;
  const std::uint64_t data_size = bytes.size() - data_offset;
  TensorFileView file;
  std::vector<Entry> entries;
  for (const auto& [key, value] : header.items()) {
    if (key != "__metadata__") {
      entries.push_back(parse_entry(key, value, data_size));
      continue;
    }
    if (!value.is_object()) fail("__metadata__ is not an object", kPrefix);
    for (const auto& [name, text_value] : value.items()) {
      if (!text_value.is_string()) fail("metadata \"" + shortened(name) + "\" is not a string", kPrefix);
      file.metadata[name] = text_value.get<std::string>();
    }
  }

  // Every byte of the data belongs to exactly one tensor.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t position = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != position)
      fail("\"" + shortened(entry.name) +
               (entry.begin < position ? "\" overlaps another tensor" : "\" leaves a gap before it"),
           data_offset + entry.begin);
    position = entry.end;
  }
  if (position != data_size) fail("bytes after the last tensor", data_offset + position);

  for (const Entry& entry : entries)
    file.tensors[entry.name] = {entry.type->name, entry.shape,
                                bytes.subspan(data_offset + entry.begin, entry.end - entry.begin)};
  return file;
}

TensorFile parse_safetensors(std::span<const std::byte> bytes) {
  TensorFileView view = view_safetensors(bytes);
  TensorFile file{{}, std::move(view.metadata)};
  for (const auto& [name, stored] : view.tensors) file.tensors[name] = read_tensor(stored);
  return file;
}

std::vector<std::byte> serialize_safetensors(const TensorFile& file) {
  // Widest dtype first, so that each tensor is aligned to its elements; by name within a width.
  std::vector<std::pair<std::string, Tensor>> ordered(file.tensors.begin(), file.tensors.end());
  std::stable_sort(ordered.begin(), ordered.end(), [](const auto& a, const auto& b) {
    return size_of(a.second.dtype()) > size_of(b.second.dtype());
  });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!file.metadata.empty()) header["__metadata__"] = file.metadata;
  std::uint64_t position = 0;
  for (const auto& [name, tensor] : ordered) {
    NIBBLE_CHECK(name != "__metadata__", "safetensors: a tensor cannot be called __metadata__");
    const std::uint64_t end = position + static_cast<std::uint64_t>(tensor.numel()) * size_of(tensor.dtype());
    header[name] = {{"dtype", stored_name(tensor.dtype())},
                    {"shape", std::vector<std::int64_t>(tensor.shape().begin(), tensor.shape().end())},
                    {"data_offsets", {position, end}}};
    position = end;
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');

  std::vector<std::byte> bytes(kPrefix + text.size() + position);
  const std::uint64_t header_size = text.size();
  std::memcpy(bytes.data(), &header_size, kPrefix);
  std::memcpy(bytes.data() + kPrefix, text.data(), text.size());
  std::byte* out = bytes.data() + kPrefix + text.size();
  for (const auto& [name, tensor] : ordered) {
    const Tensor dense = tensor.contiguous();
    visit(dense.dtype(), [&](auto kind) {
      const auto values = std::as_bytes(dense.values<decltype(kind)>());
      out = std::copy(values.begin(), values.end(), out);
    });
  }
  return bytes;
}

TensorFile load_safetensors(const std::filesystem::path& path) {
  try {
    return parse_safetensors(read_file(path));
  } catch (const FormatError& error) {
    throw FormatError(path.string() + ": " + error.reason(), error.offset());
  }
}

void save_safetensors(const std::filesystem::path& path, const TensorFile& file) {
  write_file_atomically(path, serialize_safetensors(file));
}

}  // namespace nibble
