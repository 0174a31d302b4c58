// What can happen to the game in an open page. An episode's start is a list of these.
#pragma once
#include "game.hpp"

namespace qwop {

enum class Operation : uint32_t {
    open,   // the page is loaded anew
    reset,  // the game's own reset, as the R key does it: the track stays as it is
    play,   // frames with keys held
    wait,   // frames before the first click: no physics, but the head's torque accumulates
    COUNT
};

struct OperationRow {
    uint32_t operation, keys, count;  // keys: of play
};

// The longest session that is accepted, in frames: ten hours.
constexpr uint64_t MAX_SESSION_FRAMES = 10 * 3600 * 30;

// Whether all rows are valid.
bool valid_operations(const OperationRow* rows, int count);

// Applies valid rows to a game.
void operate(Game& game, Trig trig, const OperationRow* rows, int count);

}  // namespace qwop
