#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

#include "apps/profile/op_cost.h"
#include "autograd/op_observer.h"

namespace nibble {

// Where the time of training steps goes. Every moment of its life is charged to a row: to the operation
// that has just finished, or to what mark() names.
class StepProfile : public OpObserver {
 public:
  struct Row {
    std::string name;    // "conv2d", or what mark() was told
    std::string shapes;  // "64x1x28x28 8x1x3x3 8 -> 64x8x28x28"; empty for marks
    std::string phase;   // "forward", "backward" or "-" for marks
    double seconds = 0;  // over all steps
    OpCost cost{};       // of one call; zero for marks
    std::int64_t calls = 0;
  };

  using Rows = std::vector<Row>;

  void mark(const char* name);
  void end_step();  // what follows belongs to the next step

  const Rows& rows() const { return rows_; }  // in the order of their first appearance

  void on_forward(const char* name, std::span<const Variable> inputs, const Variable& out,
                  std::int64_t intermediate) override;
  void on_backward(const Node& node) override;

 private:
  using Clock = std::chrono::steady_clock;
  using Key = std::tuple<std::string, std::int64_t, std::string>;  // name, place in the step, phase
  std::size_t find(const char* name, std::int64_t place, const char* phase);
  void charge(std::size_t row);

  Rows rows_;
  std::map<Key, std::size_t> index_;
  std::unordered_map<std::uint64_t, std::size_t> backward_;  // rows by sequence number, for this step
  std::int64_t place_ = 0;
  Clock::time_point last_ = Clock::now();
  double elapsed_ = 0;
};

}  // namespace nibble
