#pragma once

#include <cstddef>

namespace nibble {

// What num_threads() threads of this machine reach with the vectors of the active tier. Measured by the call,
// which takes some tens of milliseconds; the best of several runs, as other programs can only disturb.

// Float32 operations per second; a multiply-add counts two.
double measure_peak_flops();

// Bytes read per second when the threads pass again and again over `bytes` of memory (at least 4 KiB), each
// over its own share.
double measure_read_bandwidth(std::size_t bytes);

}  // namespace nibble
