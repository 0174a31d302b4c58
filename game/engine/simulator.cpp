#include "simulator.hpp"

#include <new>

#include "island.hpp"

namespace qwop {

Simulator::~Simulator() = default;

void observe_game(const Game& game, Outputs out) {
    game.write_observation(out.observation);
    *out.time = game.score_time;
    *out.distance = game.distance();
    *out.flags = game.flags();
}

namespace {

// The reference engine: one game after another, in plain doubles.
class Scalar final : public Simulator {
  public:
    Scalar(int num_envs, bool stop_at_end) : games_(new Game[num_envs]), num_envs_(num_envs), stop_at_end_(stop_at_end) {
        for (int i = 0; i < num_envs; ++i) games_[i] = Game::canonical();
    }
    ~Scalar() override { delete[] games_; }

    int num_envs() const override { return num_envs_; }
    const Game& game(int env) override { return games_[env]; }
    void set_game(int env, const Game& game) override { games_[env] = game; }
    void step(const uint8_t* keys, int frames) override {
        for (int i = 0; i < num_envs_; ++i)
            for (int frame = 0; frame < frames && !(stop_at_end_ && games_[i].ended); ++frame) games_[i].update(keys[i]);
    }
    void observe(int env, Outputs out) const override { observe_game(games_[env], out); }

  private:
    Game* games_;
    int num_envs_;
    bool stop_at_end_;
};

}  // namespace

Simulator* make_scalar(int num_envs, bool stop_at_end) { return new Scalar(num_envs, stop_at_end); }

// --- For the lane engines --------------------------------------------------------------------------------

constexpr auto ALIGNMENT = std::align_val_t{64};
void* allocate_aligned(size_t size) { return ::operator new(size, ALIGNMENT); }
void free_aligned(void* memory) { ::operator delete(memory, ALIGNMENT); }

uint8_t flags_of(const Game& game) { return game.flags(); }
Transform transform_of(Body& body) { return body.transform(); }
Aabb current_box(int id, const Transform& xf) { return tight_box(model().bodies[id].box, xf); }
bool has_ended(const Game& game) { return game.ended; }
bool is_over(const Game& game) { return game.fallen || game.jump_landed; }
void finish_game(Game& game) { game.end_frame(); }
double rounded_score(double torso_x) { return round_half_up(torso_x) / 10; }
double first_floor_x(double camera_x) { return std::floor(camera_x / SCREEN_WIDTH) * SCREEN_WIDTH / PIXELS_PER_UNIT; }

static bool is_hurdle(int body) { return body == HURDLE_BASE || body == HURDLE_TOP; }

bool has_hurdle_contacts(const World& world) {
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        if (is_hurdle(contact.body_a) || is_hurdle(contact.body_b)) return true;
    }
    return false;
}

void surface_order(const Tree& tree, uint8_t* surfaces) {
    const double far = 1e300;
    tree.query({{-far, -far}, {far, far}}, [&](NodeId leaf) {
        const uint8_t body = tree.nodes[leaf].body;
        if (body <= BLOCK) *surfaces++ = body;
        if (body == HURDLE_TOP) *surfaces++ = 4;
    });
}

// A runner that knocks the hurdle over leaves it without floor: it falls for the rest of the run, awake, and
// out of everybody's reach.
constexpr double AWAY_BELOW = 40;  // y in units

bool hurdle_is_away(const World& world) {
    const auto below = [&](int id) {
        return world.bodies[id].awake && world.tree.nodes[world.bodies[id].leaf].box.lower.y > AWAY_BELOW;
    };
    return below(HURDLE_TOP) && below(HURDLE_BASE) && world.bodies[TORSO].position.y < RUNNER_ABOVE && !has_hurdle_contacts(world);
}

// A frame of the hurdle alone, while it is away. fat_boxes: of its top and base; returns bit 0 / 1 where the
// top's / the base's leaf is to be put in again with a new one.
unsigned step_hurdle(World& world, Aabb* fat_boxes) {
    Island island;
    island.bodies[island.body_count++] = HURDLE_TOP;
    island.bodies[island.body_count++] = HURDLE_BASE;
    island.joints[island.joint_count++] = HURDLE_JOINT;
    island.solve(world, 1);
    unsigned moved = 0;
    for (int i = 0; i < 2; ++i) {
        Body& body = world.bodies[island.bodies[i]];
        const Box& shape = model().bodies[island.bodies[i]].box;
        body.box = combine(tight_box(shape, {body.previous_position, body.previous_rotation}), tight_box(shape, body.transform()));
        if (contains(fat_boxes[i], body.box)) continue;
        fat_boxes[i] = fattened(body.box, body.position - body.previous_position);
        moved |= 1u << i;
    }
    return moved;
}

