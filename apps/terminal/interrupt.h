#pragma once

#include <stdexcept>

namespace nibble {

// Ctrl-C asks long work to stop at the next step. Loops poll interrupted(), save what they have and throw
// Interrupted; main() then exits with 130. A second Ctrl-C kills.
void install_interrupt_handler();
bool interrupted();

class Interrupted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// For loops that have nothing to save.
void stop_if_interrupted();

}  // namespace nibble
