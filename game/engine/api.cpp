#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <vector>

#include "cpu.hpp"
#include "episodes.hpp"
#include "key_search.hpp"
#include "qwop.h"
#include "session.hpp"
#include "simulator.hpp"
#include "thread_pool.hpp"

using qwop::Game;

// A snapshot is this header and the bytes of a Game: exact, and valid for builds with the same layout.
struct SnapshotHeader {
    char magic[4] = {'Q', 'W', 'O', '2'};  // raise the digit when the layout of Game changes
    uint32_t size = sizeof(Game);
    uint64_t checksum = 0;
};
static_assert(std::is_trivially_copyable<Game>::value, "a snapshot copies a Game's bytes");

// Fletcher's checksum over eight columns of words, which compilers vectorize. With a damaged snapshot the engine would
// access memory outside its arrays. The checksum includes a Game's padding.
static uint64_t checksum(const uint8_t* game) {
    constexpr size_t ROW = 64, TAIL = sizeof(Game) % ROW;
    uint64_t words[8], sums[8] = {}, sums_of_sums[8] = {};
    const auto add = [&] {
        for (int i = 0; i < 8; ++i) sums_of_sums[i] += sums[i] += words[i];
    };
    for (size_t at = 0; at + ROW <= sizeof(Game); at += ROW) {
        std::memcpy(words, game + at, ROW);
        add();
    }
    std::memset(words, 0, ROW);
    std::memcpy(words, game + sizeof(Game) - TAIL, TAIL);
    add();
    uint64_t result = 0;
    for (const uint64_t* part : {sums, sums_of_sums})
        for (int i = 0; i < 8; ++i) {
            result = (result ^ part[i]) * 0x9e3779b97f4a7c15;
            result ^= result >> 32;  // else changes of the highest bits would cancel
        }
    return result;
}

struct qwop_sim {
    qwop::Trig trig{};
    std::unique_ptr<qwop::Simulator> simulator;
    qwop::Outputs outputs{};
    std::unique_ptr<qwop::ThreadPool> pool = std::make_unique<qwop::ThreadPool>(1);

    // Steps all games, group by group. Each game of a group is followed by then(i, time_before).
    template <class Then>
    void step(const uint8_t* keys, int frames, Then then) {
        const int n = simulator->num_envs(), size = simulator->group_size();
        pool->run((n + size - 1) / size, [&](int worker, int group) {
            const int first = group * size, end = first + size < n ? first + size : n;
            double times[qwop::MAX_GROUP_SIZE] = {};
            for (int i = first; i < end && outputs.time; ++i) times[i - first] = outputs.time[i];
            simulator->step(group, keys, frames, worker);
            for (int i = first; i < end; ++i) {
                refresh(i);
                then(i, times[i - first]);
            }
        });
    }

    void refresh(int env) {
        if (!outputs.observation) return;
        simulator->observe(env, {outputs.observation + size_t(env) * qwop::OBSERVATION_SIZE, outputs.time + env,
                                 outputs.distance + env, outputs.flags + env});
    }
};

struct Engine {
    const char* name;
    qwop::Simulator* (*make)(qwop::Trig trig, int num_envs, bool stop_at_end);
    bool (*runs_here)();
};

#if defined(__x86_64__)
static bool has_avx2() { return qwop::cpu::features().avx2; }
static bool has_avx512() { return qwop::cpu::features().avx512; }
#endif
static bool always() { return true; }

static const Engine ENGINES[] = {
#if defined(__x86_64__)
    {"avx512", qwop::make_avx512, has_avx512},
    {"avx2", qwop::make_avx2, has_avx2},
    {"sse2", qwop::make_sse2, always},
#elif defined(__aarch64__)
    {"neon", qwop::make_neon, always},
#endif
    {"scalar", qwop::make_scalar, always},
};

const char* qwop_engines() {
    static const std::string names = [] {
        std::string list;
        for (const Engine& engine : ENGINES)
            if (engine.runs_here()) list += (list.empty() ? "" : ",") + std::string(engine.name);
        return list;
    }();
    return names.c_str();
}

size_t qwop_snapshot_size() { return sizeof(SnapshotHeader) + sizeof(Game); }

const char* qwop_trig_variants() {
    static const std::string names = [] {
        std::string list;
        for (const char* name : qwop::TRIG_NAMES) list += (list.empty() ? "" : ",") + std::string(name);
        return list;
    }();
    return names.c_str();
}

