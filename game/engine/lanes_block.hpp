// A block of games, one per lane, as the lane engine keeps them: what a frame computes with lies in vectors,
// the rest (tree, list of contacts, flags, the hurdle) stays in each lane's Game.
#pragma once
#include "lanes_hurdle.hpp"
#include "lanes_tree.hpp"

namespace qwop {
namespace lanes {

constexpr int PARTS = PART_COUNT;
constexpr int FIRST_JOINT = NECK, JOINTS_COUNT = JOINT_COUNT - FIRST_JOINT;  // the runner's own
constexpr int PAIRS = PARTS * FLOOR_COUNT;  // contacts of a part with a floor: pair = part * 3 + floor

template <class V>
struct PointLanes {
    V local_x, local_y;
    V normal_impulse, tangent_impulse;
    Mask<V> key;
};

template <class V>
struct ManifoldLanes {
    Mask<V> count;       // 0, 1 or 2
    Mask<V> face_part;   // the reference face belongs to the part, not to the floor
    V normal_x, normal_y, local_x, local_y;  // of the face, in its box's frame
    PointLanes<V> points[2];
};

template <class V>
struct Block {
    static constexpr int W = WIDTH<V>;

    Trig trig;                               // of all games
    V x[PARTS], y[PARTS], angle[PARTS];      // angle's cos and sin below are always fresh between frames
    V cos[PARTS], sin[PARTS];
    V vx[PARTS], vy[PARTS], w[PARTS];
    V rest[PARTS];                           // s at rest
    V head_torque;
    Bounds<V> still_box[PARTS];              // tight, of the current pose
    Bounds<V> box[PARTS];                    // tight, swept over the last frame
    Bounds<V> fat_box[PARTS];                // the leaf's

    V force_x[JOINTS_COUNT], force_y[JOINTS_COUNT], motor_force[JOINTS_COUNT], limit_force[JOINTS_COUNT];
    Mask<V> limit_state[JOINTS_COUNT];
    V left_hip_lower, left_hip_upper, right_hip_lower, right_hip_upper;

    V floor_x[FLOOR_COUNT];
    Bounds<V> floor_box[FLOOR_COUNT], floor_fat_box[FLOOR_COUNT], block_fat_box, hurdle_fat_box;
    ManifoldLanes<V> manifold[PAIRS];
    V score_time, score, camera_x;

    uint8_t exists[PAIRS], touching[PAIRS];  // lanes with the contact; in which it touches
    uint8_t surfaces[W][5];                  // floors, block and hurdle top in the order in which the tree is walked
    Moves moves[W];                          // not yet made in the game's tree
    bool here[W];                            // the lane's game lives in the vectors; else in games[lane]
    unsigned near[W][2];                     // parts with a contact out of reach: of the hurdle's top, of the block
    unsigned nearby;                         // lanes that have any
    unsigned busy;                           // lanes whose hurdle takes a step of its own
    HurdleLanes<V> hurdle;                   // those of them that fall
    Aabb hurdle_leaves[W][2];                // its top's and base's fat boxes
    unsigned leaving;                        // lanes whose next frame is for the scalar path
    Game games[W];

