#pragma once

#include <string>

#include "quant/integer/model.h"

// An integer model as a C99 program for processors without an operating system: no allocation, no
// floating-point number, no library function, nothing that C leaves to the compiler; the weights are const
// and packed at their bits.

namespace nibble::quant {

struct CSources {
  std::string header, source;  // NAME.h and NAME.c
};

// With NAME for `name` in upper case, the program has
//   int name_infer(const uint8_t *pixels, int32_t *logits, void *arena)   the class: the first largest logit
//   int name_self_test(void)   0, or the number, from 1, of the first test image whose results are wrong,
//                              or -1 if the constants are not those that were exported
//   NAME_ARENA_BYTES, NAME_PIXELS, NAME_LOGITS, NAME_CERTIFICATE
// The arena needs no alignment and keeps nothing between calls. -DNAME_NO_SELF_TEST leaves the self test and
// its images out. With -DNAME_TRACE whoever links it defines
//   void name_trace(int layer, int is_accumulator, int32_t value)
// and gets every integer on its way, those of one layer and kind in the logical order of IntTrace; layer 0 is
// "input", of the last layer the codes are the logits.
//
// self_test_pixels: uint8 [n, C, H, W], n > 0; what is expected of them comes from run_reference.
// certificate: hexadecimal digits, or none. Throws std::invalid_argument where check() does, for a name that
// is no C identifier, and for sizes of 2^28 and more.
CSources export_c(const IntModel& model, const std::string& name, const Tensor& self_test_pixels,
                  const std::string& certificate);

// A main() around the program, compiled with NAME_TRACE. It reads images of C*H*W bytes from stdin until they
// end and writes of each, little-endian: every logit as int32, then the trace_hash of every traced tensor as
// uint64: of "input", and for each layer of its accumulators, if it is a product, and of its codes. It fails
// where the returned class is not that of the logits. With an argument it runs the self test instead and
// returns 1 if that fails.
std::string export_c_driver(const IntModel& model, const std::string& name);

}  // namespace nibble::quant
