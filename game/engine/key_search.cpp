#include "key_search.hpp"

#include <cmath>
#include <cstring>

namespace qwop {

// The masks that differ in effect.
constexpr uint8_t DISTINCT[] = {0,     KEY_O,         KEY_P,        KEY_Q, KEY_Q | KEY_O, KEY_Q | KEY_P,
                                KEY_W, KEY_W | KEY_O, KEY_W | KEY_P};

static double joint_angle(const Game& game, JointId id) {
    const JointConstants& c = JOINTS[id];
    return game.world.bodies[c.body_b].angle - game.world.bodies[c.body_a].angle - c.reference_angle;
}

// QWOP-RL's reward: forward motion, a low torso, its vertical motion, a bent knee.
static double reward(const Game& first, const Game& game) {
    const Vec2 before = first.world.bodies[TORSO].position, torso = game.world.bodies[TORSO].position;
    const double forward = max(torso.x - before.x, 0.0);
    const double low = torso.y > 0 ? -torso.y / 5 : 0;
    const double vertical = -std::fabs(torso.y - before.y) / 4;
    const double left = joint_angle(game, LEFT_KNEE), right = joint_angle(game, RIGHT_KNEE);
    const double knee = left < -0.9 || right < -0.9 ? min(left, right) / 6 : 0;
    return forward + low + vertical + knee;
}

bool Target::reached(const Game& first, const Game& game) const {
    if (by_reward) return (game.ended || !ended) && qwop::reward(first, game) == reward;
    const double* number = numbers;
    const double origin = relative ? game.world.bodies[TORSO].position.x : 0;
    for (int i = 0; i < PART_COUNT; ++i, number += 5) {
        const Body& b = game.world.bodies[STATE_ORDER[i]];
        if (b.angle != number[2] || b.position.y != number[1] || b.velocity.x != number[3] || b.velocity.y != number[4])
            return false;
        if ((relative ? b.position.x - origin : b.position.x) != number[0]) return false;
    }
    return true;
}

namespace {

struct Search {
    const Game& first;
    const Target& target;
    const KeyRange& range;
    int most;
    KeySequence* found;
    int count = 0;
    uint8_t keys[MAX_SEARCH_FRAMES] = {};

    void add(const uint8_t* sequence, int frames, const Game& game) {
        if (count == most) return;
        for (int i = 0; i < count; ++i)
            if (found[i].frames == frames && std::memcmp(found[i].keys, sequence, size_t(frames)) == 0) return;
        std::memcpy(found[count].keys, sequence, size_t(frames));
        found[count].frames = frames;
        found[count++].game = game;
    }

    void extend(const Game& game, int frames, int changes, uint8_t last_keys) {
        if (frames >= range.min_frames && target.reached(first, game)) add(keys, frames, game);
        if (frames == range.max_frames) return;
        for (uint8_t mask : DISTINCT) {
            if (mask != last_keys && changes == 0) continue;
            Game next = game;
            next.update(mask);
            keys[frames] = mask;
            extend(next, frames + 1, changes - (mask != last_keys), mask);
        }
    }

    void play_given() {
        Game game = first;
        for (int i = 0; i < range.max_frames; ++i) game.update(keys[i] = range.given[i]);
        if (target.reached(first, game)) add(keys, range.max_frames, game);
    }

    // Other keys in one frame of a sequence, then in one frame of what that gives, and so on.
    void vary() {
        for (int i = 0; i < count; ++i) {
            const KeySequence sequence = found[i];
            Game before = first;
            for (int frame = 0; frame < sequence.frames; ++frame) {
                for (uint8_t mask : DISTINCT) {
                    if (mask == sequence.keys[frame]) continue;
                    std::memcpy(keys, sequence.keys, size_t(sequence.frames));
                    keys[frame] = mask;
                    Game game = before;
                    for (int at = frame; at < sequence.frames; ++at) game.update(keys[at]);
                    if (target.reached(first, game)) add(keys, sequence.frames, game);
                }
                before.update(sequence.keys[frame]);
            }
        }
    }
};

}  // namespace

int find_keys(const Game& first, const Target& target, const KeyRange& range, int most, KeySequence* found) {
    Search search{first, target, range, most, found};
    if (range.given) {
        search.play_given();
    } else {
        search.extend(first, 0, range.max_changes, range.last_keys);
    }
    search.vary();
    return search.count;
}

}  // namespace qwop
