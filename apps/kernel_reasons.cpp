#include "apps/kernel_reasons.h"

#include <fmt/format.h>

#include <algorithm>

#include "tensor/parallel.h"
#include "tensor/simd/isa.h"

namespace nibble {
namespace {

constexpr double kFaster = 1.05;  // less is no difference

double us(double seconds) { return 1e6 * seconds; }

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

  void say_setting() {
    const KernelShape& s = report_.shape;
    say("Why, at {}, {}, {} thread{}:", s.name(), name_of(active_isa()), num_threads(),
        num_threads() == 1 ? "" : "s");
    const auto place = [&](int bits) {
      const KernelCell& cell = report_.at(bits, 8);
      return fmt::format("{:.4g} KiB at {} bit{} ({})", cell.weight_bytes / 1024, bits, bits == 1 ? "" : "s",
                         results_.caches.holding(cell.weight_bytes));
    };
    say("- Every weight meets {} row{} of activations. The weights are {}, {}, {} and {}; in brackets the "
        "smallest place that holds them.",
        s.m, s.m == 1 ? "" : "s", place(8), place(4), place(2), place(1));
  }

  void say_bound(const std::string& what, const KernelCell& cell, const KernelTiming& timing,
                 const char* where) {
    const double share = 100 * std::max(timing.share.operations, timing.share.bytes);
    std::string text = fmt::format(
        "- {}: {:.1f} us, {:.0f} GOP/s = {:.0f} % of the peak of such products, {:.1f} GB/s of weights; "
        "reads "
        "from {} are used to {:.0f} %: ",
        what, us(timing.seconds), 1e-9 * report_.shape.operations() / timing.seconds,
        100 * timing.share.operations, 1e-9 * cell.weight_bytes / timing.seconds, where,
        100 * timing.share.bytes);
    const std::string bound = timing.share.bound();
    if (bound == "compute")
      text += "compute-bound, time follows the products and not the bytes.";
    else if (bound == "memory")
      text += "memory-bound, time follows the bytes of the weights.";
    else
      text += fmt::format("neither is above {:.0f} %, it waits for latency and fixed costs.", share);
    sentences_.push_back(text);
  }

  void say_width(const KernelCell& cell) {
    const double ratio = bytes_.hot.seconds / cell.hot.seconds;
    const double saved_bytes = bytes_.weight_bytes - cell.weight_bytes;
    const double saved = saved_bytes / results_.limits.bandwidth.of(bytes_.bytes);
    const KernelParts& parts = *cell.parts;
    std::string text =
        fmt::format("- {} bit{}, hot: {:.1f} us, {} ", cell.weight_bits, cell.weight_bits == 1 ? "" : "s",
                    us(cell.hot.seconds),
                    ratio >= kFaster      ? fmt::format("{:.2f} times as fast as 8.", ratio)
                    : ratio > 1 / kFaster ? std::string("as fast as 8.")
                                          : fmt::format("{:.2f} times as slow as 8.", 1 / ratio));
    text += fmt::format(
        "They are {:.4g} KiB less, {:.1f} us of reading at the bandwidth measured ({:.0f} % of the "
        "time at 8 bits). ",
        saved_bytes / 1024, us(saved), 100 * saved / bytes_.hot.seconds);
    if (parts.expanded)
      text += fmt::format("Unpacking is a pass of its own: {:.1f} us, {:.0f} % of the time.",
                          us(parts.unpack), 100 * parts.unpack / cell.hot.seconds);
    else
      text += fmt::format(
          "Unpacking in registers makes the innermost kernel {:.1f} us longer ({:.1f} us where 8 "
          "bits take {:.1f}, out of L1).",
          us(parts.unpack), us(parts.kernel), us(bytes_.parts->kernel));
    sentences_.push_back(text);
  }

  void say_overheads() {
    const KernelParts& parts = *bytes_.parts;
    const double total = bytes_.hot.seconds;
    // Parts are those of one thread.
    if (num_threads() > 1) return;
    const double rest =
        std::max(0.0, total - parts.rows - std::max(parts.kernel, 0.0) - (parts.expanded ? parts.unpack : 0));
    say("- Of the {:.1f} us at 8 bits, {:.1f} ({:.0f} %) bring the {} row{} of activations into the kernel's "
        "order, "
        "whatever the width of the weights, shared by n = {} columns; {:.1f} ({:.0f} %) are the innermost "
        "kernel at "
        "its speed out of L1; {:.1f} ({:.0f} %) are the rest: waiting for memory, results, calls.",
        us(total), us(parts.rows), 100 * parts.rows / total, report_.shape.m, report_.shape.m == 1 ? "" : "s",
        report_.shape.n, us(parts.kernel), 100 * parts.kernel / total, us(rest), 100 * rest / total);
    const std::int64_t lanes = bytes_.lanes, padded = (report_.shape.n + lanes - 1) / lanes * lanes;
    if (padded > report_.shape.n)
      say("- n = {} fills {} of {} lanes of its panels: {:.0f} % of the products are of padding.",
          report_.shape.n, report_.shape.n, padded,
          100.0 * static_cast<double>(padded - report_.shape.n) / static_cast<double>(padded));
  }

  void say_cold() {
    say_bound("8 bits, weights cold", bytes_, *bytes_.cold, "memory");
    std::string text = "- Cold, against 8 bits:";
    for (const int bits : {4, 2, 1}) {
      const KernelCell& cell = report_.at(bits, 8);
      text +=
          fmt::format(" {} bit{} {:.1f} us, {:.2f} times as fast ({} its bytes){}", bits,
                      bits == 1 ? "" : "s", us(cell.cold->seconds), bytes_.cold->seconds / cell.cold->seconds,
                      bits == 4   ? "half"
                      : bits == 2 ? "a quarter of"
                                  : "an eighth of",
                      bits == 1 ? "." : ";");
    }
    sentences_.push_back(text);
  }

  void say_bits() {
    const KernelCell& bits = report_.at(1, 1);
    const KernelCell& floats = report_.at(kFloatBits, kFloatBits);
    const double ratio = bytes_.hot.seconds / bits.hot.seconds;
    if (bits.family == "bit-serial")
      say("- 1 x 1 bit is another kernel: it ANDs and counts bit planes, {:.1f} us, {:.2f} times the speed "
          "of 8 x 8 "
          "(the peak is {:.1f} times that of bytes); {:.1f} us of it bring activations into planes.",
          us(bits.hot.seconds), ratio, results_.limits.peaks.bits / results_.limits.peaks.bytes,
          us(bits.parts->rows));
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
      return widths.empty() ? std::string("no width below 8 bits pays") : widths + " bits pay";
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
