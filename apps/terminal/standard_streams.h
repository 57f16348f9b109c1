#pragma once

namespace nibble {

// Standard streams that whoever started the program has closed: a file that is opened later would get their
// number, and what is printed would end up in it. They are opened so that using them fails as before.
void hold_standard_streams();

// Whether everything printed on standard output has arrived.
bool standard_output_is_whole();

}  // namespace nibble
