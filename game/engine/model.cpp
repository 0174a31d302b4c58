#include "model.hpp"

namespace qwop {

// Mass and inertia by the sum over the triangles (origin, vertex i, vertex i + 1), as Box2D takes it: the
// closed form of a box differs in the last bit.
static void set_mass(BodyModel& body, double density) {
    const double third = 1.0 / 3.0;
    double area = 0, second_moment = 0;
    for (int i = 0; i < 4; ++i) {
        const Vec2 e1 = body.box.vertices[i], e2 = body.box.vertices[(i + 1) % 4];
        const double parallelogram = cross(e1, e2);
        area += 0.5 * parallelogram;
        const double x2 = third * (0.25 * (e1.x * e1.x + e2.x * e1.x + e2.x * e2.x));
        const double y2 = third * (0.25 * (e1.y * e1.y + e2.y * e1.y + e2.y * e2.y));
        second_moment += parallelogram * (x2 + y2);
    }
    body.mass = density * area;
    body.inv_mass = 1 / body.mass;
    body.inertia = density * second_moment;
    body.inv_inertia = 1 / body.inertia;
}

static Box make_box(double half_width, double half_height) {
    Box box;
    const double sign[4][2] = {{-1, -1}, {1, -1}, {1, 1}, {-1, 1}};
    for (int i = 0; i < 4; ++i) box.vertices[i] = {sign[i][0] * half_width, sign[i][1] * half_height};
    for (int i = 0; i < 4; ++i) {
        const Vec2 a = box.vertices[i], b = box.vertices[(i + 1) % 4];
        Vec2 tangent = b - a;
        const double inv_length = 1 / std::sqrt(tangent.x * tangent.x + tangent.y * tangent.y);
        tangent = {tangent.x * inv_length, tangent.y * inv_length};
        box.face_tangents[i] = tangent;
        box.face_normals[i] = {tangent.y, -tangent.x};
        box.face_centers[i] = {0.5 * (a.x + b.x), 0.5 * (a.y + b.y)};
    }
    return box;
}

Model::Model() : joint_lists{}, joint_counts{} {
    for (int i = 0; i < BODY_COUNT; ++i) {
        const BodyConstants& c = BODIES[i];
        bodies[i].box = make_box(c.half_width, c.half_height);
        bodies[i].mass = bodies[i].inv_mass = bodies[i].inertia = bodies[i].inv_inertia = 0;
        if (c.dynamic) set_mass(bodies[i], c.density);
    }
    for (int i = JOINT_COUNT - 1; i >= 0; --i)
        for (BodyId body : {JOINTS[i].body_a, JOINTS[i].body_b})
            joint_lists[body][joint_counts[body]++] = static_cast<uint8_t>(i);
}

const Model& model() {
    static const Model instance;
    return instance;
}

namespace {

struct Anchors {
    JointModel joints[TRIG_COUNT][JOINT_COUNT];

    Anchors() {
        for (int trig = 0; trig < TRIG_COUNT; ++trig)
            for (int i = 0; i < JOINT_COUNT; ++i) joints[trig][i] = anchored(static_cast<Trig>(trig), i);
    }

    static JointModel anchored(Trig trig, int joint) {
        const JointConstants& c = JOINTS[joint];
        const Vec2 a{c.anchor_a_x, c.anchor_a_y}, b{c.anchor_b_x, c.anchor_b_y};
        if (joint == HURDLE_JOINT) return {a, b};
        const BodyConstants &body_a = BODIES[c.body_a], &body_b = BODIES[c.body_b];
        return {unrotate(Rotation::of(trig, body_a.angle), a - Vec2{body_a.x, body_a.y}),
                unrotate(Rotation::of(trig, body_b.angle), b - Vec2{body_b.x, body_b.y})};
    }
};

}  // namespace

const JointModel* joint_models(Trig trig) {
    static const Anchors instance;
    return instance.joints[static_cast<int>(trig)];
}

}  // namespace qwop