void move_floors(Game& game) { game.move_floors(); }

// A plain running game: the runner awake and not about to sleep, touching at most floors, which are in place;
// the hurdle asleep with its contacts at rest, or away.
bool fits_vectors(Game& game, bool hurdle_settled) {
    const World& world = game.world;
    const bool asleep = !world.bodies[HURDLE_BASE].awake && !world.bodies[HURDLE_TOP].awake;
    if (!(asleep ? hurdle_settled : hurdle_is_away(world))) return false;
    if (game.fallen || game.jump_landed || game.ended || game.paused || world.move_count ||
        world.new_fixture || world.inv_dt0 != INV_TIME_STEP || first_floor_x(game.camera_x) != world.bodies[FLOOR_0].position.x)
        return false;
    double rest = 1e300;
    for (int id = FIRST_PART; id < BODY_COUNT; ++id) {
        if (!world.bodies[id].awake) return false;
        rest = min(rest, world.bodies[id].sleep_time);
    }
    for (int id = FLOOR_0; id <= FLOOR_2; ++id)
        if (!world.bodies[id].awake) return false;
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        const int mover = contact.body_a > contact.body_b ? contact.body_a : contact.body_b;
        const int other = contact.body_a > contact.body_b ? contact.body_b : contact.body_a;
        if (mover >= FIRST_PART && other >= FLOOR_COUNT) return false;
    }
    return rest <= SLEEPY;
}

static bool same_points(const Manifold& a, const Manifold& b) {
    if (a.point_count != b.point_count) return false;
    for (int i = 0; i < a.point_count; ++i) {
        const ManifoldPoint &p = a.points[i], &q = b.points[i];
        if (p.local_point.x != q.local_point.x || p.local_point.y != q.local_point.y || p.key != q.key ||
            p.normal_impulse != q.normal_impulse || p.tangent_impulse != q.tangent_impulse)
            return false;
    }
    return true;
}

// One frame. True when the hurdle slept through it and none of its contacts changed: then none will until a
// floor moves or something reaches it. (Asleep alone does not mean at rest: a body falls asleep with its box
// a frame behind its pose.)
bool update_watching_hurdle(Game& game, uint8_t keys) {
    constexpr int first = PART_COUNT * 5, count = 2 * 4;
    World& world = game.world;
    const auto asleep = [&] { return !world.bodies[HURDLE_BASE].awake && !world.bodies[HURDLE_TOP].awake; };
    bool at_rest = asleep();
    for (int id = FLOOR_0; id <= FLOOR_2; ++id) at_rest &= world.bodies[id].awake;
    Contact before[count];
    for (int i = 0; i < count; ++i) before[i] = world.contacts[first + i];
    game.update(keys);
    at_rest &= asleep();
    for (int i = 0; i < count && at_rest; ++i) {
        const Contact& after = world.contacts[first + i];
        at_rest = before[i].exists == after.exists &&
                  (!after.exists || (before[i].touching == after.touching && same_points(before[i].manifold, after.manifold)));
    }
    return at_rest;
}

void forget_contact(World& world, int part, int floor) {
    const int slot = contact_slot(part, floor);
    world.contacts[slot].manifold.point_count = 0;  // nobody is to be woken
    for (int i = 0; i < world.contact_count; ++i)
        if (world.contact_order[i] == slot) world.destroy_contact(i);
}

void meet(World& world, int part, int surface) {
    const bool surface_first = world.bodies[surface].leaf < world.bodies[part].leaf;
    world.add_pair(surface_first ? surface : part, surface_first ? part : surface);
}

void judge_manifold(Game& game, const Contact& contact, const Manifold& manifold, const Transform& xf_a, const Transform& xf_b) {
    game.judge_contact(contact, world_manifold(manifold, xf_a, xf_b));
}

}  // namespace qwop
