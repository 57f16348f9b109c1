#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

// A step of quickselect (quickselect.h) over key[left], ..., key[right], by masks of 64 keys: word w stands
// for the keys from 64 * (left / 64 + w) on.
struct Partition {
  std::ptrdiff_t left, right;
  // words() words each: the key of the n-th set bit of from_left, counted from below, changes places with
  // that of the n-th of from_right, counted from above.
  std::uint64_t *from_left, *from_right;
  std::ptrdiff_t i, j;  // where the scans from the left and from the right stopped

  std::ptrdiff_t words() const { return right / 64 - left / 64 + 1; }
};

struct PartitionKernels {
  // Hoare's partition around the pivot key[left], with key[left + 1] <= pivot <= key[right] and
  // left + 1 < right: the first key from the left that is not smaller and the first from the right that is
  // not larger change places, then the second ones, until they meet; at last the pivot and key[j] do.
  // Afterwards key[i] to key[right] are in place if j < k, key[left] to key[j - 1] if j > k; the other side
  // is as it was. Reads whole words of keys. `buffer` has room for right - left + 17 keys. Fills in all of
  // `p` but left and right.
  void (*partition)(std::int32_t* key, Partition& p, std::ptrdiff_t k, std::int32_t* buffer) noexcept;
  // Where the key that came to `place` was before.
  std::ptrdiff_t (*source)(const Partition& p, std::ptrdiff_t place) noexcept;
};

NIBBLE_DECLARE_KERNELS(PartitionKernels, partition_kernels)

}  // namespace nibble::quant
