// QWOP's rules, one game per lane: the parts of game.cpp that a plain running game needs.
#pragma once
#include "lanes_joint.hpp"

namespace qwop {
namespace lanes {

// The order in which the solver takes the joints. An island visits them depth first from the right thigh: right knee,
// hips, shoulders, neck, elbows, left knee, ankles. Joints without a common body commute exactly. So this order puts
// after each joint of the torso one that does not depend on it.
constexpr JointId JOINT_ORDER[RUNNER_JOINTS] = {RIGHT_KNEE, RIGHT_HIP,     RIGHT_ANKLE, LEFT_HIP,
                                                LEFT_KNEE,  LEFT_SHOULDER, LEFT_ANKLE,  RIGHT_SHOULDER,
                                                LEFT_ELBOW, NECK,          RIGHT_ELBOW};

// Game::hold_keys. joints: in JOINT_ORDER.
template <class V>
static inline void hold_keys(Block<V>& b, JointLanes<V> (&joints)[RUNNER_JOINTS], const uint8_t* keys) {
    using I = Mask<V>;
    V thighs, calves;
    for (int lane = 0; lane < WIDTH<V>; ++lane) {
        thighs[lane] = keys[lane] & KEY_Q ? 1 : keys[lane] & KEY_W ? -1 : 0;
        calves[lane] = keys[lane] & KEY_O ? 1 : keys[lane] & KEY_P ? -1 : 0;
    }
    const I o = calves > V{}, p = calves < V{};
    const auto limit = [&](V& value, double with_o, double with_p) {
        value = select<V>(o, splat<V>(with_o), select<V>(p, splat<V>(with_p), value));
    };
    limit(b.left_hip_lower, HIP_LIMITS_O.left_lower, HIP_LIMITS_P.left_lower);
    limit(b.left_hip_upper, HIP_LIMITS_O.left_upper, HIP_LIMITS_P.left_upper);
    limit(b.right_hip_lower, HIP_LIMITS_O.right_lower, HIP_LIMITS_P.right_lower);
    limit(b.right_hip_upper, HIP_LIMITS_O.right_upper, HIP_LIMITS_P.right_upper);

    for (int i = 0; i < RUNNER_JOINTS; ++i) {
        JointLanes<V>& joint = joints[i];
        switch (JOINT_ORDER[i]) {
            case RIGHT_HIP:
                joint.motor_speed = thighs * HIP_SPEED;
                joint.lower_angle = b.right_hip_lower;
                joint.upper_angle = b.right_hip_upper;
                break;
            case LEFT_HIP:
                joint.motor_speed = -thighs * HIP_SPEED;
                joint.lower_angle = b.left_hip_lower;
                joint.upper_angle = b.left_hip_upper;
                break;
            case RIGHT_SHOULDER: joint.motor_speed = -thighs * SHOULDER_SPEED; break;
            case LEFT_SHOULDER: joint.motor_speed = thighs * SHOULDER_SPEED; break;
            case RIGHT_KNEE: joint.motor_speed = calves * KNEE_SPEED; break;
            case LEFT_KNEE: joint.motor_speed = -calves * KNEE_SPEED; break;
            default: break;
        }
    }
}

// Game::begin_contact for the pairs in `began` (a bit each), newest contact first.
template <class V>
static inline void begin_contacts(Block<V>& b, int lane, uint64_t began) {
    Game& game = b.games[lane];
    for (int i = game.world.contact_count - 1; i >= 0; --i) {
        const Contact& contact = game.world.contacts[game.world.contact_order[i]];
        const int pair = pair_of(contact);
        if (pair == NO_PAIR || !(began >> pair & 1)) continue;
        const int p = pair / FLOOR_COUNT, f = pair % FLOOR_COUNT;
        const Transform part = part_transform<V>(b, p, lane);
        Transform floor;
        floor.position = {b.floor_x[f][lane], FLOOR_Y};
        floor.rotation.cos = 1;
        floor.rotation.sin = 0;
        const bool part_is_b = contact.body_b >= FIRST_PART;
        const Manifold manifold = to_manifold<V>(b.manifold[pair], lane, part_is_b);
        game.begin_contact(contact, world_manifold(manifold, part_is_b ? floor : part, part_is_b ? part : floor));
        b.score[lane] = game.score;
    }
}

// Game::end_frame: camera and score. Lanes that are no longer plain running games go to the scalar engine.
template <class V>
static inline void end_frame(Block<V>& b, unsigned running) {
    const V torso_x = b.x[0], torso_y = b.y[0];
    const V followed =
        clamped<V>((torso_x + CAMERA_OFFSET) * PIXELS_PER_UNIT, splat<V>(CAMERA_MIN), splat<V>(CAMERA_MAX));
    const Mask<V> frozen = torso_y < CAMERA_FREEZE_Y;
    V rest = b.rest[0];
    for (int p = 1; p < PARTS; ++p) rest = minimum<V>(rest, b.rest[p]);
    const unsigned almost_asleep = bits<V>(rest > MAX_REST_IN_LANES);
    for (int lane = 0; lane < WIDTH<V>; ++lane) {
        if (!(running >> lane & 1)) continue;
        Game& game = b.games[lane];
        if (game.fallen || game.jump_landed) {
            b.store(lane);
            game.end_frame();
            continue;
        }
        if (!frozen[lane]) b.camera_x[lane] = followed[lane];
        b.score[lane] = bridge::rounded_score(torso_x[lane]);
        if (bridge::first_floor_x(b.camera_x[lane]) != b.floor_x[0][lane] || (almost_asleep >> lane & 1))
            b.scalar_next |= 1u << lane;
    }
}

}  // namespace lanes
}  // namespace qwop
