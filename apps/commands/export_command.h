#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_export_command(CLI::App& app);

}  // namespace nibble
