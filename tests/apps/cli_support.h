#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace nibble::test {

// A folder of its own under the system's temporary folder, removed at the end.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::string file(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

// Four IDX files of ten easily told classes: a bright bar whose place depends on the label, on a noisy
// ground.
void write_tiny_dataset(const std::filesystem::path& folder, int train_images, int test_images);

std::string read_text(const std::filesystem::path& path);

struct Outcome {
  int code;  // 128 + signal when killed
  std::string out, err;
};

// The built program, in a process of its own.
class Process {
 public:
  explicit Process(std::vector<std::string> arguments, std::vector<std::string> environment = {});
  ~Process();
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

  void signal(int number);
  bool running();
  Outcome wait();

 private:
  TempFolder folder_;
  pid_t pid_ = -1;
  int status_ = 0;
};

Outcome nibble_program(std::vector<std::string> arguments, std::vector<std::string> environment = {});

}  // namespace nibble::test
