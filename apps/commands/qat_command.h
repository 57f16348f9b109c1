#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_qat_command(CLI::App& app);

}  // namespace nibble
