#include "nn/state_dict.h"

namespace nibble::nn {

StateDict state_dict(const Module& module) {
  StateDict state;
  for (const auto& [name, parameter] : module.named_parameters()) state[name] = parameter.value().clone();
  for (const auto& [name, buffer] : module.named_buffers()) state[name] = buffer.clone();
  return state;
}

LoadReport load_state_dict(Module& module, const StateDict& state, bool strict) {
  auto parameters = module.named_parameters();
  auto buffers = module.named_buffers();
  LoadReport report;
  std::map<std::string, bool> known;
  const auto check = [&](const std::string& name, const Tensor& target) {
    known[name] = true;
    const auto found = state.find(name);
    if (found == state.end()) {
      report.missing.push_back(name);
      return;
    }
    NIBBLE_CHECK(found->second.shape() == target.shape(), "load_state_dict: ", name, " has shape ",
                 found->second.shape(), ", expected ", target.shape());
    NIBBLE_CHECK(is_floating_point(found->second.dtype()) == is_floating_point(target.dtype()),
                 "load_state_dict: ", name, " has dtype ", found->second.dtype(), ", expected ",
                 target.dtype());
    report.matched.push_back(name);
  };
  for (const auto& [name, parameter] : parameters) check(name, parameter.value());
  for (const auto& [name, buffer] : buffers) check(name, buffer);
  for (const auto& [name, tensor] : state)
    if (known.count(name) == 0) report.unexpected.push_back(name);
  NIBBLE_CHECK(!strict || report.missing.empty(), "load_state_dict: ", report.missing.front(), " is missing");
  NIBBLE_CHECK(!strict || report.unexpected.empty(), "load_state_dict: ", report.unexpected.front(),
               " is unexpected");

  for (auto& [name, parameter] : parameters)
    if (state.count(name) != 0) parameter.mutable_value().copy_from(state.at(name));
  for (auto& [name, buffer] : buffers)
    if (state.count(name) != 0) buffer.copy_from(state.at(name));
  return report;
}

}  // namespace nibble::nn
