#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "apps/proof/c_program.h"
#include "apps/proof/integer_network.h"
#include "nn/sequential.h"
#include "quant/integer/bounds.h"
#include "quant/integer/certificate.h"

namespace nibble {

// One way to run the model, compared integer by integer with the scalar reference (an exported program: by
// the hashes of every image and tensor, its logits one by one).
struct Producer {
  std::string name;  // "deploy graph", "tier avx2", "C program"
  std::int64_t integers = 0, differing = 0;
  std::optional<quant::Difference> first;
  std::string skipped;  // why it did not run
};

// How far float fake quantization, with which the network was trained, is from the integers.
struct FakeQuantDistance {
  std::int64_t codes = 0, differing_codes = 0;
  std::int64_t changed_answers = 0,
               tied_answers = 0;  // changed where the two best integer logits are equal: tied

  double per_million() const {
    return codes == 0 ? 0 : 1e6 * static_cast<double>(differing_codes) / static_cast<double>(codes);
  }
};

struct LayerProof {
  std::string name;
  std::string sums_sha256, codes_sha256;  // of the hashes of all images; sums only of products
  std::optional<quant::ProductBounds> bounds;
  std::int64_t least_sum = 0, largest_sum = 0;  // that came up
};

// The equivalence certificate.
struct Proof {
  std::string model_sha256, certificate;  // the latter over all layers and images
  std::int64_t images = 0, extremes = 0;  // of the data set, and made to reach the ends of the first layer
  std::int64_t correct = 0;
  std::int64_t ties = 0;  // images with two equal best logits
  std::vector<LayerProof> layers;
  std::vector<Producer> producers;
  std::optional<FakeQuantDistance> fake_quant;

  bool is_green() const;
};

// Runs everything on all images: the deploy-mode graph of `network` (empty: of the model itself), the
// reference, every tier of this machine, and the exported C program where there is a compiler.
Proof prove(const quant::IntModel& model, nn::Sequential* network, const RawImages& images,
            const CToolchain& c_tools = {});

}  // namespace nibble
