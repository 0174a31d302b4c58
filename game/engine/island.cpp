#include "island.hpp"

#include <limits>

#include "world.hpp"

namespace qwop {

void integrate_velocity(Body& body, int id) {
    body.velocity.x += TIME_STEP * GRAVITY_X;
    body.velocity.y += TIME_STEP * GRAVITY_Y;
    body.angular_velocity += TIME_STEP * model().bodies[id].inv_inertia * body.torque;
}

void integrate_position(Body& body) {
    const double dx = TIME_STEP * body.velocity.x, dy = TIME_STEP * body.velocity.y;
    if (dx * dx + dy * dy > MAX_TRANSLATION_SQUARED) {
        const double length = std::sqrt(body.velocity.x * body.velocity.x + body.velocity.y * body.velocity.y);
        const double inv_length = 1 / length;
        body.velocity.x = body.velocity.x * inv_length * (MAX_TRANSLATION * INV_TIME_STEP);
        body.velocity.y = body.velocity.y * inv_length * (MAX_TRANSLATION * INV_TIME_STEP);
    }
    const double rotation = TIME_STEP * body.angular_velocity;
    if (rotation * rotation > MAX_ROTATION_SQUARED)
        body.angular_velocity =
            body.angular_velocity < 0 ? -MAX_ROTATION * INV_TIME_STEP : MAX_ROTATION * INV_TIME_STEP;

    body.previous_position = body.position;
    body.previous_angle = body.angle;
    body.previous_rotation = body.fresh_rotation();
    body.position.x += TIME_STEP * body.velocity.x;
    body.position.y += TIME_STEP * body.velocity.y;
    body.angle += TIME_STEP * body.angular_velocity;
    body.rotation_stale = true;
}

double count_rest(Body& body) {
    if (body.angular_velocity * body.angular_velocity > ANGULAR_SLEEP_TOLERANCE * ANGULAR_SLEEP_TOLERANCE ||
        dot(body.velocity, body.velocity) > LINEAR_SLEEP_TOLERANCE * LINEAR_SLEEP_TOLERANCE) {
        body.sleep_time = 0;
    } else {
        body.sleep_time += TIME_STEP;
    }
    return body.sleep_time;
}

void Island::solve(World& world, double dt_ratio) {
    Body* all = world.bodies;
    for (int i = 0; i < body_count; ++i)
        if (BODIES[bodies[i]].dynamic) integrate_velocity(all[bodies[i]], bodies[i]);

    ContactSolver contact_solvers[CONTACT_SLOTS];
    JointSolver joint_solvers[JOINT_COUNT];
    for (int i = 0; i < contact_count; ++i) contact_solvers[i] = ContactSolver(world.contacts[contacts[i]], all);
    for (int i = 0; i < contact_count; ++i) contact_solvers[i].warm_start(dt_ratio);
    for (int i = 0; i < joint_count; ++i) {
        joint_solvers[i] = JointSolver(joints[i], &world.joints[joints[i]], all);
        joint_solvers[i].warm_start();
    }
    for (int iteration = 0; iteration < VELOCITY_ITERATIONS; ++iteration) {
        for (int i = 0; i < joint_count; ++i) joint_solvers[i].solve_velocity();
        for (int i = 0; i < contact_count; ++i) contact_solvers[i].solve_velocity();
    }
    for (int i = 0; i < contact_count; ++i) contact_solvers[i].store_impulses();

    for (int i = 0; i < body_count; ++i)
        if (BODIES[bodies[i]].dynamic) integrate_position(all[bodies[i]]);

    for (int iteration = 0; iteration < POSITION_ITERATIONS; ++iteration) {
        double min_separation = 0;
        for (int i = 0; i < contact_count; ++i) contact_solvers[i].solve_position(min_separation);
        bool joints_okay = true;
        for (int i = 0; i < joint_count; ++i) joints_okay &= joint_solvers[i].solve_position();
        if (min_separation > -1.5 * LINEAR_SLOP && joints_okay) break;
    }

    // The island falls asleep once each of its bodies has been slow for TIME_TO_SLEEP.
    double least_rest = std::numeric_limits<double>::max();
    for (int i = 0; i < body_count; ++i)
        if (BODIES[bodies[i]].dynamic) least_rest = min(least_rest, count_rest(all[bodies[i]]));
    if (least_rest >= TIME_TO_SLEEP)
        for (int i = 0; i < body_count; ++i) all[bodies[i]].sleep();
}

}  // namespace qwop
