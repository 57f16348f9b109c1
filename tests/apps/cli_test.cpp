#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "tests/apps/cli_support.h"
#include "tests/support/catch.h"

using nibble::test::nibble_program;
using nibble::test::Outcome;

TEST_CASE("cpu names the tiers and obeys NIBBLE_ISA") {
  const Outcome plain = nibble_program({"cpu"});
  CHECK(plain.code == 0);
  CHECK(plain.out.find("tiers") != std::string::npos);
  const Outcome wrong = nibble_program({"cpu"}, {"NIBBLE_ISA=mmx"});
  CHECK(wrong.code == 1);
  CHECK(wrong.err.find("mmx") != std::string::npos);
}

TEST_CASE("standard output that cannot be written, or is closed, ends in an error") {
  for (const char* arguments : {"cpu >/dev/full", "--help >/dev/full", "cpu >&-"}) {
    INFO(arguments);
    const int status = std::system((std::string(NIBBLE_PROGRAM " ") + arguments + " 2>/dev/null").c_str());
    CHECK(WEXITSTATUS(status) == 1);
  }
}

TEST_CASE("a wrong command line gives one line on stderr and a non-zero exit") {
  const std::vector<std::string> arguments =
      GENERATE(std::vector<std::string>{}, std::vector<std::string>{"nonsense"},
               std::vector<std::string>{"cpu", "--nonsense"});
  const Outcome outcome = nibble_program(arguments);
  CHECK(outcome.code == 2);
  CHECK(outcome.out.empty());
  CHECK(outcome.err.rfind("nibble: ", 0) == 0);
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
}

TEST_CASE("a wrong command line names what is wrong with it") {
  const auto error_of = [](const std::vector<std::string>& arguments) {
    return nibble_program(arguments).err;
  };
  CHECK(error_of({"nonsense"}).find("unknown argument nonsense") != std::string::npos);
  CHECK(error_of({"data", "nonsense"}).find("unknown argument nonsense") != std::string::npos);
  CHECK(error_of({}).find("subcommand is required") != std::string::npos);
  for (const char* seed : {"-3", "18446744073709551616", "1.5", "one", ""}) {
    INFO(seed);
    const Outcome outcome = nibble_program({"train", "--seed", seed});
    CHECK(outcome.code == 2);
    CHECK(outcome.err.find("must be a whole number from 0 to 2^64 - 1") != std::string::npos);
  }
}
