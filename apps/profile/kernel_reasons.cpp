#include "apps/profile/kernel_reasons.h"

#include <fmt/format.h>

#include <algorithm>

#include "tensor/parallel.h"
#include "tensor/simd/isa.h"

namespace nibble {
namespace {

constexpr double kFaster = 1.05;  // less is no difference

double us(double seconds) { return 1e6 * seconds; }
std::string bits_text(int bits) { return bits == 1 ? "1 bit" : fmt::format("{} bits", bits); }

class Explanation {
 public:
  Explanation(const KernelReport& report, const KernelResults& results)
      : report_(report), results_(results), bytes_(report.at(8, 8)) {}

  std::vector<std::string> sentences() {
    say_setting();
    say_bound("8 bits, weights hot", bytes_, bytes_.hot, results_.caches.holding(bytes_.bytes));
    for (const int bits : {4, 2, 1}) say_width(report_.at(bits, 8));
    say_overheads();
    if (bytes_.cold) say_cold();
    say_bits();
    say_verdict();
    return sentences_;
  }

 private:
  template <class... A>
  void say(fmt::format_string<A...> format, A&&... a) {
    sentences_.push_back(fmt::format(format, std::forward<A>(a)...));
  }

  std::string rows_text() const {
    return report_.shape.m == 1 ? "1 row" : fmt::format("{} rows", report_.shape.m);
  }

  void say_setting() {
    const KernelShape& s = report_.shape;
    say("Why, at {}, {}, {} thread{}:", s.name(), name_of(active_isa()), num_threads(),
        num_threads() == 1 ? "" : "s");
    std::string places;
    for (const int bits : {8, 4, 2, 1}) {
      const double bytes = report_.at(bits, 8).weight_bytes;
      places += fmt::format("{}{} at {} ({})",
                            bits == 8   ? ""
                            : bits == 1 ? " and "
                                        : ", ",
                            bytes_text(bytes), bits_text(bits), results_.caches.holding(bytes));
    }
    say("- Every weight meets {} of activations. The weights are {}; in brackets the smallest place that "
        "holds them.",
        rows_text(), places);
  }

  void say_bound(const std::string& what, const KernelCell& cell, const KernelTiming& timing,
                 const std::string& where) {
    const std::string bound = timing.share.bound();
    std::string meaning;
    if (bound == "compute")
      meaning = "compute-bound, time follows the products and not the bytes.";
    else if (bound == "memory")
      meaning = "memory-bound, time follows the bytes.";
    else if (num_threads() == 1 && cell.parts->rows > timing.seconds / 4)
      meaning = "neither bounds it, the activations do: see below.";
    else
      meaning = "neither bounds it: it waits for latency and fixed costs.";
    say("- {}: {:.1f} us, {:.0f} GOP/s = {:.0f} % of the peak of such products; {:.1f} GB/s of weights; "
        "reading from {} takes {:.0f} % of the bandwidth measured: {}",
        what, us(timing.seconds), 1e-9 * report_.shape.operations() / timing.seconds,
        100 * timing.share.operations, 1e-9 * cell.weight_bytes / timing.seconds, where,
        100 * timing.share.bytes, meaning);
  }

  // What fewer bytes can save at most, given what 8 bits wait for.
  std::string saving_text(const KernelCell& cell) const {
    const double saved_bytes = bytes_.weight_bytes - cell.weight_bytes;
    const double saved = saved_bytes / results_.limits.bandwidth.of(bytes_.bytes);
    const std::string less =
        fmt::format("{} less to read save at most {:.1f} us", bytes_text(saved_bytes), us(saved));
    const std::string bound = bytes_.hot.share.bound();
    const IntegerPeaks& peaks = results_.limits.peaks;
    if (bound != "memory" && peaks.codes > kFaster * peaks.bytes)
      return fmt::format(
          "their products are cheaper, as several fit int16 before they are widened (peak {:.0f} GOP/s "
          "instead of {:.0f}); {}",
          1e-9 * peaks.codes, 1e-9 * peaks.bytes, less);
    if (bound == "memory") return "8 bits wait for memory, and " + less;
    if (bound == "compute") return "8 bits are compute-bound and the products are as many; " + less;
    return fmt::format("8 bits are in {} anyway; {}", results_.caches.holding(bytes_.weight_bytes), less);
  }

  std::string unpacking_text(const KernelCell& cell) const {
    const KernelParts& parts = *cell.parts;
    if (parts.expanded)
      return fmt::format("unpacking, a pass of its own, costs {:.1f} us ({:.0f} % of the time)",
                         us(parts.unpack), 100 * parts.unpack / cell.hot.seconds);
    return fmt::format(
        "unpacked in registers, the innermost kernel takes {:.1f} us (8 bits: {:.1f}), out of L1",
        us(parts.kernel), us(bytes_.parts->kernel));
  }

