// 8 games to a vector: AVX-512.
#if defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__FMA__)
#include "lanes_simulator.hpp"

typedef double Vector __attribute__((vector_size(64)));

namespace qwop {
Simulator* make_avx512(Trig trig, int num_envs, bool stop_at_end) {
    return lanes::make<Vector>(trig, num_envs, stop_at_end);
}
}  // namespace qwop
#else
#include "simulator.hpp"

namespace qwop {
Simulator* make_avx512(Trig, int, bool) { return nullptr; }
}  // namespace qwop
#endif
