#include <zlib.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "apps/plot/png.h"
#include "apps/terminal/download.h"
#include "tensor/atomic_file.h"
#include "tensor/sha256.h"
#include "tests/apps/cli_support.h"
#include "tests/support/catch.h"

using namespace nibble;
using nibble::test::nibble_program;
using nibble::test::Outcome;
using nibble::test::TempFolder;
namespace fs = std::filesystem;

namespace {

// A curl that copies from folders: the mirror "folder/" is one. Fails as curl does where there is nothing.
constexpr const char* kFakeCurl = R"(#!/bin/sh
while [ $# -gt 2 ]; do shift; done
if [ -e "$2" ]; then exec /bin/cp "$2" "$1"; fi
echo "curl: (22) no such page" >&2
exit 22
)";

class Path {
 public:
  explicit Path(const std::string& value) : before_(std::getenv("PATH")) { setenv("PATH", value.c_str(), 1); }
  ~Path() { setenv("PATH", before_.c_str(), 1); }
  Path(const Path&) = delete;
  Path& operator=(const Path&) = delete;

 private:
  std::string before_;
};

void write_gzip(const fs::path& path, const std::string& text) {
  gzFile file = gzopen(path.c_str(), "wb");
  REQUIRE(gzwrite(file, text.data(), static_cast<unsigned>(text.size())) == static_cast<int>(text.size()));
  REQUIRE(gzclose(file) == Z_OK);
}

std::size_t entries(const fs::path& folder) {
  return static_cast<std::size_t>(std::distance(fs::directory_iterator(folder), fs::directory_iterator()));
}

std::uint32_t big_endian(const std::string& bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes.at(at + i));
  return value;
}

}  // namespace

TEST_CASE("download keeps what has the right hash, tries every mirror, leaves nothing half done") {
  const TempFolder bin, empty, wrong, good, target;
  std::ofstream(bin.file("curl")) << kFakeCurl;
  fs::permissions(bin.path() / "curl", fs::perms::owner_all);
  const Path path(bin.path().string());
  const std::string contents = "the images";
  const RemoteFile file{"t10k-images-idx3-ubyte", sha256(std::as_bytes(std::span(contents)))};
  write_gzip(wrong.path() / (file.name + ".gz"), "something else");
  write_gzip(good.path() / (file.name + ".gz"), contents);
  const std::vector<std::string> mirrors = {empty.path().string() + "/", wrong.path().string() + "/",
                                            good.path().string() + "/"};
  const fs::path folder = target.path() / "new" / "folder";

  CHECK_THROWS_WITH(download({file}, {mirrors[0], mirrors[1]}, folder),
                    Catch::Contains("no such page") && Catch::Contains("wrong SHA-256"));
  CHECK(entries(folder) == 0);

  download({file}, mirrors, folder);
  CHECK(test::read_text(folder / (file.name + ".gz")) == test::read_text(good.path() / (file.name + ".gz")));
  CHECK(entries(folder) == 1);
  download({file}, {}, folder);  // it is there: no mirror is asked

  std::ofstream(folder / file.name) << "somebody's own";
  CHECK_THROWS_WITH(download({file}, mirrors, folder), Catch::Contains("holds another"));
  CHECK(test::read_text(folder / file.name) == "somebody's own");

  std::ofstream(wrong.path() / (file.name + ".gz")) << "no gzip";
  CHECK_THROWS_WITH(download({file}, {mirrors[1]}, target.path() / "other"), Catch::Contains("gzip"));
  CHECK(entries(target.path() / "other") == 0);
}

TEST_CASE("data fetch says in one line that curl is missing") {
  const TempFolder folder;
  const Outcome outcome =
      nibble_program({"data", "fetch", "--data", folder.file("mnist")}, {"PATH=" + folder.path().string()});
  CHECK(outcome.code == 1);
  CHECK(outcome.err == "nibble: curl is not installed (apt-get install curl)\n");
  CHECK(entries(folder.path() / "mnist") == 0);
}

TEST_CASE("data verify prints counts, name and hashes, and refuses what is no data set") {
  const TempFolder folder;
  const std::string data = folder.file("tiny");
  test::write_tiny_dataset(data, 30, 20);
  const Outcome good = nibble_program({"data", "verify", "--data", data});
  CHECK(good.code == 0);
  CHECK(good.out.find("unknown, 30 training and 20 test images") != std::string::npos);
  const std::string name = "t10k-labels-idx1-ubyte";
  CHECK(good.out.find(sha256(read_file(folder.path() / "tiny" / name)) + "  " + name) != std::string::npos);

  fs::resize_file(folder.path() / "tiny" / name, 10);
  const Outcome truncated = nibble_program({"data", "verify", "--data", data});
  CHECK(truncated.code == 1);
  CHECK(truncated.err.find(name) != std::string::npos);
  CHECK(nibble_program({"data", "verify", "--data", folder.file("none")}).code == 1);
}

TEST_CASE("data show writes the same sheet for the same seed") {
  const TempFolder folder;
  const std::string data = folder.file("tiny"), first = folder.file("1.png"), second = folder.file("2.png"),
                    other = folder.file("3.png");
  test::write_tiny_dataset(data, 30, 20);
  CHECK(nibble_program({"data", "show", "--data", data, "--count", "9", "--out", first}).code == 0);
  CHECK(nibble_program({"data", "show", "--data", data, "--count", "9", "--out", second}).code == 0);
  CHECK(
      nibble_program({"data", "show", "--data", data, "--count", "9", "--seed", "1", "--out", other}).code ==
      0);
  const std::string png = test::read_text(first);
  CHECK(png.substr(0, 8) == "\x89PNG\r\n\x1a\n");
  CHECK(big_endian(png, 16) == 988);  // 2 panels of 8 images
  CHECK(big_endian(png, 20) == 124);  // 2 rows
  CHECK(png == test::read_text(second));
  CHECK(png != test::read_text(other));

  const Outcome unwritable =
      nibble_program({"data", "show", "--data", data, "--out", folder.file("none/sheet.png")});
  CHECK(unwritable.code == 1);
  CHECK(unwritable.err.find("none/sheet.png") != std::string::npos);
  CHECK(nibble_program({"data", "show", "--data", data, "--count", "0"}).code == 2);
  CHECK(nibble_program({"data", "show", "--data", data, "--rotate", "9,1"}).code == 1);
}

TEST_CASE("write_png refuses pixels that are no such image") {
  const TempFolder folder;
  const std::vector<std::uint8_t> pixels(6);
  CHECK_THROWS_AS(write_png(folder.path() / "x.png", 2, 2, 1, pixels), std::invalid_argument);
  CHECK_THROWS_AS(write_png(folder.path() / "x.png", 3, 1, 2, pixels), std::invalid_argument);
  write_png(folder.path() / "x.png", 2, 1, 3, pixels);
  CHECK(entries(folder.path()) == 1);
}
