#include "tensor/safetensors.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tensor/atomic_file.h"
#include "tensor/factory.h"
#include "tensor/format_error.h"
#include "tests/support/catch.h"

using namespace nibble;

namespace {

std::atomic<int> umask_calls{0};

}  // namespace

// In place of libc's: to read the umask is to change it for all threads, which no library may do.
extern "C" mode_t umask(mode_t mask) noexcept {
  ++umask_calls;
  return static_cast<mode_t>(::syscall(SYS_umask, mask));
}

namespace {

std::vector<std::byte> file_of(const std::string& header, std::size_t data_bytes) {
  std::vector<std::byte> bytes(8 + header.size() + data_bytes);
  const std::uint64_t length = header.size();
  std::memcpy(bytes.data(), &length, 8);
  std::memcpy(bytes.data() + 8, header.data(), header.size());
  return bytes;
}

std::filesystem::path scratch() {
  static const auto path = [] {
    char name[] = "/tmp/nibble_test_XXXXXX";
    return std::filesystem::path(mkdtemp(name));
  }();
  return path;
}

}  // namespace

TEST_CASE("safetensors: what is written is read back, byte for byte the same again") {
  TensorFile file;
  file.metadata = {{"a", "1"}, {"quote", "\"\n"}};
  file.tensors["scalar"] = scalar(2.5);
  file.tensors["empty"] = zeros({0, 3}, DType::int16);
  file.tensors["ints"] = arange(5, DType::int64);
  file.tensors["bytes"] = arange(3, DType::uint8);
  file.tensors["transposed"] = arange(6, DType::float64).reshape({2, 3}).transpose(0, 1);
  const auto bytes = serialize_safetensors(file);
  const TensorFile again = parse_safetensors(bytes);
  CHECK(again.metadata == file.metadata);
  REQUIRE(again.tensors.size() == file.tensors.size());
  CHECK(again.tensors.at("scalar").item() == 2.5);
  CHECK(again.tensors.at("scalar").rank() == 0);
  CHECK(again.tensors.at("empty").shape() == Shape{0, 3});
  CHECK(again.tensors.at("transposed").values<double>()[1] == 3);
  CHECK(serialize_safetensors(again) == bytes);
}

TEST_CASE("safetensors: half precision and booleans are widened") {
  auto bytes = file_of(
      R"({"b":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]},"h":{"dtype":"F16","shape":[3],"data_offsets":[2,8]},"t":{"dtype":"BOOL","shape":[1],"data_offsets":[8,9]}})",
      9);
  std::byte* data = bytes.data() + bytes.size() - 9;
  const std::uint16_t halves[] = {0xC020, 0x3C00, 0x0001, 0xFC00};
  std::memcpy(data, halves, 8);
  data[8] = std::byte{1};
  const TensorFile file = parse_safetensors(bytes);
  CHECK(file.tensors.at("b").item() == -2.5);
  CHECK(file.tensors.at("h").values<float>()[0] == 1);
  CHECK(file.tensors.at("h").values<float>()[1] == 0x1p-24f);
  CHECK(file.tensors.at("h").values<float>()[2] == -std::numeric_limits<float>::infinity());
  CHECK(file.tensors.at("t").item() == 1);
}

