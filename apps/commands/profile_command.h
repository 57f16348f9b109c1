#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_profile_command(CLI::App& app);

}  // namespace nibble
