#include "tensor/safetensors.h"

#include <cstdint>
#include <cstdlib>

#include "tensor/format_error.h"

// Whatever is accepted can be written, and reads back to the same bytes.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  nibble::TensorFile file;
  try {
    file = nibble::parse_safetensors(std::as_bytes(std::span(data, size)));
  } catch (const nibble::FormatError&) {
    return 0;
  }
  const auto written = nibble::serialize_safetensors(file);
  if (nibble::serialize_safetensors(nibble::parse_safetensors(written)) != written) std::abort();
  return 0;
}
