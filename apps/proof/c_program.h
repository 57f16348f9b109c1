#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/terminal/temporary_folder.h"
#include "quant/integer/export_c.h"

namespace nibble {

// A command as words separated by spaces, which no shell ever sees, e.g. {"arm-linux-gnueabihf-gcc -static",
// "qemu-arm"}. compiler "": $CC, or cc. runner "": the program is run as it is.
struct CToolchain {
  std::string compiler, runner;
};

bool c_compiler_available(const CToolchain& tools = {});

// An exported program (quant/integer/export_c.h), compiled with its driver, every warning an error, and there
// to be run. Everything throws std::runtime_error with the command and the first line of what it complained
// of.
class CProgram {
 public:
  CProgram(const quant::IntModel& model, const quant::CSources& sources, const std::string& name,
           const CToolchain& tools = {});

  // Image after image. hashes: of the tensors of the trace, in its order, for each layer of the accumulators,
  // if there are any, before the codes.
  struct Output {
    std::vector<std::int32_t> logits;   // [N, logits of the model]
    std::vector<std::uint64_t> hashes;  // [N, traced tensors]
  };
  Output run(const Tensor& pixels) const;  // uint8 [N, C, H, W]

  bool self_test() const;

 private:
  int run_program(std::vector<std::string> arguments, const std::filesystem::path& input,
                  const std::filesystem::path& output) const;

  TemporaryFolder folder_;
  std::vector<std::string> command_;
  Shape image_;
  std::int64_t logits_, hashes_;  // of one image
};

}  // namespace nibble
