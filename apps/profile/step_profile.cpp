#include "apps/profile/step_profile.h"

#include <fmt/format.h>

namespace nibble {
namespace {

std::string shape_text(const Shape& shape) {
  return shape.rank() == 0 ? "1" : fmt::format("{}", fmt::join(shape.begin(), shape.end(), "x"));
}

std::string shapes_text(std::span<const Variable> inputs, const Tensor& out) {
  std::string text;
  for (const Variable& input : inputs) text += shape_text(input.shape()) + " ";
  return text + "-> " + shape_text(out.shape());
}

}  // namespace

// The bookkeeping of a row comes before the clock is read again, so that nobody pays for it.
void StepProfile::charge(std::size_t row) {
  rows_[row].seconds += elapsed_;
  ++rows_[row].calls;
  last_ = Clock::now();
}

std::size_t StepProfile::find(const char* name, std::int64_t place, const char* phase) {
  const auto [entry, is_new] = index_.try_emplace(Key{name, place, phase}, rows_.size());
  if (is_new) rows_.push_back({.name = name, .shapes = {}, .phase = phase});
  return entry->second;
}

void StepProfile::mark(const char* name) {
  elapsed_ = std::chrono::duration<double>(Clock::now() - last_).count();
  charge(find(name, -1, "-"));
}

void StepProfile::end_step() {
  place_ = 0;
  backward_.clear();
}

void StepProfile::on_forward(const char* name, std::span<const Variable> inputs, const Variable& out,
                             std::int64_t intermediate) {
  elapsed_ = std::chrono::duration<double>(Clock::now() - last_).count();
  const std::int64_t place = place_++;
  const std::size_t forward = find(name, place, "forward");
  if (rows_[forward].calls == 0) {
    rows_[forward].shapes = shapes_text(inputs, out.value());
    rows_[forward].cost = forward_cost(name, inputs, out.value(), intermediate);
  }
  if (out.requires_grad()) {
    const std::size_t backward = find(name, place, "backward");
    if (rows_[backward].calls == 0) {
      rows_[backward].shapes = rows_[forward].shapes;
      rows_[backward].cost = backward_cost(name, inputs, out.value(), intermediate);
    }
    backward_[out.node()->sequence()] = backward;
  }
  charge(forward);
}

void StepProfile::on_backward(const Node& node) {
  elapsed_ = std::chrono::duration<double>(Clock::now() - last_).count();
  if (const auto found = backward_.find(node.sequence()); found != backward_.end()) charge(found->second);
}

}  // namespace nibble