  void say_width(const KernelCell& cell) {
    const double ratio = bytes_.hot.seconds / cell.hot.seconds;
    std::string text = fmt::format("- {}, hot: {:.1f} us, {} as 8: {}; {}", bits_text(cell.weight_bits),
                                   us(cell.hot.seconds),
                                   ratio >= kFaster      ? fmt::format("{:.2f} times as fast", ratio)
                                   : ratio > 1 / kFaster ? std::string("as fast")
                                                         : fmt::format("{:.2f} times as slow", 1 / ratio),
                                   saving_text(cell), unpacking_text(cell));
    const double more = cell.parts->rows - bytes_.parts->rows;
    if (more > 0.05 * cell.hot.seconds)
      text += fmt::format(
          "; their zero point needs the sum of every row of activations, signed 8 bits {}: {:.1f} us",
          bytes_.parts->reads_rows ? "need none and read rows where they lie" : "do not", us(more));
    sentences_.push_back(text + ".");
  }

  void say_overheads() {
    if (num_threads() > 1) return;  // parts are those of one thread
    const KernelParts& parts = *bytes_.parts;
    const double total = bytes_.hot.seconds;
    const double rest = std::max(0.0, total - parts.rows - parts.kernel - parts.unpack);
    const std::string rows =
        parts.reads_rows
            ? "are for the rows of activations, which the kernel reads where they lie but for what is "
              "left of a tile"
            : fmt::format("bring {} of activations into the kernel's order, which n = {} columns share",
                          rows_text(), report_.shape.n);
    say("- Of the {:.1f} us at 8 bits, {:.1f} ({:.0f} %) {}; {:.1f} ({:.0f} %) are the innermost kernel at "
        "its speed out of L1; "
        "{:.1f} ({:.0f} %) are the rest: waiting for memory, results, calls.",
        us(total), us(parts.rows), 100 * parts.rows / total, rows, us(parts.kernel),
        100 * parts.kernel / total, us(rest), 100 * rest / total);
    const std::int64_t lanes = bytes_.lanes, padded = (report_.shape.n + lanes - 1) / lanes * lanes;
    if (padded > report_.shape.n)
      say("- n = {} fills as many of the {} lanes of its panels: {:.0f} % of the products are padding.",
          report_.shape.n, padded,
          100.0 * static_cast<double>(padded - report_.shape.n) / static_cast<double>(padded));
  }

  void say_cold() {
    say_bound("8 bits, weights cold", bytes_, *bytes_.cold, "memory");
    std::string text = "- Cold, against 8 bits:";
    for (const int bits : {4, 2, 1}) {
      const KernelCell& cell = report_.at(bits, 8);
      text += fmt::format(" {} {:.1f} us, {:.2f} times as fast, with {} of the bytes{}", bits_text(bits),
                          us(cell.cold->seconds), bytes_.cold->seconds / cell.cold->seconds,
                          bits == 4   ? "half"
                          : bits == 2 ? "a quarter"
                                      : "an eighth",
                          bits == 1 ? "." : ";");
    }
    sentences_.push_back(text);
  }

  void say_bits() {
    const KernelCell& bits = report_.at(1, 1);
    const KernelCell& floats = report_.at(kFloatBits, kFloatBits);
    if (bits.family == "bit-serial")
      say("- 1 bit by 1 is another kernel: it ANDs and counts bit planes, {:.1f} us, {:.2f} times the speed "
          "of 8 by 8 (the peak is {:.1f} times that of bytes, the weights an eighth); {:.1f} us of it bring "
          "activations into planes.",
          us(bits.hot.seconds), bytes_.hot.seconds / bits.hot.seconds,
          results_.limits.peaks.bits / results_.limits.peaks.bytes, us(bits.parts->rows));
    say("- float32 takes {:.1f} us: 8 bits are {:.2f} times as fast.", us(floats.hot.seconds),
        floats.hot.seconds / bytes_.hot.seconds);
  }

  void say_verdict() {
    const auto faster = [&](bool cold) {
      std::string widths;
      for (const int bits : {4, 2, 1}) {
        const KernelCell& cell = report_.at(bits, 8);
        const double ratio =
            cold ? bytes_.cold->seconds / cell.cold->seconds : bytes_.hot.seconds / cell.hot.seconds;
        if (ratio >= kFaster) widths += fmt::format("{}{}", widths.empty() ? "" : ", ", bits);
      }
      if (widths.empty()) return std::string("no width below 8 bits pays");
      return widths + (widths == "1" ? " bit pays" : " bits pay");
    };
    if (bytes_.cold)
      say("So with activations of 8 bits: hot, {}; cold, {}.", faster(false), faster(true));
    else
      say("So with activations of 8 bits and weights hot, {}.", faster(false));
  }

  const KernelReport& report_;
  const KernelResults& results_;
  const KernelCell& bytes_;
  std::vector<std::string> sentences_;
};

}  // namespace

std::vector<std::string> explain_kernels(const KernelReport& report, const KernelResults& results) {
  return Explanation(report, results).sentences();
}

}  // namespace nibble
