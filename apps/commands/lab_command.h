#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_lab_command(CLI::App& app);

}  // namespace nibble
