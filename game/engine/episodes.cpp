#include "episodes.hpp"

#include <cmath>

#include "constants.hpp"
#include "cpu.hpp"

namespace qwop {

static_assert(QWOP_PARTS == PART_COUNT && QWOP_FIELDS * QWOP_PARTS == OBSERVATION_SIZE);
constexpr int PARTS = QWOP_PARTS, JOINTS_SEEN = QWOP_JOINTS;

// --- The rules -------------------------------------------------------------------------------------------

static uint8_t next_hip_mode(uint8_t mode, uint8_t keys) { return keys & KEY_O ? 1 : keys & KEY_P ? 2 : mode; }

// qwop-gym's default reward in float32: speed_weight ds / dt - time_cost dt / frame_skip, + success_reward or
// - failure_cost at the end.
static float reward(const qwop_episodes& e, int i, double time, double distance, bool terminated, bool success) {
    const float meters = static_cast<float>(distance), tenths = static_cast<float>(time / 10);
    const float ds = meters - e.last_distance[i], dt = tenths - e.last_tenths[i];
    e.last_distance[i] = meters;
    e.last_tenths[i] = tenths;
    const float speed = dt > 0 ? ds / dt : 0;  // dt is 0 if an ended game is stepped again
    const float value = speed * e.speed_weight - dt * e.time_cost / static_cast<float>(e.frame_skip);
    if (success) return value + e.success_reward;
    return terminated ? value - e.failure_cost : value;
}

void evaluate_step(const qwop_episodes& e, int i, double time_before, double time, double distance, uint8_t flags) {
    // The clock stops in the frame that ends the run.
    e.frame[i] += static_cast<int64_t>(std::rint((time - time_before) / FRAME_SECONDS));
    e.hip_mode[i] = next_hip_mode(e.hip_mode[i], e.keys[i]);
    const bool terminated = (flags & GAME_ENDED) || distance < e.too_far_back || distance > e.too_far_ahead;
    const bool finished = ((flags & JUMP_LANDED) && !(flags & FALLEN)) || distance > e.finish;
    e.terminated[i] = terminated;
    e.success[i] = terminated && finished;
    e.truncated[i] = !terminated && e.max_frames && e.frame[i] >= e.max_frames;
    e.reward[i] = reward(e, i, time, distance, terminated, terminated && finished);
}

// --- Observations: the same operations in the same order as in the Python functions --------------------------

static void normalize(const qwop_encoder& c, const float* raw, float* out) {
    for (int i = 0; i < PARTS * QWOP_FIELDS; ++i) {
        const float value = (raw[i] - c.center[i]) / c.deviation[i];
        const float low = value < -1 ? -1 : value;
        out[i] = low > 1 ? 1 : low;
    }
}

// a * b + c, rounded once.
__attribute__((always_inline)) static inline float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }

// Sine and cosine of n floats within a few turns, with the bits of NumPy from 1.22 on, on a CPU with FMA:
// reduction by multiples of pi/2 in three parts, then a polynomial each.
__attribute__((always_inline)) static inline void sincos_floats(const float* x, float* sine, float* cosine, int n) {
    for (int i = 0; i < n; ++i) {
        const float magic = 0x1.8p+23f;  // adding it rounds to an integer
        const float quarters = x[i] * 0x1.45f306p-1f + magic - magic;
        float r = fused(quarters, -0x1.921fb0p+0f, x[i]);
        r = fused(quarters, -0x1.5110b4p-22f, r);
        r = fused(quarters, -0x1.846988p-48f, r);
        const float rr = r * r;
        float c = fused(0x1.98e616p-16f, rr, -0x1.6c06dcp-10f);
        c = fused(c, rr, 0x1.55553cp-5f);
        c = fused(c, rr, -0.5f);
        c = fused(c, rr, 1.0f);
        float s = fused(0x1.7d3bbcp-19f, rr, -0x1.a06bbap-13f);
        s = fused(s, rr, 0x1.11119ap-7f);
        s = fused(s, rr, -0x1.555556p-3f);
        s = fused(s * rr, r, r);
        const int quadrant = static_cast<int>(quarters);
        const float of_sine = quadrant & 1 ? c : s, of_cosine = quadrant & 1 ? s : c;
        sine[i] = quadrant & 2 ? -of_sine : of_sine;
        cosine[i] = (quadrant + 1) & 2 ? -of_cosine : of_cosine;
    }
}

