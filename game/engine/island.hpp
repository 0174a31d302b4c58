// The solver of one island: velocities, then positions, then sleep.
#pragma once
#include "contact.hpp"
#include "joint.hpp"

namespace qwop {

struct World;

struct Island {
    uint8_t bodies[BODY_COUNT + CONTACT_SLOTS], contacts[CONTACT_SLOTS], joints[JOINT_COUNT];
    int body_count = 0, contact_count = 0, joint_count = 0;

    // dt_ratio: this step's dt over the last one's; scales the impulses that contacts start from.
    void solve(World& world, double dt_ratio);
};

}  // namespace qwop
