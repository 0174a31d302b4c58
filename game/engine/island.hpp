// The solver of one island: velocities, then positions, then sleep.
#pragma once
#include "contact.hpp"
#include "joint.hpp"

namespace qwop {

struct World;

// Of one body in a step: gravity and torque; the move, within the limits of speed; the seconds at rest, returned.
void integrate_velocity(Body& body, int id);
void integrate_position(Body& body);
double count_rest(Body& body);

struct Island {
    uint8_t bodies[BODY_COUNT + CONTACT_SLOTS], contacts[CONTACT_SLOTS], joints[JOINT_COUNT];
    int body_count = 0, contact_count = 0, joint_count = 0;

    // dt_ratio: this step's dt over the last one's; scales the impulses that contacts start from.
    void solve(World& world, double dt_ratio);
};

}  // namespace qwop