__attribute__((always_inline)) static inline void encode_game(const qwop_encoder& c, const float* raw, uint8_t hip_mode,
                                                              uint8_t keys, float* out) {
    constexpr int PADDED = 16;  // whole vectors
    float field[QWOP_FIELDS][PADDED] = {}, sine[PADDED], cosine[PADDED];
    for (int f = 0; f < QWOP_FIELDS; ++f)
        for (int p = 0; p < PARTS; ++p) {
            const float value = raw[p * QWOP_FIELDS + f], least = value < c.raw_high[f] ? value : c.raw_high[f];
            field[f][p] = least > c.raw_low[f] ? least : c.raw_low[f];
        }
    const float *x = field[0], *y = field[1], *angle = field[2], *vx = field[3], *vy = field[4];
    sincos_floats(angle, sine, cosine, PADDED);

    for (int p = 1; p < PARTS; ++p) {
        out[p - 1] = (x[p] - x[0]) * c.meters;
        out[p - 1 + PARTS - 1] = (y[p] - y[0]) * c.meters;
    }
    out += 2 * (PARTS - 1);
    out[0] = vx[0] * c.speed;
    out[PARTS] = vy[0] * c.speed;
    for (int p = 1; p < PARTS; ++p) {
        out[p] = (vx[p] - vx[0]) * c.speed;
        out[p + PARTS] = (vy[p] - vy[0]) * c.speed;
    }
    out += 2 * PARTS;
    for (int p = 0; p < PARTS; ++p) {
        out[p] = sine[p];
        out[p + PARTS] = cosine[p];
    }
    out += 2 * PARTS;
    for (int j = 0; j < JOINTS_SEEN; ++j) *out++ = angle[c.joint_b[j]] - angle[c.joint_a[j]] - c.reference_angle[j];
    *out++ = (c.track_y - y[0]) * c.meters;
    *out++ = (c.track_y - (y[0] + sine[0] * c.pelvis_x + cosine[0] * c.pelvis_y)) / c.units_per_meter;
    for (int k = 0; k < 2; ++k) {
        const int p = c.feet[k];
        const float below = std::fabs(c.feet_half_width[k] * sine[p]) + std::fabs(c.feet_half_height[k] * cosine[p]);
        *out++ = (c.track_y - (y[p] + below)) / c.units_per_meter * c.clearance;
    }
    float lowest[4];
    for (int k = 0; k < 4; ++k) {
        const int p = c.knee_parts[k];
        lowest[k] = y[p] + (c.knee_end[k] * sine[p] + std::fabs(c.knee_half_height[k] * cosine[p]));
    }
    for (int k = 0; k < 2; ++k) {
        const float lower = lowest[k] > lowest[k + 2] ? lowest[k] : lowest[k + 2];
        *out++ = (c.track_y - lower) / c.units_per_meter * c.clearance;
    }
    for (int k = 0; k < 4; ++k) {
        const float ahead = (c.landmark[k] - x[0]) / c.landmark_reach[k], low = ahead < -1 ? -1 : ahead;
        *out++ = low > 1 ? 1 : low;
    }
    for (int mode = 0; mode < 3; ++mode) *out++ = hip_mode == mode;
    const bool q = keys & KEY_Q, o = keys & KEY_O;
    *out++ = q;
    *out++ = (keys & KEY_W) && !q;
    *out++ = o;
    *out++ = (keys & KEY_P) && !o;
}

#if defined(__x86_64__) && !defined(__FMA__)
__attribute__((target("avx2,fma"))) static void encode_with_fma(const qwop_encoder& c, const float* raw,
                                                                uint8_t hip_mode, uint8_t keys, float* out) {
    encode_game(c, raw, hip_mode, keys, out);
}
#endif

static void encode(const qwop_encoder& c, const float* raw, uint8_t hip_mode, uint8_t keys, float* out) {
#if defined(__x86_64__) && !defined(__FMA__)
    static const bool has_fma = cpu::features().avx2;
    if (has_fma) return encode_with_fma(c, raw, hip_mode, keys, out);
#endif
    encode_game(c, raw, hip_mode, keys, out);
}

void observe(const qwop_encoder& encoder, bool features, int i, const float* raw, const uint8_t* hip_mode,
             const uint8_t* keys, float* observation) {
    raw += size_t(i) * OBSERVATION_SIZE;
    if (features) {
        encode(encoder, raw, hip_mode[i], keys[i], observation + size_t(i) * QWOP_FEATURES);
    } else {
        normalize(encoder, raw, observation + size_t(i) * OBSERVATION_SIZE);
    }
}

}  // namespace qwop
