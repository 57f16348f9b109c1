#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_ptq_command(CLI::App& app);

}  // namespace nibble
