// The hurdle while it lies on the floors or falls, one game per lane: two bodies, their joint and their contacts with
// floors. A hurdle that was kicked does this most of the time: floors follow the camera, and once the hurdle is behind
// them it falls forever.
#pragma once
#include "lanes_box.hpp"
#include "lanes_contact.hpp"
#include "lanes_motion.hpp"

namespace qwop {
namespace lanes {

constexpr BodyId HURDLE_PARTS[2] = {HURDLE_TOP, HURDLE_BASE};
constexpr int NO_PAIR = -1;

// The pair of a part of the hurdle and a floor, NO_PAIR for any other contact.
static inline int hurdle_pair_of(const Contact& contact) {
    const int a = contact.body_a, b = contact.body_b, mover = a > b ? a : b, other = a > b ? b : a;
    if (other >= FLOOR_COUNT || mover >= FIRST_PART || mover == BLOCK) return NO_PAIR;
    return (mover == HURDLE_BASE) * FLOOR_COUNT + other;
}

// World::step_hurdle for hurdles that touch nothing but floors. Index 0 is the top, the joint's A; 1 is the base.
template <class V>
struct HurdleLanes {
    using I = Mask<V>;
    static constexpr int HURDLE_PAIRS = 2 * FLOOR_COUNT;  // contacts: pair = index * 3 + floor

    unsigned lanes;  // whose hurdle is in these vectors; else it is in the lane's World
    V x[2], y[2], angle[2], cos[2], sin[2], vx[2], vy[2], w[2], rest[2];
    V force_x, force_y, limit_force;
    Bounds<V> pose_box[2], box[2], fat_box[2];
    ManifoldLanes<V> manifold[HURDLE_PAIRS];
    unsigned exists[HURDLE_PAIRS], touching[HURDLE_PAIRS];  // lanes
    bool floor_is_a[2][FLOOR_COUNT];

    void load(World& world, int lane);
    void store(World& world, int lane);
    void put_top(World& world, int lane) const;  // what a contact with the top needs; store comes later
    // Brings the contacts up to date. floors: a struct with floor_x, floor_box and floor_fat_box, such as a Block.
    // ended[pair]: lanes whose contact ended. Returns the lanes where a body touches two floors: World::step_hurdle has
    // to step these.
    template <class Floors>
    unsigned update_contacts(const Floors& floors, unsigned (&ended)[HURDLE_PAIRS]);
    // The rest of the step. moved[i]: lanes in which leaf i moved: fat_box[i] is its new box.
    void step(Trig trig, const V* floors_x, unsigned (&moved)[2]);
    unsigned resting() const { return bits<V>(minimum<V>(rest[0], rest[1]) > MAX_REST_IN_LANES) & lanes; }