qwop_sim* qwop_create(const char* name, const char* trig_name, int num_envs, int stop_at_end) try {
    int trig = 0;
    while (trig < qwop::TRIG_COUNT && std::strcmp(qwop::TRIG_NAMES[trig], trig_name) != 0) ++trig;
    if (trig == qwop::TRIG_COUNT) return nullptr;
    for (const Engine& engine : ENGINES) {
        if (num_envs < 1 || std::strcmp(engine.name, name) != 0 || !engine.runs_here()) continue;
        auto sim = std::make_unique<qwop_sim>();
        sim->trig = static_cast<qwop::Trig>(trig);
        sim->simulator.reset(engine.make(sim->trig, num_envs, stop_at_end != 0));
        return sim->simulator ? sim.release() : nullptr;
    }
    return nullptr;
} catch (const std::bad_alloc&) {
    return nullptr;
}

void qwop_destroy(qwop_sim* sim) { delete sim; }

void qwop_set_threads(qwop_sim* sim, int threads) {
    sim->simulator->set_workers(threads);
    sim->pool = std::make_unique<qwop::ThreadPool>(threads);
}

void qwop_bind(qwop_sim* sim, float* observation, double* time, double* distance, uint8_t* flags) {
    sim->outputs = {observation, time, distance, flags};
    for (int i = 0; i < sim->simulator->num_envs(); ++i) sim->refresh(i);
}

void qwop_reset(qwop_sim* sim, const uint8_t* mask) {
    for (int i = 0; i < sim->simulator->num_envs(); ++i) {
        if (mask && !mask[i]) continue;
        sim->simulator->set_game(i, Game::canonical(sim->trig));
        sim->refresh(i);
    }
}

int qwop_step(qwop_sim* sim, const uint8_t* keys, int frames) {
    uint8_t all = 0;
    for (int i = 0; i < sim->simulator->num_envs(); ++i) all |= keys[i];
    if (all > 15) return -1;
    sim->step(keys, frames, [](int, double) {});
    return 0;
}

void qwop_play(qwop_sim* sim, const qwop_episodes* episodes) {
    const qwop_episodes& e = *episodes;
    sim->step(e.keys, e.frame_skip, [&](int i, double time_before) {
        const qwop::Outputs& out = sim->outputs;
        qwop::evaluate_step(e, i, time_before, out.time[i], out.distance[i], out.flags[i]);
        if (e.observation) qwop::observe(*e.encoder, e.features, i, out.observation, e.hip_mode, e.keys, e.observation);
    });
}

void qwop_observe(const qwop_encoder* encoder, int features, int n, const float* raw, const uint8_t* hip_mode,
                  const uint8_t* keys, float* observation) {
    for (int i = 0; i < n; ++i) qwop::observe(*encoder, features, i, raw, hip_mode, keys, observation);
}

void qwop_state(qwop_sim* sim, double* out) {
    for (int i = 0; i < sim->simulator->num_envs(); ++i)
        sim->simulator->game(i).write_state(out + size_t(i) * qwop::STATE_COLUMNS);
}

static void write_snapshot(const Game& game, uint8_t* out) {
    SnapshotHeader header;
    std::memcpy(out + sizeof header, &game, sizeof(Game));
    header.checksum = checksum(out + sizeof header);
    std::memcpy(out, &header, sizeof header);
}

void qwop_snapshot(qwop_sim* sim, uint8_t* out) {
    for (int i = 0; i < sim->simulator->num_envs(); ++i, out += qwop_snapshot_size())
        write_snapshot(sim->simulator->game(i), out);
}

static bool is_snapshot(const uint8_t* in) {
    SnapshotHeader header;
    header.checksum = checksum(in + sizeof header);
    return std::memcmp(in, &header, sizeof header) == 0;
}

