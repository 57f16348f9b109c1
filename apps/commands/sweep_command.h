#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_sweep_command(CLI::App& app);

}  // namespace nibble
