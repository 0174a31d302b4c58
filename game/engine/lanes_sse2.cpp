// 2 games to a vector: SSE2, which every x86-64 CPU has.
#if defined(__SSE2__)
#include "lanes_simulator.hpp"

typedef double Vector __attribute__((vector_size(16)));

namespace qwop {
Simulator* make_sse2(Trig trig, int num_envs, bool stop_at_end) {
    return lanes::make<Vector>(trig, num_envs, stop_at_end);
}
}  // namespace qwop
#else
#include "simulator.hpp"

namespace qwop {
Simulator* make_sse2(Trig, int, bool) { return nullptr; }
}  // namespace qwop
#endif
