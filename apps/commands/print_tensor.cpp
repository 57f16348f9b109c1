#include "apps/commands/print_tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace nibble {
namespace {

constexpr std::int64_t kSummarizeAbove = 1000, kEdge = 3;

class Formatter {
 public:
  explicit Formatter(const Tensor& tensor) : decimals_(is_floating_point(tensor.dtype()) ? 4 : 0) {
    summarize_ = tensor.numel() > kSummarizeAbove;
    visit_shown(tensor, [this](double value) { width_ = std::max(width_, number(value).size()); });
    write(tensor, 0);
  }
  std::string text() { return std::move(text_); }

 private:
  std::string number(double value) const { return fmt::format("{:.{}f}", value, decimals_); }

  std::vector<std::int64_t> shown_indices(std::int64_t size) const {
    std::vector<std::int64_t> indices;
    for (std::int64_t i = 0; i < size; ++i)
      if (!summarize_ || size <= 2 * kEdge || i < kEdge || i >= size - kEdge) indices.push_back(i);
    return indices;
  }

  template <class F>
  void visit_shown(const Tensor& tensor, F&& f) const {
    if (tensor.rank() == 0) return f(tensor.item());
    for (std::int64_t i : shown_indices(tensor.size(0))) visit_shown(tensor.select(0, i), f);
  }

  void write(const Tensor& tensor, std::size_t depth) {
    if (tensor.rank() == 0) {
      text_ += fmt::format("{:>{}}", number(tensor.item()), width_);
      return;
    }
    const bool row = tensor.rank() == 1;
    const std::string separator = row ? ", "
                                      : "," + std::string(static_cast<std::size_t>(tensor.rank()) - 1, '\n') +
                                            std::string(depth + 1, ' ');
    text_ += "[";
    std::int64_t previous = -1;
    for (std::int64_t i : shown_indices(tensor.size(0))) {
      if (previous >= 0) text_ += separator;
      if (i != previous + 1) text_ += "..." + separator;
      write(tensor.select(0, i), depth + 1);
      previous = i;
    }
    text_ += "]";
  }

  int decimals_;
  bool summarize_;
  std::size_t width_ = 0;
  std::string text_;
};

}  // namespace

std::string format_tensor(const Tensor& tensor) { return Formatter(tensor).text(); }

std::string format_numbers(const Tensor& tensor) {
  const Tensor row = tensor.contiguous();
  if (row.numel() == 1) return fmt::format("{}", row.values<float>()[0]);
  return fmt::format("[{}]", fmt::join(row.values<float>(), ", "));
}

}  // namespace nibble
