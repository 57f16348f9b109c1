#include "tests/support/golden.h"

#include <bit>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <stdexcept>

namespace nibble::test {

namespace {

std::filesystem::path path_of(const std::string& file) {
  const std::filesystem::path ours = NIBBLE_SOURCE_DIR "/tests/golden";
  const char* const given = std::getenv("NIBBLE_GOLDEN_DIR");
  if (given == nullptr || *given == '\0') return ours / file;
  const std::filesystem::path set = given;
  if (!std::filesystem::is_directory(set))
    throw std::runtime_error("NIBBLE_GOLDEN_DIR is \"" + set.string() + "\", expected a directory");
  return std::filesystem::exists(set / file) ? set / file : ours / file;
}

}  // namespace

Golden::Golden(const std::string& file_name) : file_name_(file_name + ".safetensors") {
  file_ = load_safetensors(path_of(file_name_));
  if (file_.tensors.empty())
    throw std::runtime_error("golden file " + path_of(file_name_).string() + " holds no tensors");
}

int Golden::cases() const {
  const int count = std::stoi(meta("cases"));
  if (count < 1) throw std::runtime_error("golden file " + file_name_ + " has no cases");
  return count;
}

Tensor Golden::tensor(const std::string& name) const {
  const auto found = file_.tensors.find(name);
  if (found == file_.tensors.end())
    throw std::runtime_error("golden file " + file_name_ + " has no tensor " + name);
  return found->second;
}

std::string Golden::meta(const std::string& name) const {
  const auto found = file_.metadata.find(name);
  if (found == file_.metadata.end())
    throw std::runtime_error("golden file " + file_name_ + " has no metadata " + name);
  return found->second;
}

double Golden::number(int index, const std::string& name) const { return std::stod(meta(index, name)); }

bool Golden::flag(int index, const std::string& name) const {
  const std::string text = meta(index, name);
  if (text == "1" || text == "True") return true;
  if (text == "0" || text == "False") return false;
  throw std::runtime_error("golden file " + file_name_ + ": " + name + " is \"" + text +
                           "\", expected a boolean");
}

std::vector<std::int64_t> Golden::list(int index, const std::string& name) const {
  std::vector<std::int64_t> values;
  const std::string text = meta(index, name);
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    values.push_back(std::stoll(text.substr(at, comma - at)));
    at = comma + 1;
  }
  return values;
}

namespace {

template <class F>
void for_each_pair(const Tensor& a, const Tensor& b, F f) {
  if (a.shape() != b.shape())
    throw std::runtime_error(detail::concat("compared tensors have shapes ", a.shape(), " and ", b.shape()));
  const Tensor x = a.to(DType::float64).contiguous(), y = b.to(DType::float64).contiguous();
  for (std::int64_t i = 0; i < x.numel(); ++i) f(x.data<double>()[i], y.data<double>()[i]);
}

}  // namespace

double relative_error(const Tensor& actual, const Tensor& expected, double floor) {
  double error = 0, largest = floor;
  for_each_pair(actual, expected, [&](double a, double e) {
    if (std::isfinite(e)) largest = std::max(largest, std::abs(e));
    if (a == e || (std::isnan(a) && std::isnan(e))) return;
    const double difference = std::abs(a - e);
    error = std::isnan(difference) ? std::numeric_limits<double>::infinity() : std::max(error, difference);
  });
  return error / largest;
}

bool same_elements(const Tensor& actual, const Tensor& expected) {
  if (actual.shape() != expected.shape()) return false;
  bool same = true;
  for_each_pair(actual, expected,
                [&](double a, double e) { same &= a == e || (std::isnan(a) && std::isnan(e)); });
  return same;
}

std::int64_t max_ulps(const Tensor& actual, const Tensor& expected) {
  const auto ordered = [](double value) {
    const std::int32_t bits = std::bit_cast<std::int32_t>(static_cast<float>(value));
    return std::int64_t{bits < 0 ? std::numeric_limits<std::int32_t>::min() - bits : bits};
  };
  std::int64_t most = 0;
  for_each_pair(actual, expected, [&](double a, double e) {
    most = std::max(most, std::isnan(a) || std::isnan(e) ? std::numeric_limits<std::int64_t>::max()
                                                         : std::abs(ordered(a) - ordered(e)));
  });
  return most;
}

}  // namespace nibble::test
