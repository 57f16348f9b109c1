#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <vector>

#include "quant/integer/model.h"

namespace nibble::quant {

// The .nbq file (docs/integer-semantics.md, section 11): a safetensors container of
//
//     model           U8: JSON, the layers with their sizes, widths and formats, and whatever is one number
//     input.codes     U8: the codes of the 256 pixel values, packed
//     NAME.weight     U8: weights in row-major order, packed (container.h)
//     NAME.bias       I16 or I32 [K]
//     NAME.multiplier I32 [K], NAME.shift U8 [K], NAME.weight_scale F64 [K]: where there is one for each channel
//
// with the metadata format "nbq", version "1", and sha256, of the bytes of all tensors in order of their names. It holds
// no order that a processor prefers: loading packs for the tier in use.

std::vector<std::byte> serialize_nbq(const IntModel& model);
// Throws FormatError on anything malformed, and std::invalid_argument where check() refuses the model.
IntModel parse_nbq(std::span<const std::byte> bytes);

// Whether a file of this name is meant to be one.
bool is_nbq(const std::filesystem::path& path);

// Atomic. Errors name the path. Reading maps the file.
void save_nbq(const std::filesystem::path& path, const IntModel& model);
IntModel load_nbq(const std::filesystem::path& path);

// The file's name for its contents, as 64 hexadecimal digits.
std::string sha256_of(const IntModel& model);

}  // namespace nibble::quant
