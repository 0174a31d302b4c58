// Many games stepped together. The engines differ in how, never in a single bit of what.
#pragma once
#include <memory>
#include <vector>

#include "game.hpp"

namespace qwop {

class Simulator {
  public:
    virtual ~Simulator() = default;
    virtual int num_envs() const = 0;
    virtual const Game& game(int env) = 0;
    virtual void set_game(int env, const Game& game) = 0;
    // One frame for every game that is not skipped (one byte a game; nullptr: none is).
    virtual void step(const uint8_t* keys, const uint8_t* skip) = 0;
};

std::unique_ptr<Simulator> make_scalar(int num_envs);

}  // namespace qwop
