#include "coupling.hpp"

#include "game.hpp"
#include "island.hpp"

namespace qwop {

// For each joint, the joints with a common body that the island of a runner alone has after it, a bit each. Joints
// without a common body commute.
struct JointOrder {
    unsigned later[JOINT_COUNT] = {};

    JointOrder() {
        World world = Game::canonical(Trig::rounded).world;
        const Island island = world.runners_island(0);
        for (int i = 0; i < island.joint_count; ++i)
            for (int j = i + 1; j < island.joint_count; ++j) {
                const JointConstants &first = JOINTS[island.joints[i]], &second = JOINTS[island.joints[j]];
                if (first.body_a == second.body_a || first.body_a == second.body_b || first.body_b == second.body_a ||
                    first.body_b == second.body_b)
                    later[first.id] |= 1u << second.id;
            }
    }
};

bool Coupling::prepare(World& in, unsigned touching_parts) {
    static const JointOrder order;
    world = &in;
    parts = touching_parts;
    const Island island = world->runners_island(parts);
    unsigned solved = 0;
    for (int i = 0; i < island.joint_count; ++i) {
        if (order.later[island.joints[i]] & solved) return false;
        solved |= 1u << island.joints[i];
    }
    if (island.contact_count > MAX_COUPLING_CONTACTS) return false;
    contact_count = island.contact_count;
    for (int i = 0; i < contact_count; ++i) {
        slots[i] = island.contacts[i];
        contacts[i] = ContactSolver(world->contacts[slots[i]], world->bodies);
    }
    return true;
}

void Coupling::warm_start() {
    for (int id : {HURDLE_TOP, HURDLE_BASE}) integrate_velocity(world->bodies[id], id);
    for (int i = 0; i < contact_count; ++i) contacts[i].warm_start(1);
    joint = JointSolver(HURDLE_JOINT, &world->joints[HURDLE_JOINT], world->bodies);
    joint.warm_start();
}

void Coupling::solve_velocity() {
    joint.solve_velocity();
    for (int i = 0; i < contact_count; ++i) contacts[i].solve_velocity();
}

void Coupling::integrate() {
    for (int i = 0; i < contact_count; ++i) contacts[i].store_impulses();
    for (int id : {HURDLE_TOP, HURDLE_BASE}) integrate_position(world->bodies[id]);
}

bool Coupling::solve_position() {
    double min_separation = 0;
    for (int i = 0; i < contact_count; ++i) contacts[i].solve_position(min_separation);
    const bool joint_okay = joint.solve_position();
    return min_separation > -1.5 * LINEAR_SLOP && joint_okay;
}

// The runner is awake, so nothing falls asleep.
void Coupling::finish() {
    for (int id : {HURDLE_TOP, HURDLE_BASE}) count_rest(world->bodies[id]);
}

}  // namespace qwop
