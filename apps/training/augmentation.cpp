#include "apps/training/augmentation.h"

#include <fmt/core.h>

#include <cmath>
#include <exception>

#include "tensor/check.h"

namespace nibble {
namespace {

double parse_degrees(const std::string& text, const std::string& whole) {
  std::size_t used = 0;
  double value = NAN;
  try {
    value = std::stod(text, &used);
  } catch (const std::exception&) {
    used = 0;  // reported below with everything else that is no angle
  }
  NIBBLE_CHECK(used != 0 && used == text.size() && std::abs(value) <= 360,
               "--rotate: expected degrees (45) or a range (LO,HI) within -360..360, not \"", whole, "\"");
  return value;
}

}  // namespace

Augmentation parse_rotation(const std::string& text) {
  const std::size_t comma = text.find(',');
  if (comma == std::string::npos) {
    const double degrees = parse_degrees(text, text);
    NIBBLE_CHECK(degrees >= 0, "--rotate: a single number must not be negative, got ", text, "; give LO,HI");
    return {true, -degrees, degrees};
  }
  const double low = parse_degrees(text.substr(0, comma), text);
  const double high = parse_degrees(text.substr(comma + 1), text);
  NIBBLE_CHECK(low <= high, "--rotate: the range ", text, " is empty");
  return {true, low, high};
}

void to_metadata(const Augmentation& augmentation, std::map<std::string, std::string>& metadata) {
  metadata["rotate"] =
      augmentation.enabled ? fmt::format("{},{}", augmentation.low, augmentation.high) : "none";
}

Augmentation augmentation_from_metadata(const std::map<std::string, std::string>& metadata) {
  const auto found = metadata.find("rotate");
  if (found == metadata.end()) return {};
  if (found->second == "none") return {false, 0, 0};
  return parse_rotation(found->second);
}

data::Augmentation transforms_of(const Augmentation& augmentation) {
  if (!augmentation.enabled) return {};
  return {data::RandomHorizontalFlip{1.0}, data::RandomRotation(augmentation.low, augmentation.high)};
}

}  // namespace nibble
