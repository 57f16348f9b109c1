#include "nn/module.h"

#include <algorithm>

namespace nibble::nn {
namespace {

std::string join(const std::string& prefix, const std::string& name) {
  return prefix.empty() || name.empty() ? prefix + name : prefix + "." + name;
}

}  // namespace

void Module::train(bool on) {
  training_ = on;
  for (auto& [name, child] : children_) child->train(on);
}

std::vector<std::pair<std::string, Variable>> Module::named_parameters() const {
  auto result = parameters_;
  for (const auto& [prefix, child] : children_)
    for (auto& [name, parameter] : child->named_parameters())
      result.emplace_back(join(prefix, name), parameter);
  return result;
}

std::vector<Variable> Module::parameters() const {
  std::vector<Variable> result;
  for (auto& [name, parameter] : named_parameters()) result.push_back(parameter);
  return result;
}

std::vector<std::pair<std::string, Tensor>> Module::named_buffers() const {
  auto result = buffers_;
  for (const auto& [prefix, child] : children_)
    for (auto& [name, buffer] : child->named_buffers()) result.emplace_back(join(prefix, name), buffer);
  return result;
}

std::vector<std::pair<std::string, Module*>> Module::named_modules() {
  std::vector<std::pair<std::string, Module*>> result{{"", this}};
  for (const auto& [prefix, child] : children_)
    for (auto& [name, module] : child->named_modules()) result.emplace_back(join(prefix, name), module);
  return result;
}

void Module::check_name(const std::string& name) const {
  NIBBLE_CHECK(!name.empty() && name.find('.') == std::string::npos, "module: \"", name,
               "\" is no name; expected one without dots");
  const auto taken = [&](const auto& entries) {
    return std::any_of(entries.begin(), entries.end(),
                       [&](const auto& entry) { return entry.first == name; });
  };
  NIBBLE_CHECK(!taken(parameters_) && !taken(buffers_) && !taken(children_), "module: \"", name,
               "\" is registered twice");
}

Variable Module::register_parameter(std::string name, Tensor value) {
  check_name(name);
  Variable parameter(std::move(value), true);
  parameters_.emplace_back(std::move(name), parameter);
  return parameter;
}

Tensor Module::register_buffer(std::string name, Tensor value) {
  check_name(name);
  buffers_.emplace_back(std::move(name), value);
  return value;
}

std::shared_ptr<Module> Module::register_module(std::string name, std::shared_ptr<Module> child) {
  check_name(name);
  children_.emplace_back(std::move(name), child);
  return child;
}

}  // namespace nibble::nn
