#include "apps/proof/integer_network.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>

#include "apps/training/augmentation.h"
#include "autograd/no_grad.h"
#include "data/dataset.h"
#include "nn/eval_mode.h"
#include "quant/integer/lowering.h"
#include "quant/integer/model_file.h"
#include "quant/integer/reference.h"
#include "tensor/check.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble {
namespace {

// As long as the clock needs to tell speeds apart.
constexpr double kLeastSeconds = 0.2;
// A shorter piece of work has a better chance to run undisturbed: the same number for all that are compared.
constexpr std::int64_t kTimedImages = 2048;

// Calls run() until the clock tells speeds apart; images per second of the fastest.
template <class F>
double fastest(std::int64_t images, F run) {
  using Clock = std::chrono::steady_clock;
  double best = 0, seconds = 0;
  while (seconds < kLeastSeconds) {
    const Clock::time_point begin = Clock::now();
    run();
    const double last = std::chrono::duration<double>(Clock::now() - begin).count();
    best = std::max(best, static_cast<double>(images) / last);
    seconds += last;
  }
  return best;
}

}  // namespace

quant::IntModel lower_checkpoint(const std::filesystem::path& path, Run& run) {
  try {
    return quant::lower(run.model, {1, 28, 28});
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(path.string() + ": " + error.what());
  }
}

quant::IntModel load_integer_model(const std::filesystem::path& path) {
  if (quant::is_nbq(path)) return quant::load_nbq(path);
  Run run = load_run(path);
  return lower_checkpoint(path, run);
}

RawImages raw_images(const data::LabelledImages& images) {
  return {images.images.contiguous().reshape({-1, 1, images.images.size(1), images.images.size(2)}),
          images.labels.contiguous()};
}

RawImages raw_test_images(const CommonOptions& options, const Augmentation& augmentation) {
  if (options.threads > 0) set_num_threads(options.threads);
  const data::Mnist mnist = data::load_mnist(data::find_data(options.data));
  const data::Dataset images =
      data::Dataset{mnist.test, transforms_of(augmentation), options.test_seed}.first(options.limit);
  return raw_images(augmentation.enabled ? images.frozen().source : images.source);
}

IntegerEvaluation evaluate(const quant::IntEngine& engine, const RawImages& images) {
  const std::int64_t n = images.size(), classes = engine.classes();
  NIBBLE_CHECK(images.pixels.numel() == n * engine.image_bytes(), "the model takes images of ",
               engine.image_bytes(), " pixels, the data set has ",
               images.pixels.numel() / std::max<std::int64_t>(1, n));
  std::vector<std::int32_t> logits(static_cast<std::size_t>(n * classes));
  IntegerEvaluation result{.samples = n};
  const auto run = [&](std::int64_t count) {
    engine.run_parallel(images.pixels.data<std::uint8_t>(), count, logits.data());
  };
  run(n);
  const std::int64_t timed = std::min(n, kTimedImages);
  result.images_per_second = fastest(timed, [&] { run(timed); });
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t* const row = logits.data() + i * classes;
    const std::int64_t answer = quant::argmax(row, classes);
    result.correct += answer == images.labels.data<std::int64_t>()[i];
    result.ties += std::count(row, row + classes, row[answer]) > 1;
  }
  return result;
}

double float_images_per_second(nn::Module& network, const RawImages& images) {
  const std::int64_t batch = std::min<std::int64_t>(images.size(), 64);
  const nn::EvalMode eval_mode(network);
  const NoGrad no_grad;
  const std::int64_t n = std::min(images.size(), kTimedImages) / batch * batch;
  std::vector<Tensor> batches;  // the batch innermost, as the loader delivers them
  for (std::int64_t i = 0; i < n; i += batch) {
    const Tensor x = images.pixels.narrow(0, i, batch).permute({1, 2, 3, 0}).contiguous();
    batches.push_back(div(x.to(DType::float32), scalar(255)).permute({3, 0, 1, 2}));
  }
  return fastest(n, [&] {
    for (const Tensor& x : batches) network.forward(Variable(x));
  });
}

}  // namespace nibble
