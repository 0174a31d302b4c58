// Every measured constant of the game, with its unit. Lengths are world units: 10 units are 1 m on the score board and
// 20 px on the screen. y points down, angles are radians, speeds are per physics second. One frame advances physics by
// TIME_STEP and the game's clock by FRAME_SECONDS. Python has the runner's bodies and joints in body.py, which
// tests/game/test_body.py compares with the tables here.
#pragma once
#include <cstdint>
#include <initializer_list>

namespace qwop {

// --- Physics settings (Box2D 2.1a's own, unless the game changes them) -----------------------------------
constexpr double TIME_STEP = 0.04;                     // physics seconds a frame
constexpr double INV_TIME_STEP = 25.0;                 // 1 / 0.04 is exactly 25
constexpr int VELOCITY_ITERATIONS = 5;
constexpr int POSITION_ITERATIONS = 5;
constexpr double GRAVITY_X = 0.0, GRAVITY_Y = 10.0;    // units / s^2, downwards
constexpr double AABB_EXTENSION = 0.1;                 // margin of a broad-phase box, units
constexpr double AABB_MULTIPLIER = 2.0;                // ... plus this times the frame's displacement
constexpr double LINEAR_SLOP = 0.005;                  // units of overlap that are left alone; a polygon's radius
constexpr double POLYGON_RADIUS = LINEAR_SLOP;
constexpr double ANGULAR_SLOP = 0.03490658503988659;   // 2 degrees
constexpr double MAX_LINEAR_CORRECTION = 0.2;          // units a position iteration may push a contact
constexpr double MAX_ANGULAR_CORRECTION = 0.13962634015954636;  // 8 degrees, likewise for a joint limit
constexpr double MAX_TRANSLATION = 2.0;                // units a body may move in a frame
constexpr double MAX_ROTATION = 1.5707963267948966;    // radians, likewise
constexpr double MAX_TRANSLATION_SQUARED = 4.0;
constexpr double MAX_ROTATION_SQUARED = 2.4674011002723395;
constexpr double LINEAR_SLEEP_TOLERANCE = 0.01;        // units / s below which a body may fall asleep
constexpr double ANGULAR_SLEEP_TOLERANCE = 0.03490658503988659;  // radians / s, likewise
constexpr double TIME_TO_SLEEP = 0.5;                  // physics seconds at rest until sleep
constexpr double MAX_CONDITION_NUMBER = 100.0;         // beyond it the two-point block solver uses one point

// --- The game --------------------------------------------------------------------------------------------
constexpr double FRAME_SECONDS = 0.03333333333333333;  // of the game's clock (scoreTime)
constexpr double PIXELS_PER_UNIT = 20.0;
constexpr double SCREEN_WIDTH = 640.0;                 // px; a floor segment is one screen wide
constexpr double CAMERA_OFFSET = -14.0;                // units from the torso to the left edge of the screen
constexpr double CAMERA_AT_LOAD = -200.0;              // px
constexpr double CAMERA_MIN = -1200.0, CAMERA_MAX = 20933.0;  // px
constexpr double SANDPIT = 20000.0;                    // px; a left foot landing beyond it ends the run
constexpr double TAKE_OFF = SANDPIT - 220.0;           // px; a left foot beyond it is the jump
constexpr double CAMERA_FREEZE_Y = -5.0;               // units; a torso above it stops the camera's x
constexpr double HEAD_TORQUE = -4.0, HEAD_TORQUE_ANGLE = 0.2;  // torque a frame: -4 (angle + 0.2)

// clang-format off
// --- Bodies, in creation order ---------------------------------------------------------------------------
enum BodyId : uint8_t {
    FLOOR_0, FLOOR_1, FLOOR_2, BLOCK, HURDLE_BASE, HURDLE_TOP,
    TORSO, HEAD, LEFT_FOREARM, LEFT_THIGH, LEFT_ARM, LEFT_CALF, LEFT_FOOT,
    RIGHT_FOREARM, RIGHT_ARM, RIGHT_CALF, RIGHT_FOOT, RIGHT_THIGH,
    BODY_COUNT
};
constexpr int FIRST_PART = TORSO, PART_COUNT = BODY_COUNT - TORSO, FLOOR_COUNT = 3;

struct BodyConstants {
    BodyId id;
    uint16_t category, mask;         // two bodies collide if each one's category is in the other's mask
    bool dynamic;                    // static bodies never move by physics
    bool awake;                      // when created
    double half_width, half_height;  // units
    double x, y, angle;              // pose in which the body is created
    double density, friction;
};

constexpr uint16_t TRACK = 1, RUNNER = 2, HURDLE = 4;
constexpr uint16_t ALL = 0xffff, NOT_RUNNER = ALL & ~RUNNER, NOT_HURDLE = ALL & ~HURDLE;
constexpr bool STATIC = false, DYNAMIC = true, ASLEEP = false, AWAKE = true;
constexpr double FLOOR_Y = 10.74275, FLOOR_WIDTH = SCREEN_WIDTH / PIXELS_PER_UNIT;

constexpr BodyConstants BODIES[BODY_COUNT] = {
    {FLOOR_0,       TRACK, ALL, STATIC, AWAKE, 16, 1.6, 0, FLOOR_Y, 0, 30, 0.2},
    {FLOOR_1,       TRACK, ALL, STATIC, AWAKE, 16, 1.6, FLOOR_WIDTH, FLOOR_Y, 0, 30, 0.2},
    {FLOOR_2,       TRACK, ALL, STATIC, AWAKE, 16, 1.6, 2 * FLOOR_WIDTH, FLOOR_Y, 0, 30, 0.2},
    {BLOCK,         TRACK, ALL, STATIC, AWAKE, 6.275, 7.475, -39.996249999999996, 2.10625, 0, 1, 0.2},
    {HURDLE_BASE,   HURDLE, NOT_RUNNER & NOT_HURDLE, DYNAMIC, ASLEEP, 1.675, 0.3, 500, 8.775, 0, 1, 0.2},
    {HURDLE_TOP,    HURDLE, NOT_HURDLE, DYNAMIC, ASLEEP, 0.5375, 3.65, 500.86499999999995, 5.0575, 0, 1, 0.2},
    {TORSO,         RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 3.275, 1.425, 2.5111726226000157, -1.8709517533957938, -1.2514497119301329, 1, 0.2},
    {HEAD,          RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 1.075, 1.325, 3.888130278719558, -5.621802929095265, 0.06448415835225099, 1, 0.2},
    {LEFT_FOREARM,  RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 1.75, 0.55, 5.830008603424893, -2.8733539631159584, -1.2049772618421237, 1, 0.2},
    {LEFT_THIGH,    RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 2.525, 1, 2.5648987628203876, 1.648090668682522, -2.0177234426823394, 1, 0.2},
    {LEFT_ARM,      RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 1.85, 0.625, 4.417861014480877, -2.806563606410589, 0.9040095895272826, 1, 0.2},
    {LEFT_CALF,     RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 2.5, 0.75, 3.12585731974087, 5.525511655361298, -1.5903971528225265, 1, 0.2},
    {LEFT_FOOT,     RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 1.35, 0.675, 3.926921842806667, 8.08884032049622, 0.12027524643408766, 3, 1.5},
    {RIGHT_FOREARM, RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 2.225, 0.675, 0.4078206420797428, -1.0599953233084172, -1.7553358283857299, 1, 0.2},
    {RIGHT_ARM,     RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 1.95, 0.75, 1.1812303663272852, -3.5000256518601014, -0.5222217404634386, 1, 0.2},
    {RIGHT_CALF,    RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 2.5, 0.75, -0.07253905736790486, 5.347881871063159, -0.7588859967104447, 1, 0.2},
    {RIGHT_FOOT,    RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 1.35, 0.725, -1.1254742643908706, 7.567193169625567, 0.5897605418219602, 3, 1.5},
    {RIGHT_THIGH,   RUNNER, NOT_RUNNER, DYNAMIC, AWAKE, 2.65, 1, 1.6120186135678773, 2.0615320561881516, 1.4849422964528027, 1, 0.2},
};

// --- Joints, in creation order ---------------------------------------------------------------------------
enum JointId : uint8_t {
    HURDLE_JOINT, NECK, RIGHT_SHOULDER, LEFT_SHOULDER, LEFT_HIP, RIGHT_HIP, LEFT_ELBOW, RIGHT_ELBOW,
    LEFT_KNEE, RIGHT_KNEE, LEFT_ANKLE, RIGHT_ANKLE,
    JOINT_COUNT
};

struct JointConstants {
    JointId id;
    BodyId body_a, body_b;
    bool motor_at_start;
    double anchor_a_x, anchor_a_y, anchor_b_x, anchor_b_y;  // units: world frame at creation (hurdle: local)
    double lower_angle, upper_angle, reference_angle;       // radians
    double max_motor_torque;                                // 0: no motor
};
constexpr bool MOTOR_OFF = false, MOTOR_ON = true;

constexpr JointConstants JOINTS[JOINT_COUNT] = {
    {HURDLE_JOINT,   HURDLE_TOP, HURDLE_BASE, MOTOR_OFF, 0.18, 3.7299999999999995, 1.045, 0.0125, 0, 0, 0, 0},
    {NECK,           HEAD, TORSO, MOTOR_OFF, 3.5885141908253755, -4.526224223627244, 3.588733341630704, -4.526434658500262, -0.5, 0, -1.308996406363529, 0},
    {RIGHT_SHOULDER, RIGHT_ARM, TORSO, MOTOR_ON, 2.228476821818547, -4.086468732185028, 2.228929993886102, -4.08707555939957, -0.5, 1.5, -0.7853907065463961, 1000},
    {LEFT_SHOULDER,  LEFT_ARM, TORSO, MOTOR_ON, 3.6241979856895377, -3.5334881618011442, 3.6241778782207157, -3.533950434531982, -2, 0, -2.09438311816829, 1000},
    {LEFT_HIP,       LEFT_THIGH, TORSO, MOTOR_ON, 2.0030339754142847, 0.23737160622781284, 2.003367181376716, 0.23802590387419476, -1.5, 0.5, 0.7258477508944043, 6000},
    {RIGHT_HIP,      RIGHT_THIGH, TORSO, MOTOR_ON, 1.2475900729227194, -0.011046642863645761, 1.2470052823973599, -0.011635347168778898, -1.3, 0.7, -2.719359381718199, 6000},
    {LEFT_ELBOW,     LEFT_FOREARM, LEFT_ARM, MOTOR_OFF, 5.525375332758792, -1.63856204930891, 5.52537532948459, -1.6385620366077662, -0.1, 0.5, 2.09438311816829, 0},
    {RIGHT_ELBOW,    RIGHT_FOREARM, RIGHT_ARM, MOTOR_OFF, -0.006090859076100963, -2.8004758838752157, -0.0060908611708438976, -2.8004758929205846, -0.1, 0.5, 1.2968199012274688, 0},
    {LEFT_KNEE,      LEFT_CALF, LEFT_THIGH, MOTOR_ON, 3.384323411985692, 3.5168931240916876, 3.3844684376952108, 3.5174122997898016, -1.6, 0, -0.3953113764119829, 3000},
    {RIGHT_KNEE,     RIGHT_CALF, RIGHT_THIGH, MOTOR_ON, 1.4982369235492752, 4.175600306005656, 1.4982043532615996, 4.17493520671361, -1.3, 0.3, 2.2893406247158676, 3000},
    {LEFT_ANKLE,     LEFT_FOOT, LEFT_CALF, MOTOR_OFF, 3.312322507818897, 7.947704853895541, 3.3123224825088817, 7.947704836256229, -0.5, 0.5, -1.7244327585010226, 2000},
    {RIGHT_ANKLE,    RIGHT_FOOT, RIGHT_CALF, MOTOR_OFF, -1.6562855402197227, 6.961551452557676, -1.655726670462596, 6.961493826969391, -0.5, 0.5, -1.5708045825942758, 2000},
};

// clang-format on
constexpr bool rows_in_order() {
    for (int i = 0; i < BODY_COUNT; ++i)
        if (BODIES[i].id != i) return false;
    for (int i = 0; i < JOINT_COUNT; ++i)
        if (JOINTS[i].id != i) return false;
    return true;
}
static_assert(rows_in_order(), "BODIES[id] and JOINTS[id] are the rows of id");

// --- Keys ------------------------------------------------------------------------------------------------
constexpr uint8_t KEY_Q = 1, KEY_W = 2, KEY_O = 4, KEY_P = 8;  // Q wins over W, O over P
constexpr double HIP_SPEED = 2.5, KNEE_SPEED = 2.5, SHOULDER_SPEED = 2.0;  // motor speeds, radians / s
struct HipLimits {
    double left_lower, left_upper, right_lower, right_upper;   // radians; they persist after release
};
constexpr HipLimits HIP_LIMITS_O = {-1.0, 1.0, -1.3, 0.7};
constexpr HipLimits HIP_LIMITS_P = {-1.5, 0.5, -0.8, 1.2};

// --- What a game reports ---------------------------------------------------------------------------------
enum Flag : uint8_t { FALLEN = 1, JUMPED = 2, JUMP_LANDED = 4, GAME_ENDED = 8, PAUSED = 16 };

// Columns of the golden traces: parts in this order, each x, y, angle, vx, vy, angular velocity; then ...
constexpr int STATE_BODIES = 14;
constexpr BodyId STATE_ORDER[STATE_BODIES] = {TORSO,         HEAD,        LEFT_ARM,    LEFT_CALF,  LEFT_FOOT,
                                              LEFT_FOREARM,  LEFT_THIGH,  RIGHT_ARM,   RIGHT_CALF, RIGHT_FOOT,
                                              RIGHT_FOREARM, RIGHT_THIGH, HURDLE_BASE, HURDLE_TOP};
constexpr int STATE_COLUMNS =
    STATE_BODIES * 6 + 8;   // ... scoreTime, score, fallen, jumped, landed, ended, paused, touching
constexpr int OBSERVATION_SIZE = PART_COUNT * 5;    // the first 12 parts' x, y, angle, vx, vy

}  // namespace qwop
