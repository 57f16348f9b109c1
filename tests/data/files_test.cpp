#include <zlib.h>

#include <cstring>

#include "data/gzip.h"
#include "data/idx.h"
#include "data/mnist.h"
#include "tensor/atomic_file.h"
#include "tensor/format_error.h"
#include "tensor/sha256.h"
#include "tests/support/catch.h"

using namespace nibble;
namespace fs = std::filesystem;

namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(const std::string& text) {
  const auto span = std::as_bytes(std::span(text));
  return {span.begin(), span.end()};
}

Bytes idx(const std::vector<std::uint32_t>& sizes, std::size_t elements, std::uint8_t fill = 1) {
  Bytes bytes{std::byte{0}, std::byte{0}, std::byte{8}, static_cast<std::byte>(sizes.size())};
  for (std::uint32_t size : sizes)
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::byte>(size >> shift));
  bytes.insert(bytes.end(), elements, std::byte{fill});
  return bytes;
}

Bytes gzip(const Bytes& bytes) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 9, Z_DEFAULT_STRATEGY) == Z_OK);
  Bytes out(bytes.size() + 1000);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

Bytes joined(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/nibble_test_XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path_); }
  const fs::path& path() const { return path_; }
  void write(const std::string& name, const Bytes& bytes) const {
    write_file_atomically(path_ / name, bytes);
  }
  void fill(std::uint32_t train = 3, std::uint32_t test = 2) const {
    write("train-images-idx3-ubyte", idx({train, 28, 28}, train * 784));
    write("train-labels-idx1-ubyte", idx({train}, train));
    write("t10k-images-idx3-ubyte", idx({test, 28, 28}, test * 784));
    write("t10k-labels-idx1-ubyte", idx({test}, test));
  }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("sha256 of the published vectors") {
  CHECK(sha256({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256(bytes_of("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256(bytes_of("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq")) ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256(bytes_of(std::string(1000000, 'a'))) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("gzip: members are joined, everything else is refused") {
  const Bytes text = bytes_of(std::string(300000, 'x') + "end");
  CHECK(data::gunzip(gzip(text), 1 << 20) == text);
  CHECK(data::gunzip(joined(gzip(text), gzip(text)), 1 << 20) == joined(text, text));
  CHECK(data::gunzip(gzip({}), 10).empty());
  const Bytes whole = gzip(text);
  for (std::size_t n = 0; n < whole.size(); n += 1 + n / 4)
    CHECK_THROWS_AS(data::gunzip(std::span(whole).first(n), 1 << 20), FormatError);
  CHECK_THROWS_WITH(data::gunzip(std::span(whole).first(whole.size() - 1), 1 << 20),
                    Catch::Contains("truncated"));
  CHECK_THROWS_WITH(data::gunzip(joined(whole, bytes_of("tail")), 1 << 20), Catch::Contains("after the end"));
  CHECK_THROWS_WITH(data::gunzip(whole, 1000), Catch::Contains("more than 1000"));
  CHECK(data::gunzip(whole, text.size()) == text);
  CHECK_THROWS_WITH(data::gunzip(whole, text.size() - 1), Catch::Contains("expands to more"));
  CHECK(data::gunzip(gzip({}), 0).empty());
  Bytes corrupt = whole;
  corrupt[corrupt.size() - 6] ^= std::byte{1};
  CHECK_THROWS_WITH(data::gunzip(corrupt, 1 << 20), Catch::Contains("corrupt"));
}

TEST_CASE("idx: sizes are checked before anything is allocated") {
  const Tensor x = data::parse_idx(idx({2, 3}, 6, 7));
  CHECK(x.shape() == Shape{2, 3});
  CHECK(x.values<std::uint8_t>()[5] == 7);
  CHECK(data::parse_idx(idx({0, 3}, 0)).numel() == 0);
  const auto refused = [](const Bytes& bytes, const std::string& reason) {
    CHECK_THROWS_WITH(data::parse_idx(bytes), Catch::Contains(reason) && Catch::Contains("at byte"));
  };
  refused({}, "no header");
  refused(bytes_of("abcdefgh"), "two zero bytes");
  Bytes floats = idx({1}, 4);
  floats[2] = std::byte{0x0D};
  refused(floats, "element type 13");
  Bytes scalar = idx({1}, 1);
  scalar[3] = std::byte{0};
  refused(scalar, "rank 0");
  scalar[3] = std::byte{9};
  refused(scalar, "rank 9");
  Bytes header = idx({5, 5}, 0);
  header.resize(10);
  refused(header, "truncated");
  refused(idx({2, 3}, 5), "5 elements, the sizes say 6");
  refused(idx({2, 3}, 7), "7 elements");
  refused(idx({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, 0), "too large");
  refused(idx({0x10000, 0x10000, 0x10000, 0x10000, 0x10000}, 0), "too large");
  refused(idx({0, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, 0), "too large");
}

TEST_CASE("a folder of MNIST files: either spelling, plain or compressed, every label checked") {
  const Folder folder;
  CHECK_THROWS_WITH(data::load_mnist(folder.path()), Catch::Contains("train-images-idx3-ubyte"));
  CHECK_THROWS_WITH(data::load_mnist(folder.path() / "none"), Catch::Contains("none"));
  folder.fill();
  data::Mnist set = data::load_mnist(folder.path());
  CHECK(set.name == "unknown");
  CHECK(set.train.images.shape() == Shape{3, 28, 28});
  CHECK(set.test.labels.values<std::int64_t>()[1] == 1);
  CHECK(set.sha256.size() == 4);

  fs::remove(folder.path() / "train-images-idx3-ubyte");
  folder.write("train-images.idx3-ubyte.gz", gzip(idx({3, 28, 28}, 3 * 784)));
  CHECK(data::load_mnist(folder.path()).sha256 == set.sha256);

  folder.write("train-labels-idx1-ubyte", idx({4}, 4));
  CHECK_THROWS_WITH(data::load_mnist(folder.path()), Catch::Contains("4 labels for 3 images"));
  folder.write("train-labels-idx1-ubyte", idx({3}, 3, 10));
  CHECK_THROWS_WITH(data::load_mnist(folder.path()), Catch::Contains("label 10, expected 0 to 9"));
  folder.fill();
  folder.write("t10k-images-idx3-ubyte", idx({2, 28, 27}, 2 * 28 * 27));
  CHECK_THROWS_WITH(data::load_mnist(folder.path()), Catch::Contains("[2, 28, 27], expected [N, 28, 28]"));
  folder.fill(3, 0);
  CHECK_THROWS_WITH(data::load_mnist(folder.path()), Catch::Contains("holds no images"));
  folder.fill();
  Bytes truncated = gzip(idx({3, 28, 28}, 3 * 784));
  truncated.resize(truncated.size() / 2);
  fs::remove(folder.path() / "train-images-idx3-ubyte");
  folder.write("train-images.idx3-ubyte.gz", truncated);
  CHECK_THROWS_WITH(data::load_mnist(folder.path()),
                    Catch::Contains("train-images.idx3-ubyte.gz: gzip: the file is truncated"));
}

TEST_CASE("where a data set is looked for") {
  CHECK(data::find_data("somewhere") == "somewhere");
  const char* variable = std::getenv("NIBBLE_DATA");
  const std::string before = variable != nullptr ? variable : "";
  setenv("NIBBLE_DATA", "/elsewhere", 1);
  CHECK(data::find_data("") == "/elsewhere");
  unsetenv("NIBBLE_DATA");
  const Folder cache;
  setenv("XDG_CACHE_HOME", cache.path().c_str(), 1);
  CHECK_THROWS_WITH(data::find_data(""), Catch::Contains("--data") && Catch::Contains("NIBBLE_DATA") &&
                                             Catch::Contains("nibble data fetch"));
  fs::create_directories(data::default_data_folder());
  CHECK(data::find_data("") == data::default_data_folder());
  unsetenv("XDG_CACHE_HOME");
  if (!before.empty()) setenv("NIBBLE_DATA", before.c_str(), 1);
}
