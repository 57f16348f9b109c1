#include "apps/profile/kernel_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "tensor/atomic_file.h"
#include "tensor/parallel.h"
#include "tensor/simd/isa.h"

namespace nibble {
namespace {

using Json = nlohmann::ordered_json;

std::string bits_text(int bits) { return bits == kFloatBits ? "f32" : std::to_string(bits); }

std::string timing_text(const KernelReport& report, const KernelCell& cell, const KernelTiming& timing) {
  return fmt::format("{:9.1f} {:7.1f} {:7.2f} {:4.0f}% {:4.0f}% {:8}", 1e6 * timing.seconds,
                     1e-9 * report.shape.operations() / timing.seconds,
                     1e-9 * cell.weight_bytes / timing.seconds, 100 * timing.share.operations,
                     100 * timing.share.bytes, timing.share.bound());
}

std::string parts_text(const KernelReport& report, const KernelCell& cell) {
  if (!cell.parts) return fmt::format("{:45}", "");
  const double bytes = report.at(8, cell.act_bits).hot.seconds;
  return fmt::format(" {:8.1f} {:8.1f}{} {:8.1f} {:8.1f}  ", 1e6 * cell.parts->rows, 1e6 * cell.parts->unpack,
                     cell.parts->expanded ? " " : "r", 1e6 * cell.parts->kernel, 1e6 * bytes);
}

// "  packed   unpacked in registers: 1 row shares it", every form once.
void print_forms(const KernelReport& report) {
  std::vector<std::string> seen;
  for (const KernelCell& cell : report.cells) {
    const std::string text = fmt::format("  {:10} {:8} {}", cell.family, cell.form, cell.form_reason);
    if (std::find(seen.begin(), seen.end(), text) != seen.end()) continue;
    seen.push_back(text);
    fmt::print("{}\n", text);
  }
}

Json json_of(const KernelReport& report, const KernelCell& cell, const KernelTiming& timing) {
  return {{"seconds", timing.seconds},
          {"operations_per_second", report.shape.operations() / timing.seconds},
          {"weight_bytes_per_second", cell.weight_bytes / timing.seconds},
          {"share_of_peak", timing.share.operations},
          {"share_of_bandwidth", timing.share.bytes},
          {"bound_by", timing.share.bound()}};
}

Json json_of(const KernelReport& report, const KernelCell& cell) {
  Json json = {{"weight_bits", cell.weight_bits},
               {"act_bits", cell.act_bits},
               {"family", cell.family},
               {"family_reason", cell.family_reason},
               {"weight_form", cell.form},
               {"weight_form_reason", cell.form_reason},
               {"weight_bytes", cell.weight_bytes},
               {"bytes", cell.bytes},
               {"peak_operations_per_second", cell.peak},
               {"hot", json_of(report, cell, cell.hot)},
               {"cold", cell.cold ? json_of(report, cell, *cell.cold) : Json()}};
  if (cell.parts)
    json["parts"] = {{"rows_seconds", cell.parts->rows},
                     {"unpack_seconds", cell.parts->unpack},
                     {"unpack", cell.parts->expanded ? "one pass over all panels" : "in registers"},
                     {"kernel_seconds", cell.parts->kernel},
                     {"eight_bit_weights_seconds", report.at(8, cell.act_bits).hot.seconds}};
  return json;
}

Json json_of(const KernelReport& report) {
  Json cells = Json::array();
  for (const KernelCell& cell : report.cells) cells.push_back(json_of(report, cell));
  return {{"m", report.shape.m},
          {"n", report.shape.n},
          {"k", report.shape.k},
          {"operations", report.shape.operations()},
          {"cells", cells}};
}

Json crossovers_json(const KernelResults& results) {
  Json crossovers = Json::array();
  for (const std::int64_t batch : kLayerBatches)
    for (const int bits : {4, 2, 1}) {
      const auto size = curve_of(results.layers, batch, bits, 8).crossover();
      crossovers.push_back(
          {{"batch", batch}, {"weight_bits", bits}, {"act_bits", 8}, {"size", size ? Json(*size) : Json()}});
    }
  return crossovers;
}

}  // namespace

std::string bytes_text(double bytes) {
  if (bytes < 1 << 20) return fmt::format("{:.4g} KiB", bytes / 1024);
  return fmt::format("{:.4g} MiB", bytes / (1 << 20));
}

void print_limits(const KernelResults& results) {
  const auto& [peak_flops, peaks, bandwidth] = results.limits;
  fmt::print(
      "{} thread{}, {}. Peaks: {:.0f} GFLOP/s float32, {:.0f} GOP/s bytes, {:.0f} GOP/s weights below 8 "
      "bits, {:.0f} GOP/s single bits\nreads:",
      num_threads(), num_threads() == 1 ? "" : "s", name_of(active_isa()), 1e-9 * peak_flops,
      1e-9 * peaks.bytes, 1e-9 * peaks.codes, 1e-9 * peaks.bits);
  for (const auto& [bytes, rate] : bandwidth.table())
    fmt::print(" {:.0f} GB/s of {}{}", 1e-9 * rate, bytes_text(bytes),
               bytes == bandwidth.table().back().first ? "\n" : ",");
  fmt::print(
      "\nhot: the same weights again and again; cold: weights that have left every cache{}\n"
      "peak, bandw.: share of the peak of such products, of the read bandwidth at such a footprint (hot: "
      "all\n"
      "operands, cold: weights)\n"
      "parts on one thread: rows = activations to the kernel's order, where it does not read them as they "
      "lie;\n"
      "unpack = weights to operands, a pass of its own or, r, in registers (what the kernel takes longer "
      "than "
      "with\n"
      "8 bits); kernel = the innermost loop, out of L1; w8 = the whole product with weights of 8 bits\n",
      results.cold_bytes > 0 ? fmt::format(" ({} are passed through)", bytes_text(results.cold_bytes))
                             : " (not measured)");
}

void print_kernels(const KernelReport& report) {
  const KernelCell& bytes = report.at(8, 8);
  fmt::print("\n{}: {:.4g} million operations, weights of {} (float32) to {} (1 bit)\n", report.shape.name(),
             1e-6 * report.shape.operations(), bytes_text(report.at(kFloatBits, kFloatBits).weight_bytes),
             bytes_text(report.at(1, 8).weight_bytes));
  fmt::print("{:>4} {:>4} {:>9} {:>7} {:>7} {:>5} {:>5} {:8}", "w", "a", "hot us", "GOP/s", "w GB/s", "peak",
             "bandw", "bound by");
  if (bytes.cold)
    fmt::print(" {:>9} {:>7} {:>7} {:>5} {:>5} {:8}", "cold us", "GOP/s", "w GB/s", "peak", "bandw",
               "bound by");
  fmt::print(" {:>8} {:>8}  {:>8} {:>8}  {}\n", "rows us", "unpack", "kernel", "w8", "kernel, weights");
  for (const KernelCell& cell : report.cells) {
    fmt::print("{:>4} {:>4} {}", bits_text(cell.weight_bits), bits_text(cell.act_bits),
               timing_text(report, cell, cell.hot));
    if (cell.cold) fmt::print(" {}", timing_text(report, cell, *cell.cold));
    fmt::print("{}{}, {}\n", parts_text(report, cell), cell.family, cell.form);
  }
  print_forms(report);
}

void print_families(const KernelResults& results) {
  fmt::print("\n");
  std::vector<std::string> seen;
  for (const KernelCell& cell : results.reports.front().cells) {
    if (cell.weight_bits == kFloatBits ||
        std::find(seen.begin(), seen.end(), cell.family_reason) != seen.end())
      continue;
    seen.push_back(cell.family_reason);
    fmt::print("{}: {}\n", cell.family, cell.family_reason);
  }
}

void print_crossovers(const KernelResults& results) {
  for (const std::int64_t batch : kLayerBatches) {
    fmt::print("batch {:2}, square layers, weights hot: ", batch);
    for (const int bits : {4, 2, 1}) {
      const auto size = curve_of(results.layers, batch, bits, 8).crossover();
      fmt::print("{} bit{} {}{}", bits, bits == 1 ? "" : "s",
                 size ? fmt::format("faster than 8 from {} x {} on", *size, *size) : "never faster than 8",
                 bits == 1 ? "\n" : "; ");
    }
  }
}

void write_kernels_json(const std::filesystem::path& path, const KernelResults& results) {
  Json bandwidth = Json::array(), shapes = Json::array(), layers = Json::array();
  for (const auto& [bytes, rate] : results.limits.bandwidth.table())
    bandwidth.push_back({{"bytes", bytes}, {"bytes_per_second", rate}});
  for (const KernelReport& report : results.reports) shapes.push_back(json_of(report));
  for (const LayerSpeed& layer : results.layers)
    layers.push_back({{"size", layer.size},
                      {"batch", layer.batch},
                      {"weight_bits", layer.weight_bits},
                      {"act_bits", layer.act_bits},
                      {"seconds", layer.seconds},
                      {"operations_per_second", layer.operations_per_second()}});
  const Json document = {{"isa", name_of(active_isa())},
                         {"threads", num_threads()},
                         {"peaks",
                          {{"float32", results.limits.peak_flops},
                           {"bytes", results.limits.peaks.bytes},
                           {"codes", results.limits.peaks.codes},
                           {"bits", results.limits.peaks.bits}}},
                         {"read_bandwidth", bandwidth},
                         {"cold_bytes", results.cold_bytes},
                         {"shapes", shapes},
                         {"layers", layers},
                         {"crossovers", crossovers_json(results)}};
  const std::string text = document.dump(2) + "\n";
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace nibble
