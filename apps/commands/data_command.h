#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_data_command(CLI::App& app);

}  // namespace nibble
