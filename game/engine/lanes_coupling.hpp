// Runners that touch the hurdle: what the lanes and a lane's Coupling exchange.
#pragma once
#include "coupling.hpp"
#include "lanes_block.hpp"

namespace qwop {
namespace lanes {

// The numbers of parts (a bit each) go from a lane into its World, or back.
template <class V>
static inline void put_velocities(const Block<V>& b, World& world, int lane, unsigned parts) {
    for (; parts; parts &= parts - 1) {
        const int p = __builtin_ctz(parts);
        Body& body = world.bodies[FIRST_PART + p];
        body.velocity = {b.vx[p][lane], b.vy[p][lane]};
        body.angular_velocity = b.w[p][lane];
    }
}

template <class V>
static inline void take_velocities(Block<V>& b, const World& world, int lane, unsigned parts) {
    for (; parts; parts &= parts - 1) {
        const int p = __builtin_ctz(parts);
        const Body& body = world.bodies[FIRST_PART + p];
        b.vx[p][lane] = body.velocity.x;
        b.vy[p][lane] = body.velocity.y;
        b.w[p][lane] = body.angular_velocity;
    }
}

template <class V>
static inline void put_positions(const Block<V>& b, World& world, int lane, unsigned parts) {
    for (; parts; parts &= parts - 1) {
        const int p = __builtin_ctz(parts);
        Body& body = world.bodies[FIRST_PART + p];
        body.position = {b.x[p][lane], b.y[p][lane]};
        body.angle = b.angle[p][lane];
        body.rotation_stale = true;
    }
}

template <class V>
static inline void take_positions(Block<V>& b, const World& world, int lane, unsigned parts) {
    for (; parts; parts &= parts - 1) {
        const int p = __builtin_ctz(parts);
        const Body& body = world.bodies[FIRST_PART + p];
        b.x[p][lane] = body.position.x;
        b.y[p][lane] = body.position.y;
        b.angle[p][lane] = body.angle;
    }
}

// World::update_contacts for the parts near an awake hurdle. Returns those that touch it.
template <class V>
static inline unsigned update_hurdle_parts(Block<V>& b, int lane) {
    World& world = b.games[lane].world;
    const bool in_vectors = b.hurdle.lanes >> lane & 1;
    if (in_vectors) b.hurdle.put_top(world, lane);
    unsigned touching = 0;
    for (unsigned left = b.near_hurdle_top[lane]; left; left &= left - 1) {
        const int p = __builtin_ctz(left);
        Body& body = world.bodies[FIRST_PART + p];
        body.sleep_time = b.rest[p][lane];
        if (boxes_overlap(bounds_of<V>(b.fat_box[p], lane), b.hurdle_leaves[lane][0])) {
            body.position = {b.x[p][lane], b.y[p][lane]};
            body.rotation.cos = b.cos[p][lane];
            body.rotation.sin = b.sin[p][lane];
            body.rotation_stale = false;
            body.box = bounds_of<V>(b.box[p], lane);
            if (bridge::update_contact(world, FIRST_PART + p, HURDLE_TOP)) touching |= 1u << p;
        } else {
            b.near_hurdle_top[lane] &= ~(1u << p);
            bridge::end_contact(world, FIRST_PART + p, HURDLE_TOP);
        }
        b.rest[p][lane] = body.sleep_time;
    }
    if (in_vectors) b.hurdle.rest[0][lane] = world.bodies[HURDLE_TOP].sleep_time;
    if (touching) b.hurdle.store(world, lane);
    return touching;
}

// Prepares a lane in which `parts` touch the hurdle; all contacts of parts are up to date. Returns false if the scalar
// engine has to finish the step.
template <class V>
static inline bool couple(Block<V>& b, Coupling& coupling, int lane, unsigned parts) {
    World& world = b.games[lane].world;
    world.update_hurdle_contacts(b.hurdle_leaves[lane]);
    for (unsigned left = parts; left; left &= left - 1) {
        const int p = __builtin_ctz(left);
        for (int f = 0; f < FLOOR_COUNT; ++f) {
            const int pair = p * FLOOR_COUNT + f;
            if (!(b.exists[pair] >> lane & 1)) continue;
            Contact& contact = world.contacts[p * SURFACE_COUNT + f];
            contact.touching = b.touching[pair] >> lane & 1;
            contact.manifold = to_manifold<V>(b.manifold[pair], lane, contact.body_b >= FIRST_PART);
        }
    }
    return coupling.prepare(world, parts);
}

template <class V>
static inline void warm_start_coupling(Block<V>& b, Coupling& coupling, int lane) {
    put_velocities<V>(b, *coupling.world, lane, coupling.parts);
    coupling.warm_start();
    take_velocities<V>(b, *coupling.world, lane, coupling.parts);
}

template <class V>
static inline void solve_coupling_velocity(Block<V>& b, Coupling& coupling, int lane) {
    put_velocities<V>(b, *coupling.world, lane, coupling.parts);
    coupling.solve_velocity();
    take_velocities<V>(b, *coupling.world, lane, coupling.parts);
}

template <class V>
static inline void integrate_coupling(Block<V>& b, Coupling& coupling, int lane) {
    coupling.integrate();
    for (int i = 0; i < coupling.contact_count; ++i) {
        const Contact& contact = coupling.world->contacts[coupling.slots[i]];
        const int pair = pair_of(contact);
        if (pair != NO_PAIR) set_manifold<V>(b.manifold[pair], lane, contact.manifold, contact.body_b >= FIRST_PART);
    }
}

template <class V>
static inline bool solve_coupling_position(Block<V>& b, Coupling& coupling, int lane) {
    put_positions<V>(b, *coupling.world, lane, coupling.parts);
    const bool okay = coupling.solve_position();
    take_positions<V>(b, *coupling.world, lane, coupling.parts);
    return okay;
}

}  // namespace lanes
}  // namespace qwop
