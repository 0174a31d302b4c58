// Many games stepped together. The engines differ in how, never in a single bit of what.
#pragma once
#include <cstddef>

#include "game.hpp"

namespace qwop {

// Where a game's numbers go: OBSERVATION_SIZE floats, clock (s), distance (m), flags.
struct Outputs {
    float* observation;
    double* time;
    double* distance;
    uint8_t* flags;
};

constexpr int MAX_BLOCK_SIZE = 16;

class Simulator {
  public:
    virtual ~Simulator();
    virtual int num_envs() const = 0;
    virtual const Game& game(int env) = 0;
    virtual void set_game(int env, const Game& game) = 0;
    // Games come in blocks of so many. Different threads may step different blocks, each under its own number.
    virtual int block_size() const = 0;
    virtual void set_workers(int) {}
    // `frames` frames of a block's games with their keys held; keys: of all games. With stop_at_end an ended game
    // stands still.
    virtual void step(int block, const uint8_t* keys, int frames, int worker) = 0;
    virtual void observe(int env, Outputs out) const = 0;
};

// nullptr where this build or this CPU has no such engine.
Simulator* make_scalar(Trig trig, int num_envs, bool stop_at_end);
Simulator* make_sse2(Trig trig, int num_envs, bool stop_at_end);
Simulator* make_neon(Trig trig, int num_envs, bool stop_at_end);
Simulator* make_avx2(Trig trig, int num_envs, bool stop_at_end);
Simulator* make_avx512(Trig trig, int num_envs, bool stop_at_end);

// --- What the lane engines need of the scalar one. Compiled once, for the plainest CPU: files for other
// instruction sets must not hold copies of shared inline functions.
constexpr double SLEEPY = 0.3;  // s at rest from which a game is the scalar engine's: sleep comes at 0.5
void* allocate_aligned(size_t size);
void free_aligned(void* memory);
void observe_game(const Game& game, Outputs out);
uint8_t flags_of(const Game& game);
Transform transform_of(Body& body);
Aabb current_box(int id, const Transform& xf);
void surface_order(const Tree& tree, uint8_t* surfaces);
bool hurdle_is_busy(const World& world);
bool touches_sleeping_floor(const World& world);
bool hurdle_falls(const World& world);
unsigned step_hurdle(World& world, Aabb* fat_boxes);
void find_pairs(World& world, int id);
void move_floors(Game& game);
void update_game(Game& game, uint8_t keys);
bool fits_vectors(Game& game);
bool has_ended(const Game& game);
bool is_over(const Game& game);
void finish_game(Game& game);
void forget_contact(World& world, int part, int surface);
void meet(World& world, int part, int surface);
bool would_touch(World& world, int part, const Transform& part_xf, int surface);
void judge_manifold(Game& game, const Contact& contact, const Manifold& manifold, const Transform& xf_a,
                    const Transform& xf_b);
double rounded_score(double torso_x);
double first_floor_x(double camera_x);

}  // namespace qwop
