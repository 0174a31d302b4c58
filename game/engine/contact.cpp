#include "contact.hpp"

namespace qwop {

int contact_slot(int body1, int body2) {
    const int mover = body1 > body2 ? body1 : body2, other = body1 > body2 ? body2 : body1;
    if (mover >= FIRST_PART) return (mover - FIRST_PART) * 5 + (other == HURDLE_TOP ? 4 : other);
    return PART_COUNT * 5 + (mover - HURDLE_BASE) * 4 + other;
}

ContactSolver::ContactSolver(Contact& contact, Body* bodies) {
    const Model& m = model();
    const BodyModel &model_a = m.bodies[contact.body_a], &model_b = m.bodies[contact.body_b];
    manifold = &contact.manifold;
    a = &bodies[contact.body_a];
    b = &bodies[contact.body_b];
    mass_a = model_a.mass;
    mass_b = model_b.mass;
    inv_mass_a = model_a.inv_mass;
    inv_mass_b = model_b.inv_mass;
    inv_i_a = model_a.inv_inertia;
    inv_i_b = model_b.inv_inertia;
    friction = std::sqrt(BODIES[contact.body_a].friction * BODIES[contact.body_b].friction);

    const WorldManifold world = world_manifold(*manifold, a->transform(), b->transform());
    normal = world.normal;
    const Vec2 tangent{normal.y, -normal.x};
    point_count = manifold->point_count;
    for (int i = 0; i < point_count; ++i) {
        ContactPoint& p = points[i];
        p.local_point = manifold->points[i].local_point;
        p.normal_impulse = manifold->points[i].normal_impulse;
        p.tangent_impulse = manifold->points[i].tangent_impulse;
        p.r_a = world.points[i] - a->position;
        p.r_b = world.points[i] - b->position;

        // Effective mass along a direction d: 1 / (1/m_a + 1/m_b + (r_a x d)^2 / I_a + (r_b x d)^2 / I_b).
        double rn_a = cross(p.r_a, normal), rn_b = cross(p.r_b, normal);
        rn_a *= rn_a;
        rn_b *= rn_b;
        p.normal_mass = 1 / (inv_mass_a + inv_mass_b + inv_i_a * rn_a + inv_i_b * rn_b);
        double equalized = mass_a * inv_mass_a + mass_b * inv_mass_b;
        equalized += mass_a * inv_i_a * rn_a + mass_b * inv_i_b * rn_b;
        p.equalized_mass = 1 / equalized;
        double rt_a = cross(p.r_a, tangent), rt_b = cross(p.r_b, tangent);
        rt_a *= rt_a;
        rt_b *= rt_b;
        p.tangent_mass = 1 / (inv_mass_a + inv_mass_b + inv_i_a * rt_a + inv_i_b * rt_b);
    }

    if (point_count == 2) {
        const double rn1_a = cross(points[0].r_a, normal), rn1_b = cross(points[0].r_b, normal);
        const double rn2_a = cross(points[1].r_a, normal), rn2_b = cross(points[1].r_b, normal);
        k_xx = inv_mass_a + inv_mass_b + inv_i_a * rn1_a * rn1_a + inv_i_b * rn1_b * rn1_b;
        k_yy = inv_mass_a + inv_mass_b + inv_i_a * rn2_a * rn2_a + inv_i_b * rn2_b * rn2_b;
        k_xy = inv_mass_a + inv_mass_b + inv_i_a * rn1_a * rn2_a + inv_i_b * rn1_b * rn2_b;
        double det = k_xx * k_yy - k_xy * k_xy;
        if (MAX_CONDITION_NUMBER * det > k_xx * k_xx) {
            if (det != 0) det = 1 / det;
            inv_k_xx = det * k_yy;
            inv_k_xy = -det * k_xy;
            inv_k_yx = -det * k_xy;
            inv_k_yy = det * k_xx;
        } else {
            point_count = 1;  // the second point keeps its old impulse in the manifold
        }
    }
}

void ContactSolver::warm_start(double dt_ratio) {
    const Vec2 tangent{normal.y, -normal.x};
    for (int i = 0; i < point_count; ++i) {
        ContactPoint& p = points[i];
        p.normal_impulse *= dt_ratio;
        p.tangent_impulse *= dt_ratio;
        const Vec2 impulse = p.normal_impulse * normal + p.tangent_impulse * tangent;
        apply(impulse, p);
    }
}

void ContactSolver::apply(Vec2 impulse, const ContactPoint& p) {
    a->velocity = {a->velocity.x - inv_mass_a * impulse.x, a->velocity.y - inv_mass_a * impulse.y};
    a->angular_velocity -= inv_i_a * cross(p.r_a, impulse);
    b->velocity = {b->velocity.x + inv_mass_b * impulse.x, b->velocity.y + inv_mass_b * impulse.y};
    b->angular_velocity += inv_i_b * cross(p.r_b, impulse);
}

// Speed of B's point relative to A's: v_b + w_b x r_b - v_a - w_a x r_a.
static Vec2 relative_speed(const Body& a, const Body& b, const ContactPoint& p) {
    return {b.velocity.x - b.angular_velocity * p.r_b.y - a.velocity.x + a.angular_velocity * p.r_a.y,
            b.velocity.y + b.angular_velocity * p.r_b.x - a.velocity.y - a.angular_velocity * p.r_a.x};
}

void ContactSolver::solve_velocity() {
    solve_friction();
    if (point_count == 1) {
        solve_one_point();
    } else {
        solve_two_points();
    }
}

void ContactSolver::solve_friction() {
    const Vec2 tangent{normal.y, -normal.x};
    for (int i = 0; i < point_count; ++i) {
        ContactPoint& p = points[i];
        const double speed = dot(relative_speed(*a, *b, p), tangent);
        const double limit = friction * p.normal_impulse;
        const double impulse = clamp(p.tangent_impulse + p.tangent_mass * -speed, -limit, limit);
        apply((impulse - p.tangent_impulse) * tangent, p);
        p.tangent_impulse = impulse;
    }
}

void ContactSolver::solve_one_point() {
    ContactPoint& p = points[0];
    const double speed = dot(relative_speed(*a, *b, p), normal);
    double impulse = p.normal_impulse + -p.normal_mass * speed;
    impulse = impulse > 0 ? impulse : 0;
    apply((impulse - p.normal_impulse) * normal, p);
    p.normal_impulse = impulse;
}

// Both points at once: find accumulated impulses x >= 0 with v = K x + b >= 0 and v_i x_i = 0, by trying
// each of the four ways in which v_i or x_i is zero (total enumeration; Murty). b is the normal speed that
// would remain without any impulse.
void ContactSolver::solve_two_points() {
    ContactPoint &p1 = points[0], &p2 = points[1];
    const double old_x = p1.normal_impulse, old_y = p2.normal_impulse;
    double b_x = dot(relative_speed(*a, *b, p1), normal);
    double b_y = dot(relative_speed(*a, *b, p2), normal);
    b_x -= k_xx * old_x + k_xy * old_y;
    b_y -= k_xy * old_x + k_yy * old_y;

    double x = -(inv_k_xx * b_x + inv_k_xy * b_y);
    double y = -(inv_k_yx * b_x + inv_k_yy * b_y);
    if (!(x >= 0 && y >= 0)) {
        x = -p1.normal_mass * b_x;
        y = 0;
        if (!(x >= 0 && k_xy * x + b_y >= 0)) {
            x = 0;
            y = -p2.normal_mass * b_y;
            if (!(y >= 0 && k_xy * y + b_x >= 0)) {
                x = y = 0;
                if (!(b_x >= 0 && b_y >= 0)) return;  // no solution: rare, and the game ignores it, too
            }
        }
    }
    const Vec2 impulse1 = (x - old_x) * normal, impulse2 = (y - old_y) * normal;
    const Vec2 sum = impulse1 + impulse2;
    a->velocity = {a->velocity.x - inv_mass_a * sum.x, a->velocity.y - inv_mass_a * sum.y};
    a->angular_velocity -=
        inv_i_a * (p1.r_a.x * impulse1.y - p1.r_a.y * impulse1.x + p2.r_a.x * impulse2.y - p2.r_a.y * impulse2.x);
    b->velocity = {b->velocity.x + inv_mass_b * sum.x, b->velocity.y + inv_mass_b * sum.y};
    b->angular_velocity +=
        inv_i_b * (p1.r_b.x * impulse1.y - p1.r_b.y * impulse1.x + p2.r_b.x * impulse2.y - p2.r_b.y * impulse2.x);
    p1.normal_impulse = x;
    p2.normal_impulse = y;
}

void ContactSolver::store_impulses() {
    for (int i = 0; i < point_count; ++i) {
        manifold->points[i].normal_impulse = points[i].normal_impulse;
        manifold->points[i].tangent_impulse = points[i].tangent_impulse;
    }
}

// Pushes overlapping points apart (nonlinear Gauss-Seidel). Both points and separations are computed before the
// first correction, the lever arms after it.
void ContactSolver::solve_position(double& min_separation) {
    const Transform xf_a = a->transform(), xf_b = b->transform();
    const Transform &face = manifold->face_b ? xf_b : xf_a, &other = manifold->face_b ? xf_a : xf_b;
    Vec2 n = rotate(face.rotation, manifold->local_normal);
    const Vec2 plane = to_world(face, manifold->local_point);
    Vec2 point[2];
    double separation[2];
    for (int i = 0; i < point_count; ++i) {
        point[i] = to_world(other, points[i].local_point);
        separation[i] = (point[i].x - plane.x) * n.x + (point[i].y - plane.y) * n.y - (POLYGON_RADIUS + POLYGON_RADIUS);
    }
    if (manifold->face_b) n = {-n.x, -n.y};

    for (int i = 0; i < point_count; ++i) {
        const Vec2 r_a = point[i] - a->position, r_b = point[i] - b->position;
        min_separation = min_separation < separation[i] ? min_separation : separation[i];
        const double c = clamp(separation[i] + LINEAR_SLOP, -MAX_LINEAR_CORRECTION, 0);
        const Vec2 impulse = (-points[i].equalized_mass * c) * n;
        a->position = {a->position.x - mass_a * inv_mass_a * impulse.x,
                       a->position.y - mass_a * inv_mass_a * impulse.y};
        a->angle -= mass_a * inv_i_a * cross(r_a, impulse);
        b->position = {b->position.x + mass_b * inv_mass_b * impulse.x,
                       b->position.y + mass_b * inv_mass_b * impulse.y};
        b->angle += mass_b * inv_i_b * cross(r_b, impulse);
    }
    a->rotation_stale = b->rotation_stale = true;
}

}  // namespace qwop
