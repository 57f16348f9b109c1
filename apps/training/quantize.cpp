#include "apps/training/quantize.h"

#include "autograd/no_grad.h"
#include "nn/state_dict.h"
#include "quant/calibrate.h"
#include "tensor/check.h"
#include "tensor/factory.h"

namespace nibble {
namespace {

constexpr int kCalibrationBatches = 6;  // the notebook's

void forward_all(Run& run, const std::vector<Tensor>& images) {
  const NoGrad no_grad;
  run.model.eval();
  for (const Tensor& x : images) run.model(x);
}

}  // namespace

Run quantized_copy(const Run& from, const ModelSpec& spec, std::uint64_t seed) {
  Run run(spec, from.augmentation, seed, from.sgd);
  run.epochs = from.epochs;
  nn::StateDict state = nn::state_dict(from.model);
  // A fixed-point scale is kept as its logarithm: it means nothing to the other kind of quantizer.
  if (from.spec.act_quant != spec.act_quant)
    std::erase_if(state, [](const auto& entry) {
      return entry.first.find(".weight") == std::string::npos &&
             entry.first.find(".bias") == std::string::npos;
    });
  nn::load_state_dict(run.model, state, /*strict=*/false);
  return run;
}

CalibrationSplit parse_calibration_split(const std::string& name) {
  NIBBLE_CHECK(name == "train" || name == "test", "--calibrate-on: expected train or test, not ", name);
  return name == "train" ? CalibrationSplit::train : CalibrationSplit::test;
}

std::vector<Tensor> calibration_images(const Run& run, Experiment& experiment, CalibrationSplit split,
                                       std::int64_t batch_size) {
  return split == CalibrationSplit::train ? experiment.training_images(run, batch_size, kCalibrationBatches)
                                          : experiment.test_images(run, batch_size, kCalibrationBatches);
}

void calibrate(Run& run, const std::vector<Tensor>& images) {
  const quant::calibration_mode guard(run.model);
  forward_all(run, images);
}

void correct_biases(Run& run, const std::vector<Tensor>& images) {
  const quant::bias_correction_mode guard(run.model);
  forward_all(run, images);
}

void calibrate_if_asked(Run& run, Experiment& experiment, const std::string& split, std::int64_t batch_size) {
  if (!split.empty())
    calibrate(run, calibration_images(run, experiment, parse_calibration_split(split), batch_size));
}

quant::MemoryLedger memory_of(Run& run) { return quant::memory_ledger(run.model, zeros({1, 1, 28, 28})); }

}  // namespace nibble
