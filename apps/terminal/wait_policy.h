#pragma once

namespace nibble {

// Lets idle threads of a parallel region sleep early, unless the environment says how they should wait. By
// default libgomp's spin for milliseconds, which on a machine that also does other work means that a thread
// waits for a core on which another one spins: a training step was seen to take 20 times as long. libgomp
// reads its settings when it is loaded, so the program starts itself anew with them; returns if that is not
// needed or fails. Call first in main.
void prefer_short_spins(char** argv);

}  // namespace nibble
