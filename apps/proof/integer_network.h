#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/training/options.h"
#include "apps/training/run.h"
#include "data/mnist.h"
#include "quant/integer/engine.h"
#include "quant/integer/model.h"

// Integer models in the hands of the program's commands.

namespace nibble {

// The lab's network as integers; errors name the path.
quant::IntModel lower_checkpoint(const std::filesystem::path& path, Run& run);
// A .nbq file as it is, a checkpoint lowered.
quant::IntModel load_integer_model(const std::filesystem::path& path);

// Test images as raw pixels [N, 1, 28, 28], plain, or augmented and frozen as `augmentation` and the test
// seed say.
struct RawImages {
  Tensor pixels;  // uint8
  Tensor labels;  // int64
  std::int64_t size() const { return pixels.size(0); }
};
RawImages raw_test_images(const CommonOptions& options, const Augmentation& augmentation);
RawImages raw_images(const data::LabelledImages& images);

// The answers of an engine on all images, and how fast they came (pixels in memory, all threads in use).
struct IntegerEvaluation {
  std::int64_t correct = 0, samples = 0;
  std::int64_t ties = 0;  // images with two equal best logits
  double images_per_second = 0;

  double accuracy() const {
    return samples > 0 ? static_cast<double>(correct) / static_cast<double>(samples) : 0;
  }
};
IntegerEvaluation evaluate(const quant::IntEngine& engine, const RawImages& images);

// The same speed of a float network, in batches of 64, from pixels that are float already.
double float_images_per_second(nn::Module& network, const RawImages& images);

}  // namespace nibble
