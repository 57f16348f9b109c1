#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_cpu_command(CLI::App& app);

}  // namespace nibble
