#include "world.hpp"

#include <cstring>
#include <limits>

#include "island.hpp"

namespace qwop {

void World::set_trig(Trig variant) {
    trig = variant;
    for (Body& body : bodies) body.trig = variant;
}

// A body appears at the origin (a hurdle part at its final place), gets its leaf there, and is moved
// afterwards: these moves shape the tree.
void World::create_body(int id) {
    const BodyConstants& c = BODIES[id];
    const bool hurdle = c.category == HURDLE;
    Body& body = bodies[id];
    body = Body();
    body.trig = trig;
    body.awake = c.awake;
    if (hurdle) body.position = body.previous_position = {c.x, c.y};
    body.box = tight_box(model().bodies[id].box, body.transform());
    body.leaf = tree.create_leaf(body.box, static_cast<uint8_t>(id));
    moved[move_count++] = static_cast<uint8_t>(id);
    new_fixture = true;
    if (!hurdle) {
        set_pose(id, {c.x, c.y}, 0);
        set_pose(id, {c.x, c.y}, c.angle);
    }
}

void World::create_joint(int id) {
    Joint& joint = joints[id];
    joint = Joint();
    joint.lower_angle = JOINTS[id].lower_angle;
    joint.upper_angle = JOINTS[id].upper_angle;
    joint.motor_enabled = JOINTS[id].motor_at_start;
}

void World::destroy_body(int id) {
    for (int i = contact_count - 1; i >= 0; --i) {
        const Contact& contact = contacts[contact_order[i]];
        if (contact.body_a == id || contact.body_b == id) destroy_contact(i);
    }
    for (int i = 0; i < move_count; ++i) {
        if (moved[i] != id) continue;
        std::memmove(moved + i, moved + i + 1, move_count - i - 1);
        --move_count;
        break;
    }
    tree.destroy_leaf(bodies[id].leaf);
    bodies[id].leaf = NO_NODE;
}

void World::set_pose(int id, Vec2 position, double angle) {
    Body& body = bodies[id];
    body.position = body.previous_position = position;
    body.angle = body.previous_angle = angle;
    body.rotation = body.previous_rotation = Rotation::of(trig, angle);
    body.rotation_stale = false;
    move_leaf(id, body.transform(), body.transform());
    find_new_contacts();
}

void World::move_leaf(int id, const Transform& from, const Transform& to) {
    Body& body = bodies[id];
    const Box& box = model().bodies[id].box;
    body.box = combine(tight_box(box, from), tight_box(box, to));
    if (tree.move_leaf(body.leaf, body.box, to.position - from.position))
        moved[move_count++] = static_cast<uint8_t>(id);
}

void World::find_new_contacts() {
    for (int i = 0; i < move_count; ++i) find_pairs(moved[i]);
    move_count = 0;
}

void World::find_pairs(int id) {
    const NodeId mover = bodies[id].leaf;
    tree.query(tree.nodes[mover].box, [&](NodeId leaf) {
        if (leaf == mover) return;
        const NodeId first = leaf < mover ? leaf : mover, second = leaf < mover ? mover : leaf;
        add_pair(tree.nodes[first].body, tree.nodes[second].body);
    });
}

void World::add_pair(int body1, int body2) {
    const BodyConstants &c1 = BODIES[body1], &c2 = BODIES[body2];
    if (!c1.dynamic && !c2.dynamic) return;
    if (!(c1.mask & c2.category) || !(c1.category & c2.mask)) return;
    const int slot = contact_slot(body1, body2);
    Contact& contact = contacts[slot];
    if (contact.exists) return;
    contact.exists = true;
    contact.touching = false;
    contact.body_a = static_cast<uint8_t>(body1);
    contact.body_b = static_cast<uint8_t>(body2);
    contact.manifold.point_count = 0;
    contact_order[contact_count++] = static_cast<uint8_t>(slot);
}

void World::destroy_contact(int order_index) {
    Contact& contact = contacts[contact_order[order_index]];
    std::memmove(contact_order + order_index, contact_order + order_index + 1, contact_count - order_index - 1);
    --contact_count;
    contact.exists = contact.touching = false;
    if (contact.manifold.point_count > 0) {
        bodies[contact.body_a].wake();
        bodies[contact.body_b].wake();
    }
}

void World::update_contacts(ContactListener& listener) {
    for (int i = contact_count - 1; i >= 0; --i) {
        Contact& contact = contacts[contact_order[i]];
        const Body &a = bodies[contact.body_a], &b = bodies[contact.body_b];
        if (!a.awake && !b.awake) continue;
        if (overlap(tree.nodes[a.leaf].box, tree.nodes[b.leaf].box)) {
            update_contact(contact, listener);
        } else {
            destroy_contact(i);
        }
    }
}

void World::update_contact(Contact& contact, ContactListener& listener) {
    Body &a = bodies[contact.body_a], &b = bodies[contact.body_b];
    const Manifold old = contact.manifold;
    if (overlap(a.box, b.box)) {
        Manifold& m = contact.manifold;
        collide(m, model().bodies[contact.body_a].box, a.transform(), model().bodies[contact.body_b].box,
                b.transform());
        // Warm starting: a point that was there in the last frame keeps its impulses.
        for (int i = 0; i < m.point_count; ++i) {
            for (int j = 0; j < old.point_count; ++j) {
                if (old.points[j].key != m.points[i].key) continue;
                m.points[i].normal_impulse = old.points[j].normal_impulse;
                m.points[i].tangent_impulse = old.points[j].tangent_impulse;
                break;
            }
        }
    } else {
        contact.manifold.point_count = 0;
    }
    const bool touching = contact.manifold.point_count > 0, was_touching = contact.touching;
    if (touching != was_touching) {
        a.wake();
        b.wake();
    }
    contact.touching = touching;
    if (touching && !was_touching)
        listener.begin_contact(contact, world_manifold(contact.manifold, a.transform(), b.transform()));
}

// What is in an island already.
struct World::Taken {
    bool bodies[BODY_COUNT] = {}, joints[JOINT_COUNT] = {}, contacts[CONTACT_SLOTS] = {};
};

// Bodies that touch or are joined move together: an awake body seeds an island that grows depth first over touching
// contacts, then joints. Static bodies join islands but do not spread them.
void World::grow_island(Island& island, int seed, const uint8_t* touching, int touching_contacts, Taken& taken) {
    const Model& m = model();
    uint8_t stack[BODY_COUNT];
    int stack_size = 0;
    const auto push = [&](int body) {
        if (taken.bodies[body]) return;
        taken.bodies[body] = true;
        stack[stack_size++] = static_cast<uint8_t>(body);
    };
    push(seed);
    while (stack_size > 0) {
        const int id = stack[--stack_size];
        island.bodies[island.body_count++] = static_cast<uint8_t>(id);
        if (!bodies[id].awake) bodies[id].wake();
        if (!BODIES[id].dynamic) continue;
        for (int i = 0; i < touching_contacts; ++i) {
            const int slot = touching[i];
            const Contact& contact = contacts[slot];
            if (taken.contacts[slot] || (contact.body_a != id && contact.body_b != id)) continue;
            taken.contacts[slot] = true;
            island.contacts[island.contact_count++] = static_cast<uint8_t>(slot);
            push(contact.body_a == id ? contact.body_b : contact.body_a);
        }
        for (int i = 0; i < m.joint_counts[id]; ++i) {
            const int joint = m.joint_lists[id][i];
            if (taken.joints[joint]) continue;
            taken.joints[joint] = true;
            island.joints[island.joint_count++] = static_cast<uint8_t>(joint);
            push(JOINTS[joint].body_a == id ? JOINTS[joint].body_b : JOINTS[joint].body_a);
        }
    }
}

// The newest awake body that is in no island yet seeds the next one.
void World::solve_islands(int first_seed, int last_seed) {
    uint8_t touching[CONTACT_SLOTS];
    int touching_contacts = 0;
    for (int i = contact_count - 1; i >= 0; --i)
        if (contacts[contact_order[i]].touching) touching[touching_contacts++] = contact_order[i];

    const double dt_ratio = inv_dt0 * TIME_STEP;
    Taken taken;
    for (int seed = first_seed; seed >= last_seed; --seed) {
        if (taken.bodies[seed] || !bodies[seed].awake || !BODIES[seed].dynamic) continue;
        Island island;
        grow_island(island, seed, touching, touching_contacts, taken);
        island.solve(*this, dt_ratio);
        for (int i = 0; i < island.body_count; ++i)
            if (!BODIES[island.bodies[i]].dynamic) taken.bodies[island.bodies[i]] = false;
    }
}

Island World::runners_island(unsigned parts) {
    uint8_t touching[CONTACT_SLOTS];
    int touching_contacts = 0;
    for (int i = contact_count - 1; i >= 0; --i) {
        const Contact& contact = contacts[contact_order[i]];
        const int mover = contact.body_a > contact.body_b ? contact.body_a : contact.body_b;
        if (contact.touching && (mover < FIRST_PART || parts >> (mover - FIRST_PART) & 1))
            touching[touching_contacts++] = contact_order[i];
    }
    Taken taken;
    Island island;
    grow_island(island, BODY_COUNT - 1, touching, touching_contacts, taken);
    return island;
}

void World::step(ContactListener& listener) {
    if (new_fixture) {
        find_new_contacts();
        new_fixture = false;
    }
    update_contacts(listener);
    finish_step();
}

void World::finish_step() {
    solve_islands(BODY_COUNT - 1, 0);
    for (int id = BODY_COUNT - 1; id >= 0; --id) {
        Body& body = bodies[id];
        if (!body.awake || !BODIES[id].dynamic) continue;
        move_leaf(id, {body.previous_position, body.previous_rotation}, body.transform());
    }
    find_new_contacts();
    inv_dt0 = INV_TIME_STEP;
}

// The rules ignore the hurdle.
struct NoListener : ContactListener {
    void begin_contact(const Contact&, const WorldManifold&) override {}
};

static bool is_hurdle(int body) { return body == HURDLE_BASE || body == HURDLE_TOP; }

void World::update_contact(Contact& contact) {
    NoListener listener;
    update_contact(contact, listener);
}

unsigned World::step_hurdle(Aabb* fat_boxes) {
    update_hurdle_contacts(fat_boxes);
    solve_islands(HURDLE_TOP, HURDLE_BASE);
    return move_hurdle(fat_boxes);
}

void World::update_hurdle_contacts(const Aabb* fat_boxes) {
    for (int i = contact_count - 1; i >= 0; --i) {
        Contact& contact = contacts[contact_order[i]];
        const bool hurdle_is_a = is_hurdle(contact.body_a);
        const int hurdle = hurdle_is_a ? contact.body_a : contact.body_b,
                  floor = hurdle_is_a ? contact.body_b : contact.body_a;
        if (!is_hurdle(hurdle) || floor >= FIRST_PART) continue;  // contacts of parts are the caller's
        if (!bodies[hurdle].awake && !bodies[floor].awake) continue;
        if (overlap(fat_boxes[hurdle == HURDLE_BASE], tree.nodes[bodies[floor].leaf].box)) {
            update_contact(contact);
        } else {
            destroy_contact(i);
        }
    }
}

unsigned World::move_hurdle(Aabb* fat_boxes) {
    unsigned moved_leaves = 0;
    for (int i = 0; i < 2; ++i) {
        const int id = i ? HURDLE_BASE : HURDLE_TOP;
        Body& body = bodies[id];
        if (!body.awake) continue;
        const Box& shape = model().bodies[id].box;
        body.box = combine(tight_box(shape, {body.previous_position, body.previous_rotation}),
                           tight_box(shape, body.transform()));
        if (contains(fat_boxes[i], body.box)) continue;
        fat_boxes[i] = fattened(body.box, body.position - body.previous_position);
        moved_leaves |= 1u << i;
    }
    return moved_leaves;
}

int World::touching_count() const {
    int count = 0;
    for (int i = 0; i < contact_count; ++i) count += contacts[contact_order[i]].touching;
    return count;
}

}  // namespace qwop
