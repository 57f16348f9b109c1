#include "apps/quantize.h"

#include "autograd/no_grad.h"
#include "nn/state_dict.h"
#include "quant/calibrate.h"
#include "tensor/check.h"
#include "tensor/factory.h"

namespace nibble {
namespace {

constexpr int kCalibrationBatches = 6;  // the notebook's

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

void calibrate(Run& run, Experiment& experiment, CalibrationSplit split, std::int64_t batch_size) {
  const std::vector<Tensor> batches = split == CalibrationSplit::train
                                          ? experiment.training_images(run, batch_size, kCalibrationBatches)
                                          : experiment.test_images(run, batch_size, kCalibrationBatches);
  const NoGrad no_grad;
  run.model.eval();
  {
    const quant::calibration_mode calibrating(run.model);
    for (const Tensor& x : batches) run.model(x);
  }
  {
    const quant::bias_correction_mode correcting(run.model);
    for (const Tensor& x : batches) run.model(x);
  }
}

quant::MemoryLedger memory_of(Run& run) { return quant::memory_ledger(run.model, zeros({1, 1, 28, 28})); }

}  // namespace nibble
