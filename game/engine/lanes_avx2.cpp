// 4 games to a vector: AVX2 with FMA.
#if defined(__AVX2__) && defined(__FMA__)
#include "lanes_simulator.hpp"

typedef double Vector __attribute__((vector_size(32)));

namespace qwop {
Simulator* make_avx2(Trig trig, int num_envs, bool stop_at_end) {
    return lanes::make<Vector>(trig, num_envs, stop_at_end);
}
}  // namespace qwop
#else
#include "simulator.hpp"

namespace qwop {
Simulator* make_avx2(Trig, int, bool) { return nullptr; }
}  // namespace qwop
#endif
