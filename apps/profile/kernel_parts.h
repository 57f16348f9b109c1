#pragma once

#include "apps/profile/kernel_operands.h"

namespace nibble {

// A product's time taken apart. All with hot operands, on one thread.
struct KernelParts {
  double rows;  // activations: unpacked to bytes, put into the kernel's order and added up
  // Whole tiles of rows are read as they lie, as bytes: only what is left of a tile is put into order.
  bool reads_rows;
  // Weights to operands of the products. expanded: one pass of expand_panel over all of them. Else it happens
  // in registers: what the innermost kernel takes longer than with 8 bits, both out of L1.
  double unpack;
  bool expanded;
  // The innermost kernel alone on weights that are in L1, in the form it is given.
  double kernel;
};

// `unpack` is left to the caller where it happens in registers.
KernelParts measure_parts(const KernelOperands& operands, const quant::PackedMatrix& w, double budget);

}  // namespace nibble
