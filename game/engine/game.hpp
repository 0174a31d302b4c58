// QWOP's rules over the physics: keys, floors, camera, score, fall and jump. Plain data, like World.
#pragma once
#include "world.hpp"

namespace qwop {

struct Game {
    World world;
    double score_time = 0;      // s on the game's clock
    double score = 0;           // m, rounded to 0.1
    double camera_x = CAMERA_AT_LOAD;  // px
    bool fallen = false, jumped = false, jump_landed = false, ended = false, paused = false;

    // The state in which an episode begins: page load (2 frames), then the game's own reset (2 frames).
    static const Game& canonical(Trig trig);
    // A page that has just been loaded: no frame has been played.
    static const Game& page(Trig trig);

    // One frame with `keys` held (KEY_* bits): clock, floors, head, keys; physics; camera, score, end.
    void update(uint8_t keys);
    // One frame before the first click into the page: as `update`, without clock and physics.
    void wait();
    // The game's own reset: keeps the track, destroys everything else and creates it again.
    void reset();
    void begin_contact(const Contact& contact, const WorldManifold& manifold);  // that starts to touch
    void move_floors();
    void finish_update(uint8_t keys);  // the part of `update` after that of the contacts
    void end_frame();

    void write_state(double* columns) const;        // STATE_COLUMNS
    void write_observation(float* columns) const;   // OBSERVATION_SIZE
    uint8_t flags() const;
    double distance() const { return world.bodies[TORSO].position.x / 10; }  // m
    void teleport(Vec2 offset, Vec2 velocity);

  private:
    void open(Trig trig);
    void create_track();
    void create_player();
    void hold_keys(uint8_t keys);
    void move_camera_and_score();
    void end_game();
};

}  // namespace qwop
