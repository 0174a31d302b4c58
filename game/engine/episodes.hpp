// What an environment adds to the games: qwop-gym's rules (when a run is over, the reward) and the observations. The
// Python package has the same in games.py, rules.py and encoder.py, and gives the numbers that they contain. The bits
// are equal; Python checks the observations' before it uses this.
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
