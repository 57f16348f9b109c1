#include "quant/calibrate.h"

#include "quant/quant_activation.h"
#include "quant/quant_layer.h"

namespace nibble::quant {
namespace {

template <class Kind, class F>
void for_each(nn::Module& network, F f) {
  for (const auto& [name, module] : network.named_modules())
    if (auto* const found = dynamic_cast<Kind*>(module)) f(*found);
}

void set_calibrating(nn::Module& network, bool on) {
  for_each<QuantLayer>(network, [=](QuantLayer& layer) { layer.set_calibrating(on); });
  for_each<QuantActivation>(network, [=](QuantActivation& activation) { activation.set_calibrating(on); });
}

}  // namespace

calibration_mode::calibration_mode(nn::Module& network) : network_(network) {
  set_calibrating(network, true);
}
calibration_mode::~calibration_mode() { set_calibrating(network_, false); }

bias_correction_mode::bias_correction_mode(nn::Module& network) : network_(network) {
  for_each<QuantLayer>(network, [](QuantLayer& layer) { layer.check_bias_correction(); });
  for_each<QuantLayer>(network, [](QuantLayer& layer) { layer.begin_bias_correction(); });
}
bias_correction_mode::~bias_correction_mode() {
  for_each<QuantLayer>(network_, [](QuantLayer& layer) { layer.end_bias_correction(); });
}

}  // namespace nibble::quant
