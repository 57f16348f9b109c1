#include "apps/commands/infer_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "apps/commands/read_digit.h"
#include "apps/commands/trace_pixel.h"
#include "apps/proof/integer_network.h"
#include "quant/integer/engine.h"
#include "quant/integer/reference.h"
#include "tensor/check.h"

namespace nibble {
namespace {

struct Options {
  std::string model, image;
  bool invert = false;
  std::vector<std::int64_t> trace;
};

// Softmax of the real numbers that the logits stand for.
double confidence(const std::vector<std::int32_t>& logits, std::int64_t answer, double scale) {
  double sum = 0;
  for (const std::int32_t logit : logits)
    sum += std::exp(scale * (static_cast<double>(logit) - logits[static_cast<std::size_t>(answer)]));
  return 1 / sum;
}

double logit_scale(const quant::IntModel& model) {
  return std::get<quant::IntProduct>(model.layers.back()).out.scale;
}

void infer(const Options& options) {
  const quant::IntModel model = load_integer_model(options.model);
  const Tensor image = read_digit(options.image, options.invert);
  NIBBLE_CHECK(model.input.image == Shape({1, 28, 28}), options.model, ": takes images of shape ",
               model.input.image, ", expected [1, 28, 28]");
  const quant::IntEngine engine(model);
  quant::IntEngine::Arena arena = engine.make_arena();
  std::vector<std::int32_t> logits(static_cast<std::size_t>(engine.classes()));
  engine.run(arena, image.data<std::uint8_t>(), 1, logits.data());
  const std::int64_t answer = quant::argmax(logits.data(), engine.classes());
  fmt::print("{}digit {}, confidence {:.1f} %\nlogits {}\n", ascii_picture(image), answer,
             100 * confidence(logits, answer, logit_scale(model)), fmt::join(logits, " "));
  if (!options.trace.empty())
    fmt::print("\n{}", trace_pixel(model, image, options.trace[0], options.trace[1]));
}

}  // namespace

void add_infer_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("infer", "Recognise one digit with integers alone");
  auto options = std::make_shared<Options>();
  command->add_option("model", options->model, "Integer model (.nbq) or quantized checkpoint (.safetensors)")
      ->required();
  command->add_option("image", options->image, "Picture (PNG), or IDXFILE#n")->required();
  command->add_flag("--invert", options->invert, "The picture is dark on light");
  command->add_option("--trace", options->trace, "Show every integer from this pixel to the logits")
      ->type_name("Y,X")
      ->delimiter(',')
      ->expected(2);
  command->footer("Example: nibble infer model.nbq t10k-images-idx3-ubyte.gz#0 --trace 14,14");
  command->callback([options] { infer(*options); });
}

}  // namespace nibble
