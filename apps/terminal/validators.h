#pragma once

#include <CLI/CLI.hpp>
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

// CLI11 would read -3 as 2^64 - 3.
inline CLI::Validator not_negative() {
  return CLI::Validator(
      [](std::string& input) {
        return input.empty() || input.front() != '-' ? std::string() : "must not be negative, got " + input;
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
