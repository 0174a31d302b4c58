// The engine as a WebAssembly module: a few games and buffers in the module's own memory, addressed by number.
//
// A page plays one game, shows ghosts in others and looks ahead in more; each is GAME_BYTES. Nothing is imported.
// The bits are those of the scalar engine, because it is the scalar engine.
#include <cstdint>
#include <cstring>

#include "episodes.hpp"
#include "game.hpp"
#include "session.hpp"

#define EXPORT extern "C" __attribute__((visibility("default")))

using qwop::Game;

constexpr int GAMES = 64;
constexpr int MAX_START_ROWS = 1 << 16;

static Game games[GAMES];
static qwop::OperationRow start[MAX_START_ROWS];
static qwop_encoder encoder;
static double state[qwop::STATE_COLUMNS];
static float raw[qwop::OBSERVATION_SIZE], features[QWOP_FEATURES];

EXPORT int game_count() { return GAMES; }
EXPORT int trig_count() { return qwop::TRIG_COUNT; }
EXPORT int state_size() { return qwop::STATE_COLUMNS; }
EXPORT int observation_size() { return qwop::OBSERVATION_SIZE; }
EXPORT int feature_size() { return QWOP_FEATURES; }
EXPORT int encoder_size() { return sizeof encoder; }

// Where the page writes the constants of the features: the bytes of a qwop_encoder.
EXPORT void* encoder_address() { return &encoder; }

// Game `game` at the start of an episode. trig: index in TRIG_NAMES.
EXPORT void reset(int game, int trig) { games[game] = Game::canonical(static_cast<qwop::Trig>(trig)); }

// Where the page writes what happened before an episode: rows of operation, keys, count; at most max_start_rows().
EXPORT int max_start_rows() { return MAX_START_ROWS; }
EXPORT qwop::OperationRow* start_address() { return start; }

// Game `game` after the first `rows` rows of the start. Returns 0; 1 if they are no session, and the game is unchanged.
EXPORT int begin(int game, int trig, int rows) {
    if (rows < 0 || rows > MAX_START_ROWS || !qwop::valid_operations(start, rows)) return 1;
    games[game] = Game::canonical(static_cast<qwop::Trig>(trig));
    qwop::operate(games[game], static_cast<qwop::Trig>(trig), start, rows);
    return 0;
}

// One frame with `keys` held (Q = 1, W = 2, O = 4, P = 8). Returns the flags: 1 fallen, 2 jumped, 4 landed, 8 ended,
// 16 paused. A game that has ended goes on as the real one does; whoever wants it to stand still stops stepping it.
EXPORT int step(int game, int keys) {
    games[game].update(static_cast<uint8_t>(keys));
    return games[game].flags();
}

EXPORT void copy(int to, int from) { games[to] = games[from]; }
EXPORT int flags(int game) { return games[game].flags(); }
EXPORT double time(int game) { return games[game].score_time; }          // s
EXPORT double distance(int game) { return games[game].distance(); }      // m

// The address of 92 doubles, in the columns of Simulator.state.
EXPORT const double* read_state(int game) {
    games[game].write_state(state);
    return state;
}

// The address of 60 floats, the raw observation.
EXPORT const float* read_observation(int game) {
    games[game].write_observation(raw);
    return raw;
}

// The address of 98 floats. hip_mode and keys: of the frame before.
EXPORT const float* read_features(int game, int hip_mode, int keys) {
    const uint8_t mode = static_cast<uint8_t>(hip_mode), held = static_cast<uint8_t>(keys);
    games[game].write_observation(raw);
    qwop::observe(encoder, true, 0, raw, &mode, &held, features);
    return features;
}
