#include "data/idx.h"

#include <cstdint>
#include <cstdlib>

#include "tensor/format_error.h"

// Whatever is accepted is exactly the bytes behind the header; whatever is not ends in FormatError.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::span bytes(data, size);
  try {
    const nibble::Tensor x = nibble::data::parse_idx(std::as_bytes(bytes));
    const std::size_t header = 4 + 4 * static_cast<std::size_t>(x.rank());
    const auto values = x.values<std::uint8_t>();
    if (values.size() != size - header) std::abort();
    for (std::size_t i = 0; i < values.size(); ++i)
      if (values[i] != data[header + i]) std::abort();
  } catch (const nibble::FormatError&) {
  }
  return 0;
}
