#include "scalar_bridge.hpp"

#include <new>

namespace qwop {
namespace bridge {

constexpr auto ALIGNMENT = std::align_val_t{64};
void* allocate_aligned(size_t size) { return ::operator new(size, ALIGNMENT); }
void free_aligned(void* memory) { ::operator delete(memory, ALIGNMENT); }

// --- Which engine steps a game, or its hurdle ------------------------------------------------------------

static bool is_hurdle(int body) { return body == HURDLE_BASE || body == HURDLE_TOP; }

// The two bodies of a contact. The mover is the one created later: a part, or a hurdle body.
struct ContactBodies {
    int mover, other;
};
static ContactBodies bodies_of(const Contact& contact) {
    if (contact.body_a > contact.body_b) return {contact.body_a, contact.body_b};
    return {contact.body_b, contact.body_a};
}

// Whether the tree has the canonical start's leaves and free nodes. The reset of a page that was played before can give
// the bodies other nodes. Then contacts can have their bodies the other way round, and the lanes' numbers of the nodes
// do not hold.
static bool has_canonical_nodes(const World& world) {
    const World& canonical = Game::canonical(Trig::rounded).world;
    for (int id = 0; id < BODY_COUNT; ++id)
        if (world.bodies[id].leaf != canonical.bodies[id].leaf) return false;
    uint64_t free = 0, canonical_free = 0;
    const TreeNode *nodes = world.tree.nodes, *canonical_nodes = canonical.tree.nodes;
    for (NodeId id = world.tree.free_list; id != NO_NODE; id = nodes[id].parent) free |= uint64_t{1} << id;
    for (NodeId id = canonical.tree.free_list; id != NO_NODE; id = canonical_nodes[id].parent)
        canonical_free |= uint64_t{1} << id;
    return free == canonical_free && world.tree.node_count == canonical.tree.node_count;
}

// The runner is awake and not about to sleep, it touches nothing but floors, and the floors are in place.
bool fits_lanes(Game& game) {
    World& world = game.world;
    if (game.fallen || game.jump_landed || game.ended || game.paused || world.move_count || world.new_fixture ||
        world.inv_dt0 != INV_TIME_STEP || first_floor_x(game.camera_x) != world.bodies[FLOOR_0].position.x)
        return false;
    double rest = 1e300;
    for (int id = FIRST_PART; id < BODY_COUNT; ++id) {
        if (!world.bodies[id].awake) return false;
        rest = min(rest, world.bodies[id].sleep_time);
    }
    if (rest > MAX_REST_IN_LANES) return false;
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        const auto [mover, other] = bodies_of(contact);
        if (mover < FIRST_PART || other < FLOOR_COUNT) continue;
        if (other == HURDLE_TOP && hurdle_can_couple(world)) continue;
        if (contact.touching) return false;
        Body &part = world.bodies[mover], &surface = world.bodies[other];
        if (overlap(part.box, surface.box) && would_touch(world, mover, part.transform(), other)) return false;
    }
    return !wakes_floor(world) && has_canonical_nodes(world);
}

// Then the floor wakes in the middle of a pass over the contacts, and with it the contacts of a sleeping hurdle.
bool wakes_floor(World& world) {
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        const auto [mover, other] = bodies_of(contact);
        if (mover < FIRST_PART || other >= FLOOR_COUNT || world.bodies[other].awake) continue;
        if (contact.touching) return true;
        Body& part = world.bodies[mover];
        if (overlap(part.box, world.bodies[other].box) && would_touch(world, mover, part.transform(), other))
            return true;
    }
    return false;
}

// Assumes that the boxes overlap.
bool would_touch(World& world, int part, const Transform& part_xf, int surface_body) {
    const Box &part_shape = model().bodies[part].box, &shape = model().bodies[surface_body].box;
    const Transform xf = world.bodies[surface_body].transform();
    Manifold manifold;
    if (world.bodies[surface_body].leaf < world.bodies[part].leaf) {
        collide(manifold, shape, xf, part_shape, part_xf);
    } else {
        collide(manifold, part_shape, part_xf, shape, xf);
    }
    return manifold.point_count > 0;
}

// The hurdle moves, or has contacts that may make it move, or a floor fell asleep under it.
bool hurdle_is_active(const World& world) {
    for (int id : {HURDLE_BASE, HURDLE_TOP})
        if (world.bodies[id].awake) return true;
    for (int id : {FLOOR_0, FLOOR_1, FLOOR_2})
        if (!world.bodies[id].awake) return true;
    for (int i = 0; i < world.contact_count; ++i)
        if (is_hurdle(bodies_of(world.contacts[world.contact_order[i]]).mover)) return true;
    return false;
}

bool hurdle_can_couple(const World& world) {
    for (int id : {HURDLE_BASE, HURDLE_TOP, FLOOR_0, FLOOR_1, FLOOR_2})
        if (!world.bodies[id].awake) return false;
    return true;
}

bool hurdle_fits_lanes(const World& world) {
    for (int id : {HURDLE_BASE, HURDLE_TOP})
        if (!world.bodies[id].awake || world.bodies[id].sleep_time > MAX_REST_IN_LANES) return false;
    for (int id : {FLOOR_0, FLOOR_1, FLOOR_2})
        if (!world.bodies[id].awake) return false;
    if (world.joints[HURDLE_JOINT].limit_state != LimitState::equal) return false;
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        const auto [mover, other] = bodies_of(contact);
        if ((is_hurdle(other) && contact.touching) || (is_hurdle(mover) && other >= FLOOR_COUNT)) return false;
    }
    return true;
}

// --- Bodies, the tree, contacts --------------------------------------------------------------------------

Transform transform_of(Body& body) { return body.transform(); }
Aabb tight_box_of(int body, const Transform& xf) { return tight_box(model().bodies[body].box, xf); }

void surface_order(const Tree& tree, uint8_t* surfaces) {
    const double far = 1e300;
    tree.query({{-far, -far}, {far, far}}, [&](NodeId leaf) {
        const uint8_t body = tree.nodes[leaf].body;
        if (body <= BLOCK) *surfaces++ = body;
        if (body == HURDLE_TOP) *surfaces++ = SURFACE_HURDLE_TOP;
    });
}

void add_contact(World& world, int part, int surface_body) {
    const bool surface_first = world.bodies[surface_body].leaf < world.bodies[part].leaf;
    world.add_pair(surface_first ? surface_body : part, surface_first ? part : surface_body);
}

void remove_contact(World& world, int part, int surface_body) {
    world.contacts[contact_slot(part, surface_body)].manifold.point_count = 0;  // so that it wakes no body
    end_contact(world, part, surface_body);
}

void end_contact(World& world, int part, int surface_body) {
    const int slot = contact_slot(part, surface_body);
    for (int i = 0; i < world.contact_count; ++i)
        if (world.contact_order[i] == slot) world.destroy_contact(i);
}

bool update_contact(World& world, int part, int surface_body) {
    Contact& contact = world.contacts[contact_slot(part, surface_body)];
    world.update_contact(contact);
    return contact.touching;
}

bool has_contact(const World& world, int part, int surface_body) {
    return world.contacts[contact_slot(part, surface_body)].exists;
}

// --- Rules -----------------------------------------------------------------------------------------------

double rounded_score(double torso_x) { return round_half_up(torso_x) / 10; }
double first_floor_x(double camera_x) { return std::floor(camera_x / SCREEN_WIDTH) * SCREEN_WIDTH / PIXELS_PER_UNIT; }

}  // namespace bridge
}  // namespace qwop
