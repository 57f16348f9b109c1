#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>

namespace nibble {

// A progress bar as tqdm draws them, on standard error:
//   Epoch 1/3:  43%|####3     | 403/938 [00:01<00:01, 310.2it/s, acc=0.5079, loss=1.9823]
// On a terminal it is redrawn at most ten times a second, below those that were opened before it and go on;
// elsewhere a plain line is written at each tenth and at the end. Each may belong to a thread of its own.
class ProgressBar {
 public:
  using Clock = std::chrono::steady_clock;

  ProgressBar(std::string label, std::int64_t total);
  ~ProgressBar();  // ends the line
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void update(std::int64_t done, double accuracy, double loss);

  // The line for a state; `width` columns for the bar itself, 0 for none.
  static std::string format(const std::string& label, std::int64_t done, std::int64_t total, double seconds,
                            double accuracy, double loss, int width);

 private:
  std::string label_;
  std::int64_t total_;
  Clock::time_point begin_, drawn_;
  std::int64_t tenths_ = 0;
};

// Writes a line while bars may be open; on a terminal above them.
void print_line(const std::string& line, std::FILE* out = stdout);

}  // namespace nibble
