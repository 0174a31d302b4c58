#include "simulator.hpp"

#include <new>

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
    Scalar(Trig trig, int num_envs, bool stop_at_end)
        : games_(new Game[num_envs]), num_envs_(num_envs), stop_at_end_(stop_at_end) {
        for (int i = 0; i < num_envs; ++i) games_[i] = Game::canonical(trig);
    }
    ~Scalar() override { delete[] games_; }

    int num_envs() const override { return num_envs_; }
    const Game& game(int env) override { return games_[env]; }
    void set_game(int env, const Game& game) override { games_[env] = game; }
    int block_size() const override { return 1; }
    void step(int block, const uint8_t* keys, int frames, int) override {
        for (int frame = 0; frame < frames && !(stop_at_end_ && games_[block].ended); ++frame)
            games_[block].update(keys[block]);
    }
    void observe(int env, Outputs out) const override { observe_game(games_[env], out); }

  private:
    Game* games_;
    int num_envs_;
    bool stop_at_end_;
};

}  // namespace

Simulator* make_scalar(Trig trig, int num_envs, bool stop_at_end) {
    return new Scalar(trig, num_envs, stop_at_end);
}

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

void surface_order(const Tree& tree, uint8_t* surfaces) {
    const double far = 1e300;
    tree.query({{-far, -far}, {far, far}}, [&](NodeId leaf) {
        const uint8_t body = tree.nodes[leaf].body;
        if (body <= BLOCK) *surfaces++ = body;
        if (body == HURDLE_TOP) *surfaces++ = 4;
    });
}

static bool is_hurdle(int body) { return body == HURDLE_BASE || body == HURDLE_TOP; }

// Of a contact's two bodies the one created later: a part, or of the hurdle and the track the hurdle.
struct Ends {
    int mover, other;
};
static Ends ends_of(const Contact& contact) {
    if (contact.body_a > contact.body_b) return {contact.body_a, contact.body_b};
    return {contact.body_b, contact.body_a};
}

// The hurdle moves, or has contacts that may, or a floor fell asleep under it: it wants a step of its own.
bool hurdle_is_busy(const World& world) {
    for (int id : {HURDLE_BASE, HURDLE_TOP})
        if (world.bodies[id].awake) return true;
    for (int id : {FLOOR_0, FLOOR_1, FLOOR_2})
        if (!world.bodies[id].awake) return true;
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        const Ends ends = ends_of(contact);
        if (is_hurdle(ends.mover)) return true;
    }
    return false;
}

// Then a contact of the runner can wake the floor in the middle of a pass over the contacts, and with it
// those of a sleeping hurdle.
bool touches_sleeping_floor(const World& world) {
    for (int i = 0; i < world.contact_count; ++i) {
        const Ends ends = ends_of(world.contacts[world.contact_order[i]]);
        if (ends.mover >= FIRST_PART && ends.other < FLOOR_COUNT && !world.bodies[ends.other].awake) return true;
    }
    return false;
}

// The hurdle moves, and nothing is near enough to have a contact with it.
bool hurdle_falls(const World& world) {
    for (int id : {HURDLE_BASE, HURDLE_TOP})
        if (!world.bodies[id].awake || world.bodies[id].sleep_time > SLEEPY) return false;
    for (int id : {FLOOR_0, FLOOR_1, FLOOR_2})
        if (!world.bodies[id].awake) return false;
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        if (is_hurdle(contact.body_a) || is_hurdle(contact.body_b)) return false;
    }
    return true;
}

unsigned step_hurdle(World& world, Aabb* fat_boxes) { return world.step_hurdle(fat_boxes); }
void find_pairs(World& world, int id) { world.find_pairs(id); }
void move_floors(Game& game) { game.move_floors(); }
void update_game(Game& game, uint8_t keys) { game.update(keys); }

// A plain running game: the runner awake and not about to sleep, in reach of floors only, which are in place.
bool fits_vectors(Game& game) {
    World& world = game.world;
    if (game.fallen || game.jump_landed || game.ended || game.paused || world.move_count || world.new_fixture ||
        world.inv_dt0 != INV_TIME_STEP || first_floor_x(game.camera_x) != world.bodies[FLOOR_0].position.x)
        return false;
    double rest = 1e300;
    for (int id = FIRST_PART; id < BODY_COUNT; ++id) {
        if (!world.bodies[id].awake) return false;
        rest = min(rest, world.bodies[id].sleep_time);
    }
    if (rest > SLEEPY) return false;
    for (int i = 0; i < world.contact_count; ++i) {
        const Contact& contact = world.contacts[world.contact_order[i]];
        const Ends ends = ends_of(contact);
        if (ends.mover < FIRST_PART || ends.other < FLOOR_COUNT) continue;
        if (contact.touching) return false;
        Body &part = world.bodies[ends.mover], &other = world.bodies[ends.other];
        if (overlap(part.box, other.box) && would_touch(world, ends.mover, part.transform(), ends.other)) return false;
    }
    return !touches_sleeping_floor(world);
}

void forget_contact(World& world, int part, int surface) {
    const int slot = contact_slot(part, surface);
    world.contacts[slot].manifold.point_count = 0;  // nobody is to be woken
    for (int i = 0; i < world.contact_count; ++i)
        if (world.contact_order[i] == slot) world.destroy_contact(i);
}

void meet(World& world, int part, int surface) {
    const bool surface_first = world.bodies[surface].leaf < world.bodies[part].leaf;
    world.add_pair(surface_first ? surface : part, surface_first ? part : surface);
}

// Whether the next step would find them touching, their boxes overlapping as they do.
bool would_touch(World& world, int part, const Transform& part_xf, int surface) {
    const Box &part_shape = model().bodies[part].box, &shape = model().bodies[surface].box;
    const Transform xf = world.bodies[surface].transform();
    Manifold manifold;
    if (world.bodies[surface].leaf < world.bodies[part].leaf) {
        collide(manifold, shape, xf, part_shape, part_xf);
    } else {
        collide(manifold, part_shape, part_xf, shape, xf);
    }
    return manifold.point_count > 0;
}

void judge_manifold(Game& game, const Contact& contact, const Manifold& manifold, const Transform& xf_a,
                    const Transform& xf_b) {
    game.judge_contact(contact, world_manifold(manifold, xf_a, xf_b));
}

}  // namespace qwop
