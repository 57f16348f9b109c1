#pragma once

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <string>
#include <vector>

namespace nibble {

// Unlike CLI::Range this refuses NaN too.
inline CLI::Validator between(double low, double high, const std::string& text) {
  return CLI::Validator(
      [low, high, text](std::string& input) {
        double value = 0;
        const bool inside = CLI::detail::lexical_cast(input, value) && value >= low && value <= high;
        return inside ? std::string() : "must be " + text + ", not " + input;
      },
      "");
}

// A whole number of 64 bits. CLI11 would read -3 as 2^64 - 3, and 2^64 as 2^64 - 1.
inline CLI::Validator seed() {
  return CLI::Validator(
      [](std::string& input) {
        std::uint64_t value = 0;
        const auto [end, error] = std::from_chars(input.data(), input.data() + input.size(), value);
        const bool whole = error == std::errc() && end == input.data() + input.size();
        return whole ? std::string() : "must be a whole number from 0 to 2^64 - 1, not " + input;
      },
      "");
}

// The help names the choices in the description: one line per option.
inline CLI::Validator one_of(const std::vector<std::string>& choices) {
  CLI::Validator validator = CLI::IsMember(choices);
  validator.description("");
  return validator;
}

}  // namespace nibble
