#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "apps/terminal/temporary_folder.h"

namespace nibble::test {

class TempFolder : public TemporaryFolder {
 public:
  std::string file(const std::string& name) const { return (path() / name).string(); }
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

// A folder with a tiny data set.
class Workspace {
 public:
  Workspace() { write_tiny_dataset(data(), 320, 100); }
  std::string data() const { return file("data"); }
  std::string file(const std::string& name) const { return folder_.file(name); }

  Outcome run(std::vector<std::string> arguments) const;  // with --data added
  // Path of a checkpoint made by one epoch of `nibble train`.
  std::string trained(const std::string& name, std::vector<std::string> more = {}) const;

 private:
  TempFolder folder_;
};

std::string last_lines(const std::string& text, int count);

// Non-zero exit and one line on standard error, which names `named`.
void check_fails(const Outcome& outcome, const std::string& named);

}  // namespace nibble::test
