// The engine's C interface: num_envs games stepped together, bound from Python with ctypes.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(_WIN32)
#define QWOP_API extern "C" __declspec(dllexport)
#else
#define QWOP_API extern "C" __attribute__((visibility("default")))
#endif

struct qwop_sim;

// Engines this CPU can run, fastest first, comma separated; "scalar" is always the last.
QWOP_API const char* qwop_engines();

// Whose sine and cosine the engine speaks, to the last bit: "glibc-fma".
QWOP_API const char* qwop_dialect();

// Bytes of one game's snapshot. The same for every engine: a snapshot moves freely between them.
QWOP_API size_t qwop_snapshot_size();

// nullptr when `engine` is unknown, num_envs < 1 or memory is short. All games stand at the canonical start.
QWOP_API qwop_sim* qwop_create(const char* engine, int num_envs, int stop_at_end);
QWOP_API void qwop_destroy(qwop_sim* sim);

// Arrays refreshed by reset, step and restore: raw observation float[N * 60], clock double[N] (s),
// distance double[N] (m), flags uint8[N] (1 fallen, 2 jumped, 4 landed, 8 ended, 16 paused).
QWOP_API void qwop_bind(qwop_sim* sim, float* observation, double* time, double* distance, uint8_t* flags);

// mask: one byte a game, non-zero = act on it; nullptr = all.
QWOP_API void qwop_reset(qwop_sim* sim, const uint8_t* mask);
QWOP_API void qwop_step(qwop_sim* sim, const uint8_t* keys, int frames);

// double[N * 92] in the column layout of the golden traces.
QWOP_API void qwop_state(qwop_sim* sim, double* out);

// uint8[N * qwop_snapshot_size()]: plain bytes, exact. restore returns 0, or -1, and does nothing,
// where bytes are no snapshot of a build with this layout.
QWOP_API void qwop_snapshot(qwop_sim* sim, uint8_t* out);
QWOP_API int qwop_restore(qwop_sim* sim, const uint8_t* in, const uint8_t* mask);

// For tests: moves every part of the masked runners by (dx, dy) units and adds (vx, vy) to its velocity.
QWOP_API void qwop_teleport(qwop_sim* sim, const uint8_t* mask, double dx, double dy, double vx, double vy);
