#pragma once

// The formulas of the elementwise operations, each written once: V is a SIMD vector in the kernels and a
// plain number in the reference that serves the other dtypes and the tests.

#include <cmath>
#include <type_traits>

#include "tensor/simd/quotient.h"

namespace nibble::NIBBLE_TIER {
namespace {

template <class T>
requires std::is_arithmetic_v<T> T select(bool condition, T yes, T no) { return condition ? yes : no; }

struct Add {
  template <class V>
  V operator()(V a, V b) const {
    return static_cast<V>(a + b);
  }
};
struct Sub {
  template <class V>
  V operator()(V a, V b) const {
    return static_cast<V>(a - b);
  }
};
struct Mul {
  template <class V>
  V operator()(V a, V b) const {
    return static_cast<V>(a * b);
  }
};
struct Div {
  template <class V>
  V operator()(V a, V b) const {
    return quotient(a, b);
  }
};
// maximum and minimum keep a where the comparison is false, so a NaN in a stays and one in b is taken over by
// the second comparison.
struct Maximum {
  template <class V>
  V operator()(V a, V b) const {
    return select(b > a, b, select(b == b, a, b));
  }
};
struct Minimum {
  template <class V>
  V operator()(V a, V b) const {
    return select(b < a, b, select(b == b, a, b));
  }
};
struct Greater {
  template <class V>
  V operator()(V a, V b) const {
    return select(a > b, V(1), V(0));
  }
};
struct GreaterEqual {
  template <class V>
  V operator()(V a, V b) const {
    return select(a >= b, V(1), V(0));
  }
};
struct Equal {
  template <class V>
  V operator()(V a, V b) const {
    return select(a == b, V(1), V(0));
  }
};
struct ReluBackward {  // a = upstream gradient, b = input of relu
  template <class V>
  V operator()(V a, V b) const {
    return select(b <= V(0), V(0), a);  // NaN lets it pass, as in PyTorch
  }
};

struct Neg {
  template <class V>
  V operator()(V x) const {
    return static_cast<V>(V(0) - x);
  }
};
struct Abs {
  template <class V>
  V operator()(V x) const {
    return select(x < V(0), static_cast<V>(V(0) - x), x);
  }
};
struct Sign {
  template <class V>
  V operator()(V x) const {
    return static_cast<V>(select(x > V(0), V(1), V(0)) - select(x < V(0), V(1), V(0)));
  }
};
struct Relu {  // NaN passes through
  template <class V>
  V operator()(V x) const {
    return select(x <= V(0), V(0), x);
  }
};
struct Sqrt {
  template <class V>
  V operator()(V x) const {
    using std::sqrt;
    return static_cast<V>(sqrt(x));
  }
};
struct Exp {
  template <class V>
  V operator()(V x) const {
    using std::exp;
    return static_cast<V>(exp(x));
  }
};
struct Log {
  template <class V>
  V operator()(V x) const {
    using std::log;
    return static_cast<V>(log(x));
  }
};
struct Sigmoid {  // 1 / (1 + exp(-x)); exp overflows to infinity for x << 0, which gives the right limit 0
  template <class V>
  V operator()(V x) const {
    using std::exp;
    return quotient(V(1), static_cast<V>(V(1) + static_cast<V>(exp(static_cast<V>(V(0) - x)))));
  }
};
struct Tanh {
  template <class V>
  V operator()(V x) const {
    using std::tanh;
    return static_cast<V>(tanh(x));
  }
};
struct Round {  // half to even, the rounding mode of the processor
  template <class V>
  V operator()(V x) const {
    using std::nearbyint;
    return static_cast<V>(nearbyint(x));
  }
};

}  // namespace
}  // namespace nibble::NIBBLE_TIER
