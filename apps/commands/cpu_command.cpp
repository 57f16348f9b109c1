#include "apps/commands/cpu_command.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <string>

#include "tensor/parallel.h"
#include "tensor/simd/isa.h"

namespace nibble {

void add_cpu_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("cpu", "Show the kernel tiers this machine can run and the one chosen");
  command->footer("Example: NIBBLE_ISA=avx2 nibble cpu");
  command->callback([] {
    std::string tiers;
    for (Isa isa : supported_isas()) tiers += std::string(tiers.empty() ? "" : " ") + name_of(isa);
    fmt::print("tiers    {}\nchosen   {}\nthreads  {}\n", tiers, name_of(active_isa()), num_threads());
  });
}

}  // namespace nibble
