#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_inspect_command(CLI::App& app);

}  // namespace nibble
