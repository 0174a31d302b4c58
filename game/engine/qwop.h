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

// Engines that this CPU can run, fastest first, separated by commas; "scalar" is always the last.
QWOP_API const char* qwop_engines();

// Variants of sine and cosine, the canonical one first, comma separated.
QWOP_API const char* qwop_trig_variants();

// Size of one game's snapshot, bytes. It is the same for every engine, and any engine can restore it.
QWOP_API size_t qwop_snapshot_size();

// nullptr when `engine` or `trig` is unknown, num_envs < 1 or memory is short. All games stand at the canonical start.
QWOP_API qwop_sim* qwop_create(const char* engine, const char* trig, int num_envs, int stop_at_end);
QWOP_API void qwop_destroy(qwop_sim* sim);

// Sets the number of threads that step the games, 1 at first. It does not change the bits.
QWOP_API void qwop_set_threads(qwop_sim* sim, int threads);

// Arrays refreshed by reset, step and restore: raw observation float[N * 60], clock double[N] (s),
// distance double[N] (m), flags uint8[N] (1 fallen, 2 jumped, 4 landed, 8 ended, 16 paused).
QWOP_API void qwop_bind(qwop_sim* sim, float* observation, double* time, double* distance, uint8_t* flags);

// mask: one byte per game, non-zero to reset it; nullptr: all games.
QWOP_API void qwop_reset(qwop_sim* sim, const uint8_t* mask);
// Returns 0. Or does nothing and returns -1 if a key mask is above 15.
QWOP_API int qwop_step(qwop_sim* sim, const uint8_t* keys, int frames);

// double[N * 92] in the column layout of the golden traces.
QWOP_API void qwop_state(qwop_sim* sim, double* out);

// uint8[N * qwop_snapshot_size()]: plain bytes, exact.
QWOP_API void qwop_snapshot(qwop_sim* sim, uint8_t* out);
// Puts each masked game i into the state of row row_of[i] of `in`, uint8[rows * qwop_snapshot_size()]; row_of nullptr:
// of row i. Many games may share a row, which is then read once. Returns 0. Or does nothing and returns -1 if a used
// row does not exist or is not a snapshot of a build with this layout, or -2 if its game has another variant of sine
// and cosine. convert: such a game is accepted and continues with the simulator's variant.
QWOP_API int qwop_restore(qwop_sim* sim, const uint8_t* in, int rows, const int32_t* row_of, const uint8_t* mask,
                          int convert);

// What happens in an open page, applied to game `env`: rows of uint32 (operation, keys, count), see session.hpp;
// operations are 0 open the page, 1 the game's own reset, 2 play a frame with keys, 3 wait a frame before the first
// click. Returns 0. Or does nothing and returns -1 if a row is not valid.
QWOP_API int qwop_operate(qwop_sim* sim, int env, const uint32_t* rows, int count);

// --- Recovery of sampled logs, see key_search.hpp ---------------------------------------------------------

enum { QWOP_SEARCH_FRAMES = 16 };

struct qwop_target {
    double numbers[60];  // x, y, angle, vx, vy of each part, in the order of an observation
    double reward;
    int32_t relative;    // each x is measured from the torso's
    int32_t by_reward;  // 1: search for this reward in a run that is over; 2: for this reward. The numbers are ignored
    int32_t min_frames, max_frames, max_changes, last_keys, most;
    int32_t is_given;  // try only `given`, of max_frames, and what differs from it without effect
    uint8_t given[QWOP_SEARCH_FRAMES];
};

// Key sequences that lead from a snapshot to the target. Returns how many were found, at most `most`, and writes a row
// of each: keys uint8[QWOP_SEARCH_FRAMES], frames, and a snapshot of the game that they lead to. -1: no snapshot.
QWOP_API int qwop_find_keys(const uint8_t* snapshot, const qwop_target* target, uint8_t* keys, int32_t* frames,
                            uint8_t* snapshots);

// --- Episodes --------------------------------------------------------------------------------------------

enum { QWOP_PARTS = 12, QWOP_FIELDS = 5, QWOP_JOINTS = 11, QWOP_FEATURES = 98 };

// Constants of the observations, from the Python package.
struct qwop_encoder {
    float center[QWOP_PARTS * QWOP_FIELDS], deviation[QWOP_PARTS * QWOP_FIELDS];  // of the normalized observation
    float raw_low[QWOP_FIELDS], raw_high[QWOP_FIELDS];  // from here on, of the features
    float reference_angle[QWOP_JOINTS];
    float feet_half_width[2], feet_half_height[2], knee_end[4], knee_half_height[4];
    float landmark[4], landmark_reach[4];
    float pelvis_x, pelvis_y, track_y, units_per_meter, meters, speed, clearance;
    int32_t joint_a[QWOP_JOINTS], joint_b[QWOP_JOINTS], feet[2], knee_parts[4];
};

// The episodes of N games. The caller owns all arrays; each has an entry or a row per game.
struct qwop_episodes {
    uint8_t *keys, *hip_mode;  // held in the last step; 0 as created, 1 set by O, 2 by P
    int64_t* frame;  // frames since the start of the episode
    float *last_distance, *last_tenths;  // at the end of the previous step, for the reward
    float* reward;
    uint8_t *success, *terminated, *truncated;
    float* observation;  // as qwop_observe gives it; nullptr: none
    const qwop_encoder* encoder;
    double too_far_back, too_far_ahead, finish;  // m; rules.py has these and the weights of the reward
    int64_t max_frames;  // 0: no limit
    float speed_weight, time_cost, success_reward, failure_cost;
    int32_t frame_skip, features;  // features: 1: the observation has features; 0: normalized numbers
};

// Plays `frame_skip` frames with episodes->keys held, then computes reward, success, terminated and truncated. Call
// qwop_bind before.
QWOP_API void qwop_play(qwop_sim* sim, const qwop_episodes* episodes);

// Observations of n games from their raw ones, float[n * 60]: float[n * 60] normalized, or features,
// float[n * QWOP_FEATURES], to which hip_mode and keys (of the frame before), uint8[n], belong.
QWOP_API void qwop_observe(const qwop_encoder* encoder, int features, int n, const float* raw, const uint8_t* hip_mode,
                           const uint8_t* keys, float* observation);

// --- For tests -------------------------------------------------------------------------------------------

// The constants that both the engine and Python define.
// bodies: double[14 * 5], half width and height, x, y and angle at creation, of the bodies of `qwop_state`, in its
// order. joints: double[QWOP_JOINTS * 9], rows of `bodies` of A and B, anchors (a.x, a.y, b.x, b.y), reference, lower
// and upper angle. game: double[3], seconds of a frame, y of the track's surface, x of the sand (units).
QWOP_API void qwop_constants(double* bodies, double* joints, double* game);

// Moves every part of the masked runners by (dx, dy) units and adds (vx, vy) to its velocity.
QWOP_API void qwop_teleport(qwop_sim* sim, const uint8_t* mask, double dx, double dy, double vx, double vy);
