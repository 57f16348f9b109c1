#include "apps/terminal/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <mutex>

#include "apps/terminal/live_lines.h"

namespace nibble {
namespace {

std::string clock_text(double seconds) {
  const auto s = static_cast<std::int64_t>(seconds + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{:02}:{:02}", s / 60, s % 60);
}

// Whole blocks and one of eight partial ones, as tqdm's.
std::string bar_text(double share, int width) {
  static const char* const kPartial[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
  const int eighths = static_cast<int>(share * width * 8 + 1e-9);
  std::string bar;
  for (int i = 0; i < eighths / 8; ++i) bar += "█";
  int used = eighths / 8;
  if (eighths % 8 != 0) {
    bar += kPartial[eighths % 8];
    ++used;
  }
  return bar + std::string(static_cast<std::size_t>(width - used), ' ');
}

// The terminal that all bars share.
struct Screen {
  const bool is_terminal = isatty(STDERR_FILENO) != 0;
  std::mutex mutex;
  LiveLines lines;
};

Screen& screen() {
  static Screen instance;
  return instance;
}

winsize terminal_size() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0)
    return {.ws_row = 24, .ws_col = 80, .ws_xpixel = 0, .ws_ypixel = 0};
  return size;
}

// A terminal that is gone, or a full disk, is no reason to stop training: whoever reads the status of
// standard output in the end learns of it.
void write(const std::string& text, std::FILE* out = stderr) {
  std::fputs(text.c_str(), out);
  std::fflush(out);
}

}  // namespace

std::string ProgressBar::format(const std::string& label, std::int64_t done, std::int64_t total,
                                double seconds, double accuracy, double loss, int width) {
  const double share = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1;
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  const std::string left = rate > 0 ? clock_text(static_cast<double>(total - done) / rate) : "?";
  const std::string bar = width > 0 ? "|" + bar_text(share, width) + "| " : " ";
  return fmt::format("{}: {:3.0f}%{}{}/{} [{}<{}, {:.1f}it/s, acc={:.4f}, loss={:.4f}]", label, 100 * share,
                     bar, done, total, clock_text(seconds), left, rate, accuracy, loss);
}

ProgressBar::ProgressBar(std::string label, std::int64_t total)
    : label_(std::move(label)), total_(total), begin_(Clock::now()), drawn_(begin_) {}

ProgressBar::~ProgressBar() {
  if (!screen().is_terminal) return;
  const std::lock_guard lock(screen().mutex);
  write(screen().lines.close(this));
}

void ProgressBar::update(std::int64_t done, double accuracy, double loss) {
  const Clock::time_point now = Clock::now();
  const double seconds = std::chrono::duration<double>(now - begin_).count();
  if (screen().is_terminal) {
    if (done < total_ && now - drawn_ < std::chrono::milliseconds(100)) return;
    drawn_ = now;
    constexpr int kWidth = 10;
    const winsize size = terminal_size();
    const std::size_t room = size.ws_col - 1u;  // a full line would move the cursor to the next
    std::string line = format(label_, done, total_, seconds, accuracy, loss, 0);
    if (line.size() + kWidth + 2 <= room)
      line = format(label_, done, total_, seconds, accuracy, loss, kWidth);
    else if (line.size() > room)
      line.resize(room);
    const std::lock_guard lock(screen().mutex);
    write(screen().lines.set(this, line, size.ws_row - 1u));
  } else {
    const std::int64_t tenths = total_ > 0 ? done * 10 / total_ : 10;
    if (tenths <= tenths_ && done < total_) return;
    tenths_ = tenths;
    write(format(label_, done, total_, seconds, accuracy, loss, 0) + "\n");
  }
}

void print_line(const std::string& line, std::FILE* out) {
  const std::lock_guard lock(screen().mutex);
  write(screen().lines.erase());
  write(line + "\n", out);
  write(screen().lines.draw());
}

}  // namespace nibble
