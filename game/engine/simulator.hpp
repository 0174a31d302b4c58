// Many games behind one interface. Every engine gives the same bits; they differ in speed.
#pragma once
#include "game.hpp"

namespace qwop {

// Where the engine writes a game's numbers: OBSERVATION_SIZE floats, clock (s), distance (m), flags.
struct Outputs {
    float* observation;
    double* time;
    double* distance;
    uint8_t* flags;
};

constexpr int MAX_GROUP_SIZE = 16;

class Simulator {
  public:
    virtual ~Simulator();
    virtual int num_envs() const = 0;
    virtual const Game& game(int env) = 0;
    virtual void set_game(int env, const Game& game) = 0;
    // Games are stepped in groups of this many. Two threads may step two groups at once if their worker numbers differ.
    virtual int group_size() const = 0;
    virtual void set_workers(int) {}
    // Steps a group's games by `frames` frames with their keys held. keys: of all games. With stop_at_end an ended
    // game stands still.
    virtual void step(int group, const uint8_t* keys, int frames, int worker) = 0;
    virtual void observe(int env, Outputs out) const = 0;
};

// nullptr if this build does not have the engine.
Simulator* make_scalar(Trig trig, int num_envs, bool stop_at_end);
Simulator* make_sse2(Trig trig, int num_envs, bool stop_at_end);
Simulator* make_neon(Trig trig, int num_envs, bool stop_at_end);
Simulator* make_avx2(Trig trig, int num_envs, bool stop_at_end);
Simulator* make_avx512(Trig trig, int num_envs, bool stop_at_end);

void observe_game(const Game& game, Outputs out);

}  // namespace qwop
