// A block of games, one in each lane. The numbers that a frame computes with are in vectors. The rest (tree, contact
// list, flags, a hurdle at rest) stays in each lane's Game.
#pragma once
#include "lanes_hurdle.hpp"
#include "lanes_manifold.hpp"
#include "lanes_tree.hpp"

namespace qwop {
namespace lanes {

constexpr int PARTS = PART_COUNT;
constexpr int FIRST_JOINT = NECK, RUNNER_JOINTS = JOINT_COUNT - FIRST_JOINT;
constexpr int PAIRS = PARTS * FLOOR_COUNT;  // contacts of a part with a floor: pair = part * 3 + floor

// Sets of lanes are bit masks: bit i is lane i. Sets of parts likewise.
template <class V>
struct Block {
    static constexpr int W = WIDTH<V>;

    Trig trig;  // of all games
    bool floor_is_a[PARTS][FLOOR_COUNT];

    // Bodies.
    V x[PARTS], y[PARTS], angle[PARTS];
    V cos[PARTS], sin[PARTS];  // of angle; up to date between frames
    V vx[PARTS], vy[PARTS], w[PARTS];
    V rest[PARTS];  // s at rest
    V head_torque;
    Bounds<V> pose_box[PARTS];  // tight, of the current pose
    Bounds<V> box[PARTS];       // tight, swept over the last frame
    Bounds<V> fat_box[PARTS];   // the leaf's

    // Joints.
    V force_x[RUNNER_JOINTS], force_y[RUNNER_JOINTS], motor_force[RUNNER_JOINTS], limit_force[RUNNER_JOINTS];
    Mask<V> limit_state[RUNNER_JOINTS];
    V left_hip_lower, left_hip_upper, right_hip_lower, right_hip_upper;

    // Track.
    V floor_x[FLOOR_COUNT];
    Bounds<V> floor_box[FLOOR_COUNT], floor_fat_box[FLOOR_COUNT], block_fat_box, hurdle_fat_box;

    // Contacts of parts with floors.
    ManifoldLanes<V> manifold[PAIRS];
    uint8_t exists[PAIRS], touching[PAIRS];  // lanes

    V score_time, score, camera_x;

    uint8_t surfaces[W][SURFACE_COUNT];      // in the order in which a query of the tree visits them
    Moves moves[W];                          // moves of leaves that the game's tree does not have yet
    bool in_lanes[W];                        // the game is in the vectors; else in games[lane]
    unsigned near_hurdle_top[W], near_block[W];  // parts that have a contact there but do not touch
    unsigned with_near_parts;                // lanes where there are any
    unsigned hurdle_active;                  // lanes whose hurdle has to be stepped
    HurdleLanes<V> hurdle;                   // those of them that the vectors step
    Aabb hurdle_leaves[W][2];                // fat boxes of its top and its base
    unsigned scalar_next;                    // lanes that go to the scalar engine before the next frame
    Game games[W];

