// Finds the keys between two moments of a game of which only the numbers are known, as in a sampled log.
#pragma once
#include "game.hpp"

namespace qwop {

constexpr int MAX_SEARCH_FRAMES = 16;

// What the frames have to lead to.
struct Target {
    // The numbers of the runner's parts in the columns of an observation, in exact doubles. relative: each x is
    // measured from the torso's.
    double numbers[OBSERVATION_SIZE];
    bool relative;
    // Or this reward, computed by QWOP-RL's formula from the first game to the last; ended: in a run that is over.
    bool by_reward, ended;
    double reward;

    bool reached(const Game& first, const Game& game) const;
};

struct KeySequence {
    uint8_t keys[MAX_SEARCH_FRAMES];
    int frames;
    Game game;  // after the frames
};

// Which sequences of keys are looked at.
struct KeyRange {
    int min_frames, max_frames;
    int max_changes;    // of keys; the first frame counts from last_keys
    uint8_t last_keys;
    const uint8_t* given;  // not null: only this sequence, of max_frames
};

// All sequences of the range that reach the target, and those that differ from them by keys without effect on it.
// Stores at most `most` in `found` and returns their number.
int find_keys(const Game& first, const Target& target, const KeyRange& range, int most, KeySequence* found);

}  // namespace qwop
