#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_eval_command(CLI::App& app);

}  // namespace nibble
