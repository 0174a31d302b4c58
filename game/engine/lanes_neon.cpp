// 2 games to a vector: NEON, which every 64-bit Arm CPU has.
#if defined(__aarch64__)
#include "lanes_simulator.hpp"

typedef double Vector __attribute__((vector_size(16)));

namespace qwop {
Simulator* make_neon(Trig trig, int num_envs, bool stop_at_end) {
    return lanes::make<Vector>(trig, num_envs, stop_at_end);
}
}  // namespace qwop
#else
#include "simulator.hpp"

namespace qwop {
Simulator* make_neon(Trig, int, bool) { return nullptr; }
}  // namespace qwop
#endif
