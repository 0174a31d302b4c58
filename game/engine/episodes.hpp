// What an environment adds to the games: qwop-gym's rules of when a run is over and what a step is worth, and the
// observations that a policy sees. The Python package has the same, readable, in games.py and encoder.py: to the
// last bit, which it checks before it relies on this.
#pragma once
#include "qwop.h"

namespace qwop {

// Game i after a step: its clock before and after (s), its distance (m) and flags.
void evaluate_step(const qwop_episodes& episodes, int i, double time_before, double time, double distance,
                   uint8_t flags);

// Row i of qwop_observe.
void observe(const qwop_encoder& encoder, bool features, int i, const float* raw, const uint8_t* hip_mode,
             const uint8_t* keys, float* observation);

}  // namespace qwop