TEST_CASE("safetensors: malformed files give one line with the offset") {
  const auto refused = [](const std::vector<std::byte>& bytes, const std::string& reason) {
    INFO(reason);
    try {
      parse_safetensors(bytes);
      FAIL("accepted");
    } catch (const FormatError& error) {
      const std::string line = error.what();
      CHECK(line.find(reason) != std::string::npos);
      CHECK(line.find('\n') == std::string::npos);
    }
  };
  const std::string f4 = R"("dtype":"F32","shape":[1],"data_offsets":[0,4])";
  refused({}, "has no header");
  refused(std::vector<std::byte>(8, std::byte{0xFF}), "exceeds the file");
  refused(file_of("{", 0), "not JSON");
  refused(file_of("[]", 0), "not an object");
  refused(file_of(std::string(1000, '['), 0), "nests deeper");
  refused(file_of("{\"a\":{" + f4 + "},\"a\":{" + f4 + "}}", 4), "occurs twice");
  refused(file_of("{\"a\":{" + f4 + "},\"b\":{" + f4 + "}}", 4), "overlaps");
  refused(file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8), "gap");
  refused(file_of("{\"a\":{" + f4 + "}}", 5), "after the last");
  refused(file_of("{\"a\":{" + f4 + "}}", 3), "outside the file");
  refused(file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4), "need 8");
  refused(file_of(R"({"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}})", 4), "unknown dtype");
  refused(file_of(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4), "natural number");
  refused(file_of(R"({"a":{"dtype":"F32","shape":[0.5],"data_offsets":[0,4]}})", 4), "natural number");
  refused(file_of(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4), "rank");
  refused(
      file_of(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}})", 4),
      "too large");
  refused(file_of(R"({"a":{"dtype":"F32","shape":[0,9223372036854775807,9],"data_offsets":[0,0]}})", 0),
          "too large");
  refused(file_of(R"({"a":{"dtype":"U8","shape":[0,4611686018427387904,3],"data_offsets":[0,0]}})", 0),
          "too large");
  refused(file_of(R"({"b":1})", 0), "exactly dtype");
  refused(file_of(R"({"__metadata__":{"a":1}})", 0), "not a string");
  const char pickle[] = "PK\x03\x04 archive";
  std::vector<std::byte> zip(sizeof pickle);
  std::memcpy(zip.data(), pickle, sizeof pickle);
  refused(zip, "scripts/pth2safetensors.py");
}

TEST_CASE("atomic_file: a failed write keeps the old contents and leaves nothing behind") {
  const auto path = scratch() / "file";
  const std::string old = "old";
  write_file_atomically(path, std::as_bytes(std::span(old)));
  CHECK(read_file(path).size() == 3);
  CHECK_THROWS_WITH(write_file_atomically(scratch() / "missing" / "file", {}),
                    Catch::Contains("missing/file"));
  std::filesystem::create_directory(scratch() / "directory");
  CHECK_THROWS(write_file_atomically(scratch() / "directory", std::as_bytes(std::span(old))));
  int entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(scratch())) entries += entry.exists();
  CHECK(entries == 2);
  CHECK_THROWS_WITH(load_safetensors(scratch() / "none"), Catch::Contains("none"));
  CHECK_THROWS_WITH(load_safetensors(path), Catch::Contains(path.string()) && Catch::Contains("at byte 0"));
}

TEST_CASE("atomic_file: permissions follow the umask, which saving leaves alone") {
  const auto folder = scratch() / "modes";
  std::filesystem::create_directory(folder);
  const std::string text = "text";
  const auto bytes = std::as_bytes(std::span(text));
  const auto mode_of = [](const std::filesystem::path& path) {
    return static_cast<unsigned>(std::filesystem::status(path).permissions());
  };
  const mode_t before = ::umask(0027);
  const int calls = umask_calls;
  {
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i)
      threads.emplace_back([&, i] {
        for (int j = 0; j < 10; ++j) write_file_atomically(folder / std::to_string(i * 10 + j), bytes);
      });
    for (std::thread& thread : threads) thread.join();
  }
  CHECK(umask_calls == calls);
  const mode_t after = ::umask(before);
  CHECK(after == 0027u);
  int entries = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    CHECK(mode_of(entry.path()) == 0640u);
    ++entries;
  }
  CHECK(entries == 40);
}

TEST_CASE("atomic_file: a target that exists is replaced, a link to it as well") {
  const auto folder = scratch() / "links";
  std::filesystem::create_directory(folder);
  const std::string old = "old", fresh = "fresh";
  write_file_atomically(folder / "target", std::as_bytes(std::span(old)));
  std::filesystem::permissions(folder / "target", std::filesystem::perms::owner_read);
  std::filesystem::create_symlink("target", folder / "link");
  write_file_atomically(folder / "link", std::as_bytes(std::span(fresh)));
  CHECK(!std::filesystem::is_symlink(folder / "link"));
  CHECK(read_file(folder / "link").size() == 5);
  CHECK(read_file(folder / "target").size() == 3);

  const mode_t before = ::umask(0022);
  write_file_atomically(folder / "target", std::as_bytes(std::span(fresh)));
  ::umask(before);
  CHECK(read_file(folder / "target").size() == 5);
  CHECK(static_cast<unsigned>(std::filesystem::status(folder / "target").permissions()) == 0644u);
  CHECK(std::distance(std::filesystem::directory_iterator(folder), std::filesystem::directory_iterator()) ==
        2);
}
