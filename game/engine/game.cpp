#include "game.hpp"

namespace qwop {

struct RulesListener : ContactListener {
    Game& game;

    explicit RulesListener(Game& g) : game(g) {}
    void begin_contact(const Contact& contact, const WorldManifold& manifold) override {
        game.begin_contact(contact, manifold);
    }
};

const Game& Game::page(Trig trig) {
    struct Pages {
        Game games[TRIG_COUNT];

        Pages() : games{} {
            for (int i = 0; i < TRIG_COUNT; ++i) games[i].open(static_cast<Trig>(i));
        }
    };
    static const Pages pages;
    return pages.games[static_cast<int>(trig)];
}

const Game& Game::canonical(Trig trig) {
    struct Starts {
        Game games[TRIG_COUNT];

        Starts() : games{} {
            for (int i = 0; i < TRIG_COUNT; ++i) {
                Game& game = games[i];
                game.open(static_cast<Trig>(i));
                for (int frame = 0; frame < 4; ++frame) {
                    if (frame == 2) game.reset();
                    game.update(0);
                }
            }
        }
    };
    static const Starts starts;
    return starts.games[static_cast<int>(trig)];
}

void Game::open(Trig trig) {
    world.trig = trig;
    create_track();
    create_player();
}

void Game::create_track() {
    for (int id : {FLOOR_0, FLOOR_1, FLOOR_2, BLOCK}) world.create_body(id);
}

void Game::create_player() {
    for (int id = HURDLE_BASE; id < BODY_COUNT; ++id) world.create_body(id);
    for (int id = 0; id < JOINT_COUNT; ++id) world.create_joint(id);
}

void Game::reset() {
    for (int id : {HURDLE_BASE, HURDLE_TOP, TORSO, HEAD, LEFT_ARM, LEFT_FOREARM, LEFT_THIGH, LEFT_CALF, LEFT_FOOT,
                   RIGHT_ARM, RIGHT_FOREARM, RIGHT_THIGH, RIGHT_CALF, RIGHT_FOOT})
        world.destroy_body(id);
    camera_x = CAMERA_OFFSET * PIXELS_PER_UNIT;
    score_time = 0;
    create_player();
    fallen = jumped = jump_landed = ended = paused = false;
}

void Game::update(uint8_t keys) {
    if (!paused && !ended) score_time += FRAME_SECONDS;
    move_floors();
    Body& head = world.bodies[HEAD];
    if (!fallen) {
        if (!head.awake) head.wake();
        head.torque += HEAD_TORQUE * (head.angle + HEAD_TORQUE_ANGLE);
    }
    hold_keys(keys);
    RulesListener listener(*this);
    if (!paused) world.step(listener);
    end_frame();
}

void Game::finish_update(uint8_t keys) {
    hold_keys(keys);
    world.finish_step();
    end_frame();
}

void Game::wait() {
    paused = true;
    update(0);
    paused = false;
}

void Game::end_frame() {
    move_camera_and_score();
    if (jump_landed && !ended) {
        paused = true;
        end_game();
    } else if (!jump_landed && !ended && fallen) {
        end_game();
    }
}

// Keeps three floor segments, each a screen wide, under the camera. Parts above a moved floor get new contacts.
void Game::move_floors() {
    for (int i = 0; i < FLOOR_COUNT; ++i) {
        const double x = (std::floor(camera_x / SCREEN_WIDTH) + i) * SCREEN_WIDTH / PIXELS_PER_UNIT;
        const Body& floor = world.bodies[FLOOR_0 + i];
        if (x != floor.position.x) world.set_pose(FLOOR_0 + i, {x, floor.position.y}, floor.angle);
    }
}

// The game also sets the speeds of the elbows, but never enables their motors.
void Game::hold_keys(uint8_t keys) {
    Joint* joints = world.joints;
    const double thighs = keys & KEY_Q ? 1 : keys & KEY_W ? -1 : 0;
    joints[RIGHT_HIP].motor_speed = thighs * HIP_SPEED;
    joints[LEFT_HIP].motor_speed = -thighs * HIP_SPEED;
    joints[RIGHT_SHOULDER].motor_speed = -thighs * SHOULDER_SPEED;
    joints[LEFT_SHOULDER].motor_speed = thighs * SHOULDER_SPEED;

    const double calves = keys & KEY_O ? 1 : keys & KEY_P ? -1 : 0;
    joints[RIGHT_KNEE].motor_speed = calves * KNEE_SPEED;
    joints[LEFT_KNEE].motor_speed = -calves * KNEE_SPEED;
    if (calves != 0) {
        const HipLimits& limits = keys & KEY_O ? HIP_LIMITS_O : HIP_LIMITS_P;
        joints[LEFT_HIP].lower_angle = limits.left_lower;
        joints[LEFT_HIP].upper_angle = limits.left_upper;
        joints[RIGHT_HIP].lower_angle = limits.right_lower;
        joints[RIGHT_HIP].upper_angle = limits.right_upper;
    }
}

void Game::move_camera_and_score() {
    const Vec2 torso = world.bodies[TORSO].position;
    if (!(torso.y < CAMERA_FREEZE_Y) && !fallen)
        camera_x = clamp((torso.x + CAMERA_OFFSET) * PIXELS_PER_UNIT, CAMERA_MIN, CAMERA_MAX);
    if (!jump_landed) score = round_half_up(torso.x) / 10;
}

void Game::end_game() {
    ended = true;
    for (int id : {RIGHT_HIP, LEFT_HIP, RIGHT_KNEE, LEFT_KNEE, RIGHT_SHOULDER, LEFT_SHOULDER})
        world.joints[id].motor_enabled = false;
    for (int id : {RIGHT_KNEE, LEFT_KNEE, RIGHT_SHOULDER, LEFT_SHOULDER}) world.joints[id].limit_enabled = false;
}

void Game::begin_contact(const Contact& contact, const WorldManifold& manifold) {
    if (contact.body_a > FLOOR_2 || fallen) return;  // "track": a floor as the contact's A
    // The larger x of the manifold's two points; if there is only one, the second is (0, 0).
    double x = max(-1e5, manifold.points[0].x);
    x = max(x, manifold.points[1].x);
    switch (contact.body_b) {
        case LEFT_FOOT:  // not the right foot: the game compares body A with it, and A is the floor
            if (!jumped && x * PIXELS_PER_UNIT > TAKE_OFF) jumped = true;
            if (jumped && !jump_landed) {
                if (x * PIXELS_PER_UNIT > SANDPIT) jump_landed = true;
                score = round_half_up(x) / 10;
            }
            break;
        case HEAD:
        case LEFT_ARM:
        case RIGHT_ARM:
        case LEFT_FOREARM:
        case RIGHT_FOREARM:
            fallen = true;
            if (jumped && !jump_landed) jump_landed = true;
            score = round_half_up(x) / 10;
            break;
        default: break;
    }
}

void Game::write_state(double* columns) const {
    for (BodyId id : STATE_ORDER) {
        const Body& b = world.bodies[id];
        for (double value : {b.position.x, b.position.y, b.angle, b.velocity.x, b.velocity.y, b.angular_velocity})
            *columns++ = value;
    }
    for (double value : {score_time, score, double(fallen), double(jumped), double(jump_landed), double(ended),
                         double(paused), double(world.touching_count())})
        *columns++ = value;
}

void Game::write_observation(float* columns) const {
    for (int i = 0; i < PART_COUNT; ++i) {
        const Body& b = world.bodies[STATE_ORDER[i]];
        for (double value : {b.position.x, b.position.y, b.angle, b.velocity.x, b.velocity.y})
            *columns++ = static_cast<float>(value);
    }
}

uint8_t Game::flags() const {
    return static_cast<uint8_t>(FALLEN * fallen | JUMPED * jumped | JUMP_LANDED * jump_landed | GAME_ENDED * ended |
                                PAUSED * paused);
}

void Game::teleport(Vec2 offset, Vec2 velocity) {
    for (int id = FIRST_PART; id < BODY_COUNT; ++id) {
        Body& body = world.bodies[id];
        body.wake();
        body.velocity = body.velocity + velocity;
        world.set_pose(id, body.position + offset, body.angle);
    }
}

}  // namespace qwop
