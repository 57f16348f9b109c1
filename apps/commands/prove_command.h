#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_prove_command(CLI::App& app);

}  // namespace nibble
