// Contacts: a pair of bodies whose fat boxes overlap, and the constraint that a touching pair becomes.
#pragma once
#include "body.hpp"

namespace qwop {

struct Contact {
    uint8_t body_a, body_b;  // A is the body with the smaller tree node
    bool exists = false, touching = false;
    Manifold manifold;
};

// Every pair that may ever collide has a fixed slot: a runner's part with a floor, the block or the hurdle's
// top; a hurdle part with a floor or the block.
constexpr int CONTACT_SLOTS = PART_COUNT * 5 + 2 * 4;
int contact_slot(int body1, int body2);

struct ContactPoint {
    Vec2 r_a, r_b;           // from each body's center to the point
    Vec2 local_point;
    double normal_impulse, tangent_impulse;
    double normal_mass, tangent_mass, equalized_mass;
};

// The constraint within one step: relative normal speed >= 0, and friction <= mu * normal impulse.
struct ContactSolver {
    Manifold* manifold;
    Body *a, *b;
    double mass_a, mass_b, inv_mass_a, inv_mass_b, inv_i_a, inv_i_b;
    Vec2 normal;             // from A to B
    double friction;
    int point_count;         // of the constraint: 1 where the two points of the manifold are redundant
    ContactPoint points[2];
    double k_xx, k_xy, k_yy;                               // normal speeds = K * normal impulses
    double inv_k_xx, inv_k_xy, inv_k_yx, inv_k_yy;

    ContactSolver() = default;
    ContactSolver(Contact& contact, Body* bodies);
    void warm_start(double dt_ratio);
    void solve_velocity();
    void store_impulses();
    void solve_position(double& min_separation);

  private:
    void solve_friction();
    void solve_one_point();
    void solve_two_points();
    void apply(Vec2 impulse, const ContactPoint& point);
};

}  // namespace qwop
