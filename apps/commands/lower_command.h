#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_lower_command(CLI::App& app);

}  // namespace nibble