int qwop_restore(qwop_sim* sim, const uint8_t* in, int rows, const int32_t* row_of, const uint8_t* mask, int convert) {
    const int n = sim->simulator->num_envs();
    const size_t size = qwop_snapshot_size();
    // A list of games for each row, so that each row is read once: first[row], next[first[row]], ...
    constexpr int NONE = -1;
    std::vector<int> first(rows, NONE), next(n, NONE);
    for (int i = n - 1; i >= 0; --i) {
        if (mask && !mask[i]) continue;
        const int row = row_of ? row_of[i] : i;
        if (row < 0 || row >= rows) return -1;
        next[i] = first[row];
        first[row] = i;
    }
    struct {
        SnapshotHeader header;
        Game game;
    } copy;
    static_assert(sizeof copy == sizeof(SnapshotHeader) + sizeof(Game), "a snapshot's layout");
    const auto read = [&](int row) {
        std::memcpy(static_cast<void*>(&copy), in + row * size, size);
        if (!is_snapshot(reinterpret_cast<const uint8_t*>(&copy))) return -1;
        return !convert && copy.game.world.trig != sim->trig ? -2 : 0;
    };
    for (int row = 0; row < rows; ++row) {
        const int result = first[row] == NONE ? 0 : read(row);
        if (result != 0) return result;
    }
    // Another thread may have changed the bytes since then, so they are checked again: damaged ones are never used.
    for (int row = 0; row < rows; ++row) {
        if (first[row] == NONE) continue;
        const int result = read(row);
        if (result != 0) return result;
        copy.game.world.set_trig(sim->trig);
        for (int i = first[row]; i != NONE; i = next[i]) {
            sim->simulator->set_game(i, copy.game);
            sim->refresh(i);
        }
    }
    return 0;
}

int qwop_operate(qwop_sim* sim, int env, const uint32_t* rows, int count) {
    const std::unique_ptr<qwop::OperationRow[]> operations(new qwop::OperationRow[count > 0 ? count : 1]);
    for (int i = 0; i < count; ++i) operations[i] = {rows[3 * i], rows[3 * i + 1], rows[3 * i + 2]};
    if (!qwop::valid_operations(operations.get(), count)) return -1;
    Game game = sim->simulator->game(env);
    qwop::operate(game, sim->trig, operations.get(), count);
    sim->simulator->set_game(env, game);
    sim->refresh(env);
    return 0;
}

int qwop_find_keys(const uint8_t* snapshot, const qwop_target* t, uint8_t* keys, int32_t* frames, uint8_t* snapshots) {
    static_assert(QWOP_SEARCH_FRAMES == qwop::MAX_SEARCH_FRAMES, "rows of qwop.h");
    if (!is_snapshot(snapshot)) return -1;
    Game first;
    std::memcpy(static_cast<void*>(&first), snapshot + sizeof(SnapshotHeader), sizeof(Game));
    qwop::Target target{};
    std::memcpy(target.numbers, t->numbers, sizeof target.numbers);
    target.relative = t->relative != 0;
    target.by_reward = t->by_reward != 0;
    target.ended = t->by_reward == 1;
    target.reward = t->reward;
    const std::unique_ptr<qwop::KeySequence[]> found(new qwop::KeySequence[t->most]);
    const int count = qwop::find_keys(first, target,
                                      {t->min_frames, t->max_frames, t->max_changes, static_cast<uint8_t>(t->last_keys),
                                       t->is_given ? t->given : nullptr},
                                      t->most, found.get());
    for (int i = 0; i < count; ++i) {
        std::memcpy(keys + i * QWOP_SEARCH_FRAMES, found[i].keys, QWOP_SEARCH_FRAMES);
        frames[i] = found[i].frames;
        write_snapshot(found[i].game, snapshots + i * qwop_snapshot_size());
    }
    return count;
}

void qwop_constants(double* bodies, double* joints, double* game) {
    using namespace qwop;
    double row_of[BODY_COUNT] = {};
    for (int row = 0; row < STATE_BODIES; ++row) {
        const BodyConstants& c = BODIES[STATE_ORDER[row]];
        row_of[c.id] = row;
        for (double value : {c.half_width, c.half_height, c.x, c.y, c.angle}) *bodies++ = value;
    }
    for (int id = NECK; id < JOINT_COUNT; ++id) {
        const JointConstants& c = JOINTS[id];
        for (double value : {row_of[c.body_a], row_of[c.body_b], c.anchor_a_x, c.anchor_a_y, c.anchor_b_x, c.anchor_b_y,
                             c.reference_angle, c.lower_angle, c.upper_angle})
            *joints++ = value;
    }
    for (double value : {FRAME_SECONDS, FLOOR_Y - BODIES[FLOOR_0].half_height, SANDPIT / PIXELS_PER_UNIT})
        *game++ = value;
}

void qwop_teleport(qwop_sim* sim, const uint8_t* mask, double dx, double dy, double vx, double vy) {
    for (int i = 0; i < sim->simulator->num_envs(); ++i) {
        if (mask && !mask[i]) continue;
        Game game = sim->simulator->game(i);
        game.teleport({dx, dy}, {vx, vy});
        sim->simulator->set_game(i, game);
        sim->refresh(i);
    }
}
