// The bridge between the lane engines and the scalar engine.
//
// The lane engines are compiled once for each instruction set. If such a file kept its own copy of an inline function
// that is not a template over its vector type, the linker could choose that copy for the whole program, and it would
// crash on another CPU. So the lane engines read the scalar engine's data, call its out-of-line functions, and reach
// its inline functions only through this file, which is compiled for the plainest CPU.
// tests/game/test_engine.py checks the objects.
#pragma once
#include <cstddef>

#include "simulator.hpp"

namespace qwop {

// What a runner's part can touch: floors 0, 1 and 2, and these. contact_slot uses the same numbers.
enum Surface : uint8_t { SURFACE_BLOCK = 3, SURFACE_HURDLE_TOP = 4, SURFACE_COUNT = 5 };

// s at rest of every part from which the scalar engine steps a game: bodies fall asleep at TIME_TO_SLEEP.
constexpr double MAX_REST_IN_LANES = 0.3;

namespace bridge {

// Memory.
void* allocate_aligned(size_t size);
void free_aligned(void* memory);

// Which engine steps a game, or its hurdle.
bool fits_lanes(Game& game);                         // a plain running game: the lanes can step it
bool wakes_floor(World& world);                      // they cannot: a part touches a floor that sleeps, or will
bool would_touch(World& world, int part, const Transform& part_xf, int surface_body);  // in the next step
bool hurdle_is_active(const World& world);           // the hurdle has to be stepped
bool hurdle_can_couple(const World& world);          // it and the floors are awake: a part in the lanes can touch it
bool hurdle_fits_lanes(const World& world);          // it moves and touches floors at most: vectors can step it

// Bodies, the tree, contacts.
Transform transform_of(Body& body);
Aabb tight_box_of(int body, const Transform& xf);
void surface_order(const Tree& tree, uint8_t* surfaces);  // SURFACE_COUNT of them, as a query visits them
void add_contact(World& world, int part, int surface_body);
void remove_contact(World& world, int part, int surface_body);  // wakes no body
void end_contact(World& world, int part, int surface_body);     // wakes both if they touched
bool update_contact(World& world, int part, int surface_body);  // whether they touch
bool has_contact(const World& world, int part, int surface_body);

// Rules.
double rounded_score(double torso_x);   // m
double first_floor_x(double camera_x);  // units, from px

}  // namespace bridge
}  // namespace qwop
