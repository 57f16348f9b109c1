#include <CLI/CLI.hpp>
#include <algorithm>
#include <exception>
#include <iostream>
#include <string>
#include <vector>

#include "apps/commands/cpu_command.h"
#include "apps/commands/data_command.h"
#include "apps/commands/eval_command.h"
#include "apps/commands/export_command.h"
#include "apps/commands/infer_command.h"
#include "apps/commands/inspect_command.h"
#include "apps/commands/lab_command.h"
#include "apps/commands/lower_command.h"
#include "apps/commands/profile_command.h"
#include "apps/commands/prove_command.h"
#include "apps/commands/ptq_command.h"
#include "apps/commands/qat_command.h"
#include "apps/commands/sweep_command.h"
#include "apps/commands/train_command.h"
#include "apps/terminal/interrupt.h"
#include "apps/terminal/standard_streams.h"
#include "apps/terminal/wait_policy.h"

namespace {

constexpr int kFailure = 1, kUsage = 2, kInterruptedBySignal = 130;

// Messages of libraries may span lines; what we print is one line.
int fail(std::string message, int code) {
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::cerr << "nibble: " << message << std::endl;
  return code;
}

// Of `nibble bogus` CLI11 says that a subcommand is required, not that bogus is none.
std::string reason(const CLI::ParseError& error, const CLI::App& app) {
  const std::vector<std::string> unknown = app.remaining(true);
  const bool misses_something = error.get_exit_code() == static_cast<int>(CLI::ExitCodes::RequiredError);
  return misses_something && !unknown.empty() ? "unknown argument " + unknown.front() : error.what();
}

}  // namespace

int main(int argc, char** argv) {
  nibble::hold_standard_streams();
  nibble::prefer_short_spins(argv);
  try {
    nibble::install_interrupt_handler();
    CLI::App app("nibble: neural-network quantization, end to end, on the CPU", "nibble");
    app.set_version_flag("--version", "nibble " NIBBLE_VERSION);
    app.require_subcommand(1);
    app.footer("Example: nibble lab --out out     'nibble COMMAND --help' tells more.");
    nibble::add_lab_command(app);
    nibble::add_data_command(app);
    nibble::add_train_command(app);
    nibble::add_eval_command(app);
    nibble::add_ptq_command(app);
    nibble::add_qat_command(app);
    nibble::add_sweep_command(app);
    nibble::add_inspect_command(app);
    nibble::add_lower_command(app);
    nibble::add_prove_command(app);
    nibble::add_infer_command(app);
    nibble::add_export_command(app);
    nibble::add_profile_command(app);
    nibble::add_cpu_command(app);
    try {
      app.parse(argc, argv);  // runs the chosen command
    } catch (const CLI::ParseError& error) {
      if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success))
        app.exit(error);  // --help or --version
      else
        return fail(reason(error, app) + " (see 'nibble COMMAND --help')", kUsage);
    }
    if (!nibble::standard_output_is_whole()) return fail("cannot write to standard output", kFailure);
    return 0;
  } catch (const nibble::Interrupted& error) {
    return fail(error.what(), kInterruptedBySignal);
  } catch (const std::bad_alloc&) {
    return fail("out of memory", kFailure);
  } catch (const std::exception& error) {
    return fail(error.what(), kFailure);
  }
}
