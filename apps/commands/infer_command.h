#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_infer_command(CLI::App& app);

}  // namespace nibble
