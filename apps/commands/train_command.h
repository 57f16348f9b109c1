#pragma once

namespace CLI {
class App;
}

namespace nibble {

void add_train_command(CLI::App& app);

}  // namespace nibble