    void take(int lane);         // games[lane] -> vectors
    void take_hurdle(int lane);
    void give_back(int lane);    // vectors -> games[lane], all but the tree
    void replay_moves(int lane); // brings the tree up to date
    void note_move(int lane, int body, const Aabb& fat_box);
    void note_nearness(int lane, int body1, int body2);
};

// Whether A of the contact is the floor: the smaller tree node. A leaf keeps its node, so this is the same in
// every game.
static inline bool floor_is_a(int part, int floor) {
    const Body* bodies = Game::canonical(Trig::rounded).world.bodies;
    return bodies[FLOOR_0 + floor].leaf < bodies[FIRST_PART + part].leaf;
}

// The pair of a part and a floor, NO_PAIR for any other contact.
constexpr int NO_PAIR = -1;
static inline int pair_of(const Contact& contact) {
    const int a = contact.body_a, b = contact.body_b, mover = a > b ? a : b, other = a > b ? b : a;
    return mover >= FIRST_PART && other < FLOOR_COUNT ? (mover - FIRST_PART) * FLOOR_COUNT + other : NO_PAIR;
}

static inline bool meeting(const Aabb& a, const Aabb& b) {
    return b.lower.x <= a.upper.x && b.lower.y <= a.upper.y && a.lower.x <= b.upper.x && a.lower.y <= b.upper.y;
}

template <class V>
static inline Manifold manifold_of(const ManifoldLanes<V>& from, int lane, bool part_is_b) {
    Manifold to;
    to.point_count = static_cast<uint8_t>(from.count[lane]);
    to.face_b = (from.face_part[lane] != 0) == part_is_b;
    to.local_normal = {from.normal_x[lane], from.normal_y[lane]};
    to.local_point = {from.local_x[lane], from.local_y[lane]};
    for (int k = 0; k < 2; ++k) {
        to.points[k].local_point = {from.points[k].local_x[lane], from.points[k].local_y[lane]};
        to.points[k].normal_impulse = from.points[k].normal_impulse[lane];
        to.points[k].tangent_impulse = from.points[k].tangent_impulse[lane];
        to.points[k].key = static_cast<uint32_t>(from.points[k].key[lane]);
    }
    return to;
}

template <class V>
static inline Transform transform_in(const Block<V>& b, int p, int lane) {
    Transform xf;
    xf.position = {b.x[p][lane], b.y[p][lane]};
    xf.rotation.cos = b.cos[p][lane];
    xf.rotation.sin = b.sin[p][lane];
    return xf;
}

template <class V>
void Block<V>::take(int lane) {
    replay_moves(lane);
    Game& game = games[lane];
    World& world = game.world;
    for (int p = 0; p < PARTS; ++p) {
        Body& body = world.bodies[FIRST_PART + p];
        const Transform xf = transform_of(body);
        x[p][lane] = body.position.x;
        y[p][lane] = body.position.y;
        angle[p][lane] = body.angle;
        cos[p][lane] = xf.rotation.cos;
        sin[p][lane] = xf.rotation.sin;
        vx[p][lane] = body.velocity.x;
        vy[p][lane] = body.velocity.y;
        w[p][lane] = body.angular_velocity;
        rest[p][lane] = body.sleep_time;
        set_bounds(still_box[p], lane, current_box(FIRST_PART + p, xf));
        set_bounds(box[p], lane, body.box);
        set_bounds(fat_box[p], lane, world.tree.nodes[body.leaf].box);
    }
    head_torque[lane] = world.bodies[HEAD].torque;
    for (int j = 0; j < JOINTS_COUNT; ++j) {
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
    near[lane][0] = near[lane][1] = 0;
    nearby &= ~(1u << lane);
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        const int pair = pair_of(contact);
        if (pair == NO_PAIR) {
            note_nearness(lane, contact.body_a, contact.body_b);
            continue;
        }
        exists[pair] |= static_cast<uint8_t>(bit);
        touching[pair] |= static_cast<uint8_t>(contact.touching << lane);
        const Manifold& from = contact.manifold;
        ManifoldLanes<V>& to = manifold[pair];
        to.count[lane] = from.point_count;
        to.face_part[lane] = from.face_b == (contact.body_b >= FIRST_PART) ? -1 : 0;
        to.normal_x[lane] = from.local_normal.x;
        to.normal_y[lane] = from.local_normal.y;
        to.local_x[lane] = from.local_point.x;
        to.local_y[lane] = from.local_point.y;
        for (int k = 0; k < 2; ++k) {
            to.points[k].local_x[lane] = from.points[k].local_point.x;
            to.points[k].local_y[lane] = from.points[k].local_point.y;
            to.points[k].normal_impulse[lane] = from.points[k].normal_impulse;
            to.points[k].tangent_impulse[lane] = from.points[k].tangent_impulse;
            to.points[k].key[lane] = from.points[k].key;
        }
    }
    surface_order(world.tree, surfaces[lane]);
    score_time[lane] = game.score_time;
    score[lane] = game.score;
    camera_x[lane] = game.camera_x;
    here[lane] = true;
    leaving &= ~bit;
    busy &= ~bit;
    if (hurdle_is_busy(world)) busy |= bit;
    for (int i = 0; i < 2; ++i) hurdle_leaves[lane][i] = world.tree.nodes[world.bodies[HURDLE_PARTS[i]].leaf].box;
    if ((busy & bit) && hurdle_falls(world)) take_hurdle(lane);
}

template <class V>
void Block<V>::take_hurdle(int lane) {
    hurdle.take(games[lane].world, lane);
    for (int i = 0; i < 2; ++i) set_bounds(hurdle.fat_box[i], lane, hurdle_leaves[lane][i]);
}

template <class V>
void Block<V>::give_back(int lane) {
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
    hurdle.give_back(world, lane);
    world.bodies[HEAD].torque = head_torque[lane];
    for (int j = 0; j < JOINTS_COUNT; ++j) {
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
        contact.manifold = manifold_of(manifold[pair], lane, contact.body_b >= FIRST_PART);
    }
    game.score_time = score_time[lane];
    game.score = score[lane];
    game.camera_x = camera_x[lane];
    here[lane] = false;
}

template <class V>
void Block<V>::note_move(int lane, int body, const Aabb& fat_box) {
    if (moves[lane].count == MOVE_CAPACITY) replay_moves(lane);
    moves[lane].add(body, fat_box);
}

// A contact of a part with the hurdle's top or the block; the hurdle's own are its own affair.
template <class V>
void Block<V>::note_nearness(int lane, int body1, int body2) {
    const int part = (body1 > body2 ? body1 : body2) - FIRST_PART, other = body1 > body2 ? body2 : body1;
    if (part < 0) return;
    near[lane][other == BLOCK] |= 1u << part;
    nearby |= 1u << lane;
}

template <class V>
void Block<V>::replay_moves(int lane) {
    const int count = moves[lane].count;
    if (count == 0) return;
    if (count < FEW_MOVES) {
        World& world = games[lane].world;
        for (int i = 0; i < count; ++i)
            world.tree.reinsert(world.bodies[moves[lane].body[i]].leaf, aabb_of(moves[lane].box[i]));
        moves[lane].count = 0;
        return;
    }
    // The other games' with them, the longest first: they will be due before long.
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
    reinsert_in_step<V>(trees, lists, chosen);
    for (int i = 0; i < chosen; ++i) lists[i]->count = 0;
}

}  // namespace lanes
}  // namespace qwop
