#pragma once

#include <sstream>
#include <string>

#include "quant/integer/trace.h"

namespace nibble::test {

// Where two traces differ first, in words; empty: nowhere.
inline std::string first_difference(const quant::IntTrace& a, const quant::IntTrace& b) {
  std::ostringstream text;
  if (a.size() != b.size()) {
    text << a.size() << " layers, " << b.size() << " layers";
    return text.str();
  }
  const auto compare = [&](const std::string& where, const Tensor& x, const Tensor& y) {
    if (x.defined() != y.defined()) return text << where << ": only one has them", true;
    if (!x.defined()) return false;
    if (!(x.shape() == y.shape())) return text << where << ": " << x.shape() << " and " << y.shape(), true;
    for (std::int64_t i = 0; i < x.numel(); ++i)
      if (x.data<std::int32_t>()[i] != y.data<std::int32_t>()[i])
        return text << where << '[' << i << "]: " << x.data<std::int32_t>()[i] << " and "
                    << y.data<std::int32_t>()[i],
               true;
    return false;
  };
  for (std::size_t l = 0; l < a.size(); ++l) {
    if (a[l].name != b[l].name) return a[l].name + " and " + b[l].name;
    if (compare(a[l].name + " accumulators", a[l].accumulators, b[l].accumulators)) return text.str();
    if (compare(a[l].name + " codes", a[l].codes, b[l].codes)) return text.str();
  }
  return {};
}

}  // namespace nibble::test