  private:
    void solve_positions(Trig trig, ContactLanes<V>* contacts, int contact_count, I live);
};

template <class V>
void HurdleLanes<V>::load(World& world, int lane) {
    const unsigned bit = 1u << lane;
    lanes |= bit;
    for (int i = 0; i < 2; ++i) {
        Body& body = world.bodies[HURDLE_PARTS[i]];
        const Transform xf = bridge::transform_of(body);
        x[i][lane] = body.position.x;
        y[i][lane] = body.position.y;
        angle[i][lane] = body.angle;
        cos[i][lane] = xf.rotation.cos;
        sin[i][lane] = xf.rotation.sin;
        vx[i][lane] = body.velocity.x;
        vy[i][lane] = body.velocity.y;
        w[i][lane] = body.angular_velocity;
        rest[i][lane] = body.sleep_time;
        set_bounds(pose_box[i], lane, bridge::tight_box_of(HURDLE_PARTS[i], xf));
        set_bounds(box[i], lane, body.box);
    }
    const Joint& joint = world.joints[HURDLE_JOINT];
    force_x[lane] = joint.pivot_force.x;
    force_y[lane] = joint.pivot_force.y;
    limit_force[lane] = joint.limit_force;
    for (int pair = 0; pair < HURDLE_PAIRS; ++pair) {
        exists[pair] &= ~bit;
        touching[pair] &= ~bit;
    }
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        const int pair = hurdle_pair_of(contact);
        if (pair == NO_PAIR) continue;
        exists[pair] |= bit;
        if (contact.touching) touching[pair] |= bit;
        set_manifold<V>(manifold[pair], lane, contact.manifold, contact.body_b >= FLOOR_COUNT);
    }
}

template <class V>
void HurdleLanes<V>::store(World& world, int lane) {
    if (!(lanes >> lane & 1)) return;
    lanes &= ~(1u << lane);
    for (int i = 0; i < 2; ++i) {
        Body& body = world.bodies[HURDLE_PARTS[i]];
        body.position = body.previous_position = {x[i][lane], y[i][lane]};
        body.angle = body.previous_angle = angle[i][lane];
        body.rotation.cos = cos[i][lane];
        body.rotation.sin = sin[i][lane];
        body.previous_rotation = body.rotation;
        body.rotation_stale = false;
        body.velocity = {vx[i][lane], vy[i][lane]};
        body.angular_velocity = w[i][lane];
        body.sleep_time = rest[i][lane];
        body.box = bounds_of(box[i], lane);
    }
    Joint& joint = world.joints[HURDLE_JOINT];
    joint.pivot_force = {force_x[lane], force_y[lane]};
    joint.limit_force = limit_force[lane];
    joint.limit_state = LimitState::equal;
    for (int i = 0; i < world.contact_count; ++i) {
        Contact& contact = world.contacts[world.contact_order[i]];
        const int pair = hurdle_pair_of(contact);
        if (pair == NO_PAIR) continue;
        contact.touching = touching[pair] >> lane & 1;
        contact.manifold = to_manifold(manifold[pair], lane, contact.body_b >= FLOOR_COUNT);
    }
}

template <class V>
void HurdleLanes<V>::put_top(World& world, int lane) const {
    Body& body = world.bodies[HURDLE_TOP];
    body.position = {x[0][lane], y[0][lane]};
    body.rotation.cos = cos[0][lane];
    body.rotation.sin = sin[0][lane];
    body.rotation_stale = false;
    body.box = bounds_of(box[0], lane);
    body.sleep_time = rest[0][lane];
}

template <class V>
template <class Floors>
unsigned HurdleLanes<V>::update_contacts(const Floors& floors, unsigned (&ended)[HURDLE_PAIRS]) {
    unsigned on_two = 0;
    for (int i = 0; i < 2; ++i) {
        unsigned on_one = 0;
        for (int f = 0; f < FLOOR_COUNT; ++f) {
            const int pair = i * FLOOR_COUNT + f;
            const unsigned with_pair = exists[pair] & lanes;
            if (!with_pair) continue;
            ManifoldLanes<V>& m = manifold[pair];
            const unsigned fat = bits<V>(overlapping<V>(fat_box[i], floors.floor_fat_box[f]));
            const unsigned updated = with_pair & fat;
            const unsigned tight = updated & bits<V>(overlapping<V>(box[i], floors.floor_box[f]));
            ended[pair] = with_pair & ~fat;
            // A contact that begins, ends, or vanishes while it has points wakes the body.
            unsigned woken = ended[pair] & bits<V>(m.count > 0);
            const unsigned now = update_manifold<V>(m, HURDLE_PARTS[i], floor_is_a[i][f], {x[i], y[i]},
                                                    {cos[i], sin[i]}, floors.floor_x[f], updated, tight);
            woken |= (now ^ touching[pair]) & updated;
            rest[i] = select<V>(mask_of<V>(woken), V{}, rest[i]);
            exists[pair] &= ~ended[pair];
            touching[pair] = (touching[pair] & ~with_pair) | now;
            on_two |= on_one & now;
            on_one |= now;
        }
    }
    return on_two;
}

template <class V>
void HurdleLanes<V>::step(Trig trig, const V* floors_x, unsigned (&moved)[2]) {
    const Model& m = model();
    const double inv_mass_a = m.bodies[HURDLE_TOP].inv_mass, inv_mass_b = m.bodies[HURDLE_BASE].inv_mass;
    const double inv_i_a = m.bodies[HURDLE_TOP].inv_inertia, inv_i_b = m.bodies[HURDLE_BASE].inv_inertia;
    const double motor_mass = 1 / (inv_i_a + inv_i_b);
    const auto [anchor_a, anchor_b] = joint_models(trig)[HURDLE_JOINT];
    const I live = mask_of<V>(lanes);

    vy[0] += TIME_STEP * GRAVITY_Y;
    vy[1] += TIME_STEP * GRAVITY_Y;
    ContactLanes<V> contacts[2];
    int contact_count = 0;
    for (int i = 0; i < 2; ++i) {
        ContactLanes<V>& contact = contacts[contact_count];
        for (int f = 0; f < FLOOR_COUNT; ++f) contact.on_floor[f] = mask_of<V>(touching[i * FLOOR_COUNT + f] & lanes);
        contact.active = contact.on_floor[0] | contact.on_floor[1] | contact.on_floor[2];
        if (!bits<V>(contact.active)) continue;
        contact.part = i;
        contact.body = HURDLE_PARTS[i];
        ++contact_count;
    }
    for (int i = 0; i < contact_count; ++i) contacts[i].prepare(*this, floors_x);
    for (int i = 0; i < contact_count; ++i) contacts[i].warm_start(*this);
    const Vec2Lanes<V> a = rotated<V>({cos[0], sin[0]}, splat<V>(anchor_a.x), splat<V>(anchor_a.y));
    const Vec2Lanes<V> b = rotated<V>({cos[1], sin[1]}, splat<V>(anchor_b.x), splat<V>(anchor_b.y));
    const double inv_mass = inv_mass_a + inv_mass_b;
    const V k_xx = inv_mass + inv_i_a * a.y * a.y + inv_i_b * b.y * b.y;
    const V k_xy = 0.0 + -inv_i_a * a.x * a.y + -inv_i_b * b.x * b.y;
    const V k_yy = inv_mass + inv_i_a * a.x * a.x + inv_i_b * b.x * b.x;
    const V det = 1.0 / (k_xx * k_yy - k_xy * k_xy);
    const V pivot_xx = det * k_yy, pivot_xy = -det * k_xy, pivot_yy = det * k_xx;

    vx[0] -= TIME_STEP * inv_mass_a * force_x;
    vy[0] -= TIME_STEP * inv_mass_a * force_y;
    w[0] -= TIME_STEP * inv_i_a * (a.x * force_y - a.y * force_x + limit_force);
    vx[1] += TIME_STEP * inv_mass_b * force_x;
    vy[1] += TIME_STEP * inv_mass_b * force_y;
    w[1] += TIME_STEP * inv_i_b * (b.x * force_y - b.y * force_x + limit_force);
    for (int iteration = 0; iteration < VELOCITY_ITERATIONS; ++iteration) {
        const V dx = vx[1] + -w[1] * b.y - vx[0] - -w[0] * a.y;
        const V dy = vy[1] + w[1] * b.x - vy[0] - w[0] * a.x;
        const V fx = -INV_TIME_STEP * (pivot_xx * dx + pivot_xy * dy);
        const V fy = -INV_TIME_STEP * (pivot_xy * dx + pivot_yy * dy);
        force_x += fx;
        force_y += fy;
        const V px = TIME_STEP * fx, py = TIME_STEP * fy;
        vx[0] -= inv_mass_a * px;
        vy[0] -= inv_mass_a * py;
        w[0] -= inv_i_a * (a.x * py - a.y * px);
        vx[1] += inv_mass_b * px;
        vy[1] += inv_mass_b * py;
        w[1] += inv_i_b * (b.x * py - b.y * px);
        const V f = -INV_TIME_STEP * motor_mass * (w[1] - w[0]);  // the limits are equal: always on
        limit_force += f;
        w[0] -= inv_i_a * TIME_STEP * f;
        w[1] += inv_i_b * TIME_STEP * f;
        for (int i = 0; i < contact_count; ++i) contacts[i].solve_velocity(*this);
    }
    for (int i = 0; i < contact_count; ++i) contacts[i].store_impulses(*this);

    V before_x[2], before_y[2];
    for (int i = 0; i < 2; ++i) {
        limit_speed<V>(vx[i], vy[i], w[i]);
        before_x[i] = x[i];
        before_y[i] = y[i];
        x[i] = select<V>(live, x[i] + TIME_STEP * vx[i], x[i]);
        y[i] = select<V>(live, y[i] + TIME_STEP * vy[i], y[i]);
        angle[i] = select<V>(live, angle[i] + TIME_STEP * w[i], angle[i]);
    }
    solve_positions(trig, contacts, contact_count, live);
    sincos_lanes(trig, angle, sin, cos);
    for (int i = 0; i < 2; ++i) {
        rest[i] = rest_after<V>(rest[i], vx[i], vy[i], w[i]);
        const Bounds<V> now = tight_bounds<V>(HURDLE_PARTS[i], {x[i], y[i]}, {cos[i], sin[i]});
        box[i] = combined<V>(pose_box[i], now);
        pose_box[i] = now;
        moved[i] = lanes & ~bits<V>(containing<V>(fat_box[i], box[i]));
        if (moved[i]) fatten<V>(fat_box[i], box[i], x[i] - before_x[i], y[i] - before_y[i], mask_of<V>(moved[i]));
    }
}

template <class V>
void HurdleLanes<V>::solve_positions(Trig trig, ContactLanes<V>* contacts, int contact_count, I live) {
    const Model& m = model();
    const double inv_mass_a = m.bodies[HURDLE_TOP].inv_mass, inv_mass_b = m.bodies[HURDLE_BASE].inv_mass;
    const double inv_i_a = m.bodies[HURDLE_TOP].inv_inertia, inv_i_b = m.bodies[HURDLE_BASE].inv_inertia;
    const double inv_mass = inv_mass_a + inv_mass_b, motor_mass = 1 / (inv_i_a + inv_i_b);
    const double slop_squared = linear_slop_squared();
    const auto [anchor_a, anchor_b] = joint_models(trig)[HURDLE_JOINT];
    for (int iteration = 0; iteration < POSITION_ITERATIONS && bits<V>(live); ++iteration) {
        V min_separation{};
        sincos_lanes(trig, angle, sin, cos);
        for (int i = 0; i < contact_count; ++i) contacts[i].solve_position(*this, live, min_separation);
        if (contact_count) sincos_lanes(trig, angle, sin, cos);
        const Vec2Lanes<V> a = rotated<V>({cos[0], sin[0]}, splat<V>(anchor_a.x), splat<V>(anchor_a.y));
        const Vec2Lanes<V> b = rotated<V>({cos[1], sin[1]}, splat<V>(anchor_b.x), splat<V>(anchor_b.y));
        const V cx = x[1] + b.x - (x[0] + a.x), cy = y[1] + b.y - (y[0] + a.y);
        const I position_okay = cx * cx + cy * cy <= slop_squared;
        const V k_xx = inv_mass + inv_i_a * a.y * a.y + inv_i_b * b.y * b.y;
        const V k_xy = 0.0 + -inv_i_a * a.x * a.y + -inv_i_b * b.x * b.y;
        const V k_yy = inv_mass + inv_i_a * a.x * a.x + inv_i_b * b.x * b.x;
        const V det = 1.0 / (k_xx * k_yy - k_xy * k_xy);
        const V px = det * (k_yy * -cx - k_xy * -cy), py = det * (k_xx * -cy - k_xy * -cx);
        x[0] = select<V>(live, x[0] - inv_mass_a * px, x[0]);
        y[0] = select<V>(live, y[0] - inv_mass_a * py, y[0]);
        x[1] = select<V>(live, x[1] + inv_mass_b * px, x[1]);
        y[1] = select<V>(live, y[1] + inv_mass_b * py, y[1]);
        const V angle_a = angle[0] - inv_i_a * (a.x * py - a.y * px);
        const V angle_b = angle[1] + inv_i_b * (b.x * py - b.y * px);
        const V c = clamped<V>(angle_b - angle_a, splat<V>(-MAX_ANGULAR_CORRECTION), splat<V>(MAX_ANGULAR_CORRECTION));
        const V impulse = -motor_mass * c;
        angle[0] = select<V>(live, angle_a - inv_i_a * impulse, angle[0]);
        angle[1] = select<V>(live, angle_b + inv_i_b * impulse, angle[1]);
        const I angle_okay = select<V>(c > V{}, c, -c) <= ANGULAR_SLOP;
        live &= ~(position_okay & angle_okay & (min_separation > -1.5 * LINEAR_SLOP));
    }
}

}  // namespace lanes
}  // namespace qwop
