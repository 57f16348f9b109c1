#include "data/gzip.h"

#include <zlib.h>

#include <algorithm>
#include <limits>
#include <new>
#include <string>

#include "tensor/format_error.h"

namespace nibble::data {
namespace {

class Inflater {
 public:
  Inflater() {
    // 16: gzip headers, as opposed to raw zlib streams.
    if (inflateInit2(&stream_, 16 + MAX_WBITS) != Z_OK) throw std::bad_alloc();
  }
  ~Inflater() { inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream* operator->() { return &stream_; }
  z_stream* get() { return &stream_; }

 private:
  z_stream stream_{};
};

}  // namespace

bool is_gzip(std::span<const std::byte> bytes) {
  return bytes.size() >= 2 && bytes[0] == std::byte{0x1F} && bytes[1] == std::byte{0x8B};
}

std::vector<std::byte> gunzip(std::span<const std::byte> bytes, std::size_t max_bytes) {
  std::vector<std::byte> out;
  // One byte more than is allowed: a full buffer cannot tell what fits exactly from what goes on.
  const std::size_t limit = std::min(max_bytes, out.max_size() - 1) + 1;
  std::size_t used = 0, consumed = 0;
  Inflater inflater;
  for (;;) {
    if (!is_gzip(bytes.subspan(consumed)))
      throw FormatError(consumed == 0 ? "gzip: no gzip header" : "gzip: bytes after the end", consumed);
    for (int status = Z_OK; status != Z_STREAM_END;) {
      if (used == out.size()) out.resize(std::min(limit, std::max<std::size_t>(2 * out.size(), 1 << 16)));
      constexpr std::size_t kMost = std::numeric_limits<uInt>::max();
      const auto in_chunk = static_cast<uInt>(std::min(bytes.size() - consumed, kMost));
      const auto out_chunk = static_cast<uInt>(std::min(out.size() - used, kMost));
      inflater->next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data() + consumed));
      inflater->avail_in = in_chunk;
      inflater->next_out = reinterpret_cast<Bytef*>(out.data() + used);
      inflater->avail_out = out_chunk;
      status = inflate(inflater.get(), Z_NO_FLUSH);
      consumed += in_chunk - inflater->avail_in;
      used += out_chunk - inflater->avail_out;
      if (used > max_bytes)
        throw FormatError("gzip: expands to more than " + std::to_string(max_bytes) + " bytes", consumed);
      if (status == Z_BUF_ERROR || (status == Z_OK && consumed == bytes.size() && inflater->avail_out != 0))
        throw FormatError("gzip: the file is truncated", consumed);
      if (status != Z_OK && status != Z_STREAM_END) throw FormatError("gzip: corrupt data", consumed);
    }
    if (consumed == bytes.size()) break;
    inflateReset(inflater.get());
  }
  out.resize(used);
  return out;
}

}  // namespace nibble::data
