// What a terminal sees of work under way.
#include "apps/terminal/progress.h"

#include "apps/terminal/live_lines.h"
#include "tests/support/catch.h"

namespace nibble::test {

TEST_CASE("progress bars look like tqdm's") {
  CHECK(ProgressBar::format("Epoch 1/3", 403, 938, 1.3, 0.5079, 1.9823, 10) ==
        "Epoch 1/3:  43%|████▎     | 403/938 [00:01<00:02, 310.0it/s, acc=0.5079, loss=1.9823]");
  CHECK(ProgressBar::format("x", 0, 10, 0, 0, 0, 0) ==
        "x:   0% 0/10 [00:00<?, 0.0it/s, acc=0.0000, loss=0.0000]");
  CHECK(ProgressBar::format("x", 10, 10, 4000, 1, 0, 0) ==
        "x: 100% 10/10 [1:06:40<00:00, 0.0it/s, acc=1.0000, loss=0.0000]");
}

TEST_CASE("live lines are drawn below each other, and what ends stays above them") {
  LiveLines lines;
  const int a = 0, b = 0;
  const std::string erase_one = "\r\x1b[J", erase_two = "\x1b[1A\r\x1b[J";
  CHECK(lines.erase() + lines.draw() == "");
  CHECK(lines.set(&a, "a 1", 3) == "a 1");
  CHECK(lines.set(&a, "a 2", 3) == erase_one + "a 2");
  CHECK(lines.set(&b, "b 1", 3) == erase_one + "a 2\nb 1");
  CHECK(lines.set(&a, "a 3", 3) == erase_two + "a 3\nb 1");
  CHECK(lines.erase() == erase_two);
  CHECK(lines.erase() == "");
  CHECK(lines.draw() == "a 3\nb 1");
  CHECK(lines.close(&a) == erase_two + "a 3\nb 1");
  CHECK(lines.close(&a) == "");
  CHECK(lines.close(&b) == erase_one + "b 1\n");
  CHECK(lines.erase() == "");
}

TEST_CASE("no more live lines are drawn than the terminal has room for") {
  LiveLines lines;
  const int a = 0, b = 0, c = 0;
  lines.set(&a, "a", 2);
  lines.set(&b, "b", 2);
  CHECK(lines.set(&c, "c", 2) == "\x1b[1A\r\x1b[Ja\nb");
  CHECK(lines.close(&a) == "\x1b[1A\r\x1b[Ja\nb\nc");
  CHECK(lines.set(&b, "b", 0) == "\x1b[1A\r\x1b[J");
  CHECK(lines.erase() == "");
}

}  // namespace nibble::test
