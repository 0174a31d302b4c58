// A runner that touches the hurdle, in the lanes. Both are one island then. The lanes solve the runner; a Coupling
// solves the hurdle and the contacts of the parts that touch it in the lane's World, iteration by iteration with the
// lanes.
#pragma once
#include "contact.hpp"
#include "joint.hpp"

namespace qwop {

struct World;

constexpr int MAX_COUPLING_CONTACTS = 16;

// The caller brings the coupled parts' numbers into world.bodies before each call, and back out after it: positions,
// angles and rotations for `prepare` and `solve_position`, velocities for `warm_start` and `solve_velocity`.
struct Coupling {
    World* world;
    unsigned parts;  // that touch the hurdle, a bit each
    int contact_count;
    uint8_t slots[MAX_COUPLING_CONTACTS];  // of the contacts of these parts and of the hurdle, in the island's order
    ContactSolver contacts[MAX_COUPLING_CONTACTS];
    JointSolver joint;  // the hurdle's

    // All contacts are up to date. Returns false if the lanes cannot solve this island: the hurdle changes the order of
    // the runner's joints, or has too many contacts.
    bool prepare(World& in, unsigned touching_parts);
    void warm_start();  // after the caller added gravity
    void solve_velocity();  // one iteration, after the runner's joints
    void integrate();  // stores the impulses and moves the hurdle
    bool solve_position();  // one iteration; true once the hurdle's and these contacts' errors are small
    void finish();
};

}  // namespace qwop