    unsigned& near_parts(int lane, int body) { return body == BLOCK ? near_block[lane] : near_hurdle_top[lane]; }
    void load(int lane);   // games[lane] -> vectors
    void store(int lane);  // vectors -> games[lane], except for the tree: see apply_moves
    void load_hurdle(int lane);
    void record_move(int lane, int body, const Aabb& fat_box);
    void apply_moves(int lane);  // brings the game's tree up to date
    void record_near_part(int lane, int body1, int body2);
};

// Whether the floor is A of its contact with the body, a part or of the hurdle. A has the smaller tree node, and a leaf
// keeps its node, so the answer is the same in every game that fits the lanes.
static inline bool floor_is_a(int body, int floor) {
    const Body* bodies = Game::canonical(Trig::rounded).world.bodies;
    return bodies[FLOOR_0 + floor].leaf < bodies[body].leaf;
}

// The pair of a part and a floor, NO_PAIR for any other contact.
static inline int pair_of(const Contact& contact) {
    const int a = contact.body_a, b = contact.body_b, mover = a > b ? a : b, other = a > b ? b : a;
    return mover >= FIRST_PART && other < FLOOR_COUNT ? (mover - FIRST_PART) * FLOOR_COUNT + other : NO_PAIR;
}

static inline bool boxes_overlap(const Aabb& a, const Aabb& b) {
    return b.lower.x <= a.upper.x && b.lower.y <= a.upper.y && a.lower.x <= b.upper.x && a.lower.y <= b.upper.y;
}

template <class V>
static inline Transform part_transform(const Block<V>& b, int p, int lane) {
    Transform xf;
    xf.position = {b.x[p][lane], b.y[p][lane]};
    xf.rotation.cos = b.cos[p][lane];
    xf.rotation.sin = b.sin[p][lane];
    return xf;
}

template <class V>
void Block<V>::load(int lane) {
    apply_moves(lane);
    Game& game = games[lane];
    World& world = game.world;
    for (int p = 0; p < PARTS; ++p) {
        Body& body = world.bodies[FIRST_PART + p];
        const Transform xf = bridge::transform_of(body);
        x[p][lane] = body.position.x;
        y[p][lane] = body.position.y;
        angle[p][lane] = body.angle;
        cos[p][lane] = xf.rotation.cos;
        sin[p][lane] = xf.rotation.sin;
        vx[p][lane] = body.velocity.x;
        vy[p][lane] = body.velocity.y;
        w[p][lane] = body.angular_velocity;
        rest[p][lane] = body.sleep_time;
        set_bounds(pose_box[p], lane, bridge::tight_box_of(FIRST_PART + p, xf));
        set_bounds(box[p], lane, body.box);
        set_bounds(fat_box[p], lane, world.tree.nodes[body.leaf].box);
    }
    head_torque[lane] = world.bodies[HEAD].torque;
    for (int j = 0; j < RUNNER_JOINTS; ++j) {
        const Joint& joint = world.joints[FIRST_JOINT + j];
        force_x[j][lane] = joint.pivot_force.x;
        force_y[j][lane] = joint.pivot_force.y;
        motor_force[j][lane] = joint.motor_force;
        limit_force[j][lane] = joint.limit_force;
        limit_state[j][lane] = static_cast<int64_t>(joint.limit_state);
    }
    left_hip_lower[lane] = world.joints[LEFT_HIP].lower_angle;
    left_hip_upper[lane] = world.joints[LEFT_HIP].upper_angle;
    right_hip_lower[lane] = world.joints[RIGHT_HIP].lower_angle;
    right_hip_upper[lane] = world.joints[RIGHT_HIP].upper_angle;

    for (int f = 0; f < FLOOR_COUNT; ++f) {
        const Body& floor = world.bodies[FLOOR_0 + f];
        floor_x[f][lane] = floor.position.x;
        set_bounds(floor_box[f], lane, floor.box);
        set_bounds(floor_fat_box[f], lane, world.tree.nodes[floor.leaf].box);
    }
    set_bounds(block_fat_box, lane, world.tree.nodes[world.bodies[BLOCK].leaf].box);
    set_bounds(hurdle_fat_box, lane, world.tree.nodes[world.bodies[HURDLE_TOP].leaf].box);
    const unsigned bit = 1u << lane;
    for (int pair = 0; pair < PAIRS; ++pair) {
        exists[pair] &= static_cast<uint8_t>(~bit);
        touching[pair] &= static_cast<uint8_t>(~bit);
    }
    near_hurdle_top[lane] = near_block[lane] = 0;
    with_near_parts &= ~(1u << lane);
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        const int pair = pair_of(contact);
        if (pair == NO_PAIR) {
            record_near_part(lane, contact.body_a, contact.body_b);
            continue;
        }
        exists[pair] |= static_cast<uint8_t>(bit);
        touching[pair] |= static_cast<uint8_t>(contact.touching << lane);
        set_manifold<V>(manifold[pair], lane, contact.manifold, contact.body_b >= FIRST_PART);
    }
    bridge::surface_order(world.tree, surfaces[lane]);
    score_time[lane] = game.score_time;
    score[lane] = game.score;
    camera_x[lane] = game.camera_x;
    in_lanes[lane] = true;
    scalar_next &= ~bit;
    hurdle_active &= ~bit;
    if (bridge::hurdle_is_active(world)) hurdle_active |= bit;
    for (int i = 0; i < 2; ++i) hurdle_leaves[lane][i] = world.tree.nodes[world.bodies[HURDLE_PARTS[i]].leaf].box;
    if ((hurdle_active & bit) && bridge::hurdle_fits_lanes(world)) load_hurdle(lane);
}

template <class V>
void Block<V>::load_hurdle(int lane) {
    hurdle.load(games[lane].world, lane);
    for (int i = 0; i < 2; ++i) set_bounds(hurdle.fat_box[i], lane, hurdle_leaves[lane][i]);
}

template <class V>
void Block<V>::store(int lane) {
    Game& game = games[lane];
    World& world = game.world;
    for (int p = 0; p < PARTS; ++p) {
        Body& body = world.bodies[FIRST_PART + p];
        body.position = body.previous_position = {x[p][lane], y[p][lane]};
        body.angle = body.previous_angle = angle[p][lane];
        body.rotation.cos = cos[p][lane];
        body.rotation.sin = sin[p][lane];
        body.previous_rotation = body.rotation;
        body.rotation_stale = false;
        body.velocity = {vx[p][lane], vy[p][lane]};
        body.angular_velocity = w[p][lane];
        body.sleep_time = rest[p][lane];
        body.box = bounds_of(box[p], lane);
    }
    hurdle.store(world, lane);
    world.bodies[HEAD].torque = head_torque[lane];
    for (int j = 0; j < RUNNER_JOINTS; ++j) {
        Joint& joint = world.joints[FIRST_JOINT + j];
        joint.pivot_force = {force_x[j][lane], force_y[j][lane]};
        joint.motor_force = motor_force[j][lane];
        joint.limit_force = limit_force[j][lane];
        joint.limit_state = static_cast<LimitState>(limit_state[j][lane]);
    }
    world.joints[LEFT_HIP].lower_angle = left_hip_lower[lane];
    world.joints[LEFT_HIP].upper_angle = left_hip_upper[lane];
    world.joints[RIGHT_HIP].lower_angle = right_hip_lower[lane];
    world.joints[RIGHT_HIP].upper_angle = right_hip_upper[lane];

    for (int i = 0; i < world.contact_count; ++i) {
        Contact& contact = world.contacts[world.contact_order[i]];
        const int pair = pair_of(contact);
        if (pair == NO_PAIR) continue;
        contact.touching = touching[pair] >> lane & 1;
        contact.manifold = to_manifold(manifold[pair], lane, contact.body_b >= FIRST_PART);
    }
    game.score_time = score_time[lane];
    game.score = score[lane];
    game.camera_x = camera_x[lane];
    in_lanes[lane] = false;
}

template <class V>
void Block<V>::record_move(int lane, int body, const Aabb& fat_box) {
    if (moves[lane].count == MOVE_CAPACITY) apply_moves(lane);
    moves[lane].add(body, fat_box);
}

// For contacts of a part with the hurdle's top or the block. Contacts of the hurdle with the track are left out.
template <class V>
void Block<V>::record_near_part(int lane, int body1, int body2) {
    const int part = (body1 > body2 ? body1 : body2) - FIRST_PART, other = body1 > body2 ? body2 : body1;
    if (part < 0) return;
    near_parts(lane, other) |= 1u << part;
    with_near_parts |= 1u << lane;
}

template <class V>
void Block<V>::apply_moves(int lane) {
    const int count = moves[lane].count;
    if (count == 0) return;
    if (count < FEW_MOVES) {
        World& world = games[lane].world;
        for (int i = 0; i < count; ++i)
            world.tree.reinsert(world.bodies[moves[lane].body[i]].leaf, aabb_of(moves[lane].box[i]));
        moves[lane].count = 0;
        return;
    }
    // Apply the moves of the other games in the same pass, longest list first: they will be needed soon, too.
    Tree* trees[W];
    Moves* lists[W];
    int chosen = 0;
    for (int other = 0; other < W; ++other) {
        if (moves[other].count < FEW_MOVES) continue;
        int i = chosen++;
        for (; i > 0 && lists[i - 1]->count < moves[other].count; --i) {
            lists[i] = lists[i - 1];
            trees[i] = trees[i - 1];
        }
        lists[i] = &moves[other];
        trees[i] = &games[other].world.tree;
    }
    reinsert_interleaved<V>(trees, lists, chosen);
    for (int i = 0; i < chosen; ++i) lists[i]->count = 0;
}

}  // namespace lanes
}  // namespace qwop
