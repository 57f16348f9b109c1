#include "apps/proof/proof_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>

namespace nibble {
namespace {

using Json = nlohmann::ordered_json;

Json json_of(const LayerProof& layer) {
  Json json{{"name", layer.name}, {"codes_sha256", layer.codes_sha256}};
  if (!layer.bounds) return json;
  json["sums_sha256"] = layer.sums_sha256;
  json["sums"] = {{"least", layer.least_sum}, {"largest", layer.largest_sum}};
  json["worst_sums"] = {{"least", layer.bounds->lo}, {"largest", layer.bounds->hi}};
  json["bits"] = layer.bounds->bits();
  return json;
}

Json json_of(const Producer& producer) {
  Json json{{"name", producer.name}, {"integers", producer.integers}, {"differing", producer.differing}};
  if (!producer.skipped.empty()) json["skipped"] = producer.skipped;
  if (producer.first) json["first_difference"] = text_of(*producer.first);
  return json;
}

}  // namespace

std::string text_of(const quant::Difference& d) {
  if (d.index < 0) return fmt::format("{}, image {}", d.tensor, d.image);
  return fmt::format("{}, image {}, element {}: expected {}, found {}", d.tensor, d.image, d.index,
                     d.expected, d.found);
}

void print_proof(const Proof& proof) {
  fmt::print("{} images and {} extreme ones; {} have two equal best logits\n", proof.images, proof.extremes,
             proof.ties);
  if (proof.images > 0)
    fmt::print("accuracy {:.4f} ({}/{})\n",
               static_cast<double>(proof.correct) / static_cast<double>(proof.images), proof.correct,
               proof.images);
  fmt::print("\n{:10} {:>10} {:>10} {:>11} {:>11} {:>5}  {}\n", "layer", "least sum", "largest", "at worst",
             "", "bits", "SHA-256 of codes");
  for (const LayerProof& layer : proof.layers) {
    if (!layer.bounds) {
      fmt::print("{:10} {:>10} {:>10} {:>11} {:>11} {:>5}  {:.16}\n", layer.name, "", "", "", "", "",
                 layer.codes_sha256);
      continue;
    }
    const auto& [lo, hi] = std::tie(layer.bounds->lo, layer.bounds->hi);
    fmt::print("{:10} {:10} {:10} {:11} {:11} {:5}  {:.16}\n", layer.name, layer.least_sum, layer.largest_sum,
               *std::min_element(lo.begin(), lo.end()), *std::max_element(hi.begin(), hi.end()),
               layer.bounds->bits(), layer.codes_sha256);
  }
  fmt::print("\n{:16} {:>14} {:>10}\n", "compared", "integers", "differing");
  for (const Producer& producer : proof.producers) {
    if (!producer.skipped.empty())
      fmt::print("{:16} not run: {}\n", producer.name, producer.skipped);
    else
      fmt::print("{:16} {:14} {:10}\n", producer.name, producer.integers, producer.differing);
    if (producer.first) fmt::print("  first: {}\n", text_of(*producer.first));
  }
  if (proof.fake_quant)
    fmt::print(
        "\nfloat fake quantization: {} of {} codes differ ({:.2f} per million); {} answers change, {} more "
        "where the "
        "best logits are equal\n",
        proof.fake_quant->differing_codes, proof.fake_quant->codes, proof.fake_quant->per_million(),
        proof.fake_quant->changed_answers, proof.fake_quant->tied_answers);
  fmt::print("model {}\ncertificate {}\n{}\n", proof.model_sha256, proof.certificate,
             proof.is_green() ? "green: every way to run it computes the same integers" : "red: they differ");
}

std::string proof_json(const Proof& proof) {
  Json json{{"model_sha256", proof.model_sha256},
            {"certificate", proof.certificate},
            {"green", proof.is_green()},
            {"images", proof.images},
            {"extreme_images", proof.extremes},
            {"correct", proof.correct},
            {"ties", proof.ties}};
  for (const LayerProof& layer : proof.layers) json["layers"].push_back(json_of(layer));
  for (const Producer& producer : proof.producers) json["producers"].push_back(json_of(producer));
  if (proof.fake_quant)
    json["fake_quant"] = {{"codes", proof.fake_quant->codes},
                          {"differing_codes", proof.fake_quant->differing_codes},
                          {"per_million", proof.fake_quant->per_million()},
                          {"changed_answers", proof.fake_quant->changed_answers},
                          {"changed_answers_at_ties", proof.fake_quant->tied_answers}};
  return json.dump(1) + "\n";
}

}  // namespace nibble
