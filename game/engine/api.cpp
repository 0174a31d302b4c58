#include <cstring>
#include <string>
#include <type_traits>

#include "qwop.h"
#include "simulator.hpp"

using qwop::Game;

// A snapshot is this header and the bytes of a Game: exact, and valid for the build that took it.
struct SnapshotHeader {
    char magic[4] = {'Q', 'W', 'O', 'P'};
    uint32_t size = sizeof(Game);
};
static_assert(std::is_trivially_copyable<Game>::value, "a snapshot copies a Game's bytes");

struct qwop_sim {
    std::unique_ptr<qwop::Simulator> simulator;
    bool stop_at_end;
    std::vector<uint8_t> ended;  // stands still (stop_at_end)
    float* observation = nullptr;
    double* time = nullptr;
    double* distance = nullptr;
    uint8_t* flags = nullptr;

    void refresh(int env) {
        const Game& game = simulator->game(env);
        ended[env] = stop_at_end && game.ended;
        if (!observation) return;
        game.write_observation(observation + env * qwop::OBSERVATION_SIZE);
        time[env] = game.score_time;
        distance[env] = game.distance();
        flags[env] = game.flags();
    }
};

const char* qwop_engines() { return "scalar"; }

size_t qwop_snapshot_size() { return sizeof(SnapshotHeader) + sizeof(Game); }

qwop_sim* qwop_create(const char* engine, int num_envs, int stop_at_end) {
    if (num_envs < 1 || std::string(engine) != "scalar") return nullptr;
    auto* sim = new qwop_sim;
    sim->simulator = qwop::make_scalar(num_envs);
    sim->stop_at_end = stop_at_end != 0;
    sim->ended.assign(num_envs, 0);
    return sim;
}

void qwop_destroy(qwop_sim* sim) { delete sim; }

void qwop_bind(qwop_sim* sim, float* observation, double* time, double* distance, uint8_t* flags) {
    sim->observation = observation;
    sim->time = time;
    sim->distance = distance;
    sim->flags = flags;
    for (int i = 0; i < sim->simulator->num_envs(); ++i) sim->refresh(i);
}

void qwop_reset(qwop_sim* sim, const uint8_t* mask) {
    for (int i = 0; i < sim->simulator->num_envs(); ++i) {
        if (mask && !mask[i]) continue;
        sim->simulator->set_game(i, Game::canonical());
        sim->refresh(i);
    }
}

void qwop_step(qwop_sim* sim, const uint8_t* keys, int frames) {
    const int n = sim->simulator->num_envs();
    for (int frame = 0; frame < frames; ++frame) {
        sim->simulator->step(keys, sim->ended.data());
        for (int i = 0; sim->stop_at_end && i < n; ++i) sim->ended[i] = sim->simulator->game(i).ended;
    }
    for (int i = 0; i < n; ++i) sim->refresh(i);
}

void qwop_state(qwop_sim* sim, double* out) {
    for (int i = 0; i < sim->simulator->num_envs(); ++i)
        sim->simulator->game(i).write_state(out + i * qwop::STATE_COLUMNS);
}

void qwop_snapshot(qwop_sim* sim, uint8_t* out) {
    const SnapshotHeader header;
    for (int i = 0; i < sim->simulator->num_envs(); ++i, out += qwop_snapshot_size()) {
        std::memcpy(out, &header, sizeof header);
        std::memcpy(out + sizeof header, &sim->simulator->game(i), sizeof(Game));
    }
}

int qwop_restore(qwop_sim* sim, const uint8_t* in, const uint8_t* mask) {
    const SnapshotHeader header;
    const int n = sim->simulator->num_envs();
    const size_t size = qwop_snapshot_size();
    for (int i = 0; i < n; ++i)
        if ((!mask || mask[i]) && std::memcmp(in + i * size, &header, sizeof header) != 0) return -1;
    for (int i = 0; i < n; ++i) {
        if (mask && !mask[i]) continue;
        Game game;
        std::memcpy(static_cast<void*>(&game), in + i * size + sizeof header, sizeof(Game));
        sim->simulator->set_game(i, game);
        sim->refresh(i);
    }
    return 0;
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
