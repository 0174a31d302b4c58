// The solver, one game per lane: Island::solve for the runner, with masks for branches.
#pragma once
#include "lanes_contact_list.hpp"

namespace qwop {
namespace lanes {

// Data shared by the phases of a block's frame.
template <class V>
struct BlockFrame {
    Block<V>* block;
    unsigned running;                 // lanes that are in this frame
    unsigned coupled;                 // those in which the runner touches the hurdle
    Coupling couplings[WIDTH<V>];     // of these lanes
    JointLanes<V> joints[RUNNER_JOINTS];  // in JOINT_ORDER
    ContactLanes<V> contacts[MAX_CONTACTS];
    int contact_count;
    V previous_x[PARTS], previous_y[PARTS];  // before positions were integrated
};

// Integrates velocities, sets the constraints up and applies the impulses of the last frame.
template <class V>
static inline void begin_solve(BlockFrame<V>& frame) {
    Block<V>& b = *frame.block;
    for (int p = 0; p < PARTS; ++p) b.vy[p] += TIME_STEP * GRAVITY_Y;
    const double head_inv_inertia = model().bodies[HEAD].inv_inertia;
    b.w[HEAD - FIRST_PART] += TIME_STEP * head_inv_inertia * b.head_torque;
    unsigned coupled[PARTS] = {};
    for (unsigned left = frame.coupled; left; left &= left - 1) {
        const int lane = __builtin_ctz(left);
        for (int p = 0; p < PARTS; ++p) coupled[p] |= (frame.couplings[lane].parts >> p & 1) << lane;
        warm_start_coupling(b, frame.couplings[lane], lane);
    }
    frame.contact_count = gather_contacts(b, frame.running, coupled, frame.contacts);
    for (int i = 0; i < frame.contact_count; ++i) frame.contacts[i].prepare(b, b.floor_x);
    for (int i = 0; i < frame.contact_count; ++i) frame.contacts[i].warm_start(b);
    for (JointLanes<V>& joint : frame.joints) {
        joint.prepare(b);
        joint.warm_start(b);
    }
}

template <class V>
static inline void integrate_positions(Block<V>& b, V* previous_x, V* previous_y) {
    for (int p = 0; p < PARTS; ++p) {
        limit_speed<V>(b.vx[p], b.vy[p], b.w[p]);
        previous_x[p] = b.x[p];
        previous_y[p] = b.y[p];
        b.x[p] += TIME_STEP * b.vx[p];
        b.y[p] += TIME_STEP * b.vy[p];
        b.angle[p] += TIME_STEP * b.w[p];
    }
}

// Brings a part's sine and cosine up to date, or those of parts p and q in N blocks.
template <class V>
static inline void update_rotation(Block<V>& b, int p) {
    sincos_lanes<V>(b.trig, b.angle[p], b.sin[p], b.cos[p]);
}
template <int N, class V>
static inline void update_rotations(BlockFrame<V>* frames, int p, int q) {
    constexpr int AT_ONCE = WIDTH<V> == 8 ? 1 : N;  // measured: with AVX-512 two vectors at once, else four
    for (int first = 0; first < N; first += AT_ONCE) {
        V angles[2 * AT_ONCE], sines[2 * AT_ONCE], cosines[2 * AT_ONCE];
        for (int k = 0; k < AT_ONCE; ++k) {
            angles[2 * k] = frames[first + k].block->angle[p];
            angles[2 * k + 1] = frames[first + k].block->angle[q];
        }
        sincos_lanes(frames->block->trig, angles, sines, cosines);
        for (int k = 0; k < AT_ONCE; ++k) {
            Block<V>& b = *frames[first + k].block;
            b.sin[p] = sines[2 * k];
            b.sin[q] = sines[2 * k + 1];
            b.cos[p] = cosines[2 * k];
            b.cos[q] = cosines[2 * k + 1];
        }
    }
}

template <int N, class V>
static inline void solve_positions(BlockFrame<V>* frames) {
    using I = Mask<V>;
    I live[N];  // lanes that still iterate
    for (int k = 0; k < N; ++k) live[k] = mask_of<V>(frames[k].running);
    unsigned any = 1;
    for (int iteration = 0; iteration < POSITION_ITERATIONS && any; ++iteration) {
        I okay[N];
        for (int k = 0; k < N; ++k) {
            V min_separation{};
            for (int i = 0; i < frames[k].contact_count; ++i) {
                ContactLanes<V>& contact = frames[k].contacts[i];
                update_rotation(*frames[k].block, contact.part);
                contact.solve_position(*frames[k].block, live[k], min_separation);
            }
            okay[k] = min_separation > -1.5 * LINEAR_SLOP;
            for (unsigned left = frames[k].coupled & bits<V>(live[k]); left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                if (!solve_coupling_position(*frames[k].block, frames[k].couplings[lane], lane)) okay[k][lane] = 0;
            }
        }
        for (int i = 0; i < RUNNER_JOINTS; ++i) {
            update_rotations<N>(frames, frames->joints[i].a, frames->joints[i].b);
            for (int k = 0; k < N; ++k) okay[k] &= frames[k].joints[i].solve_position(*frames[k].block, live[k]);
        }
        any = 0;
        for (int k = 0; k < N; ++k) any |= bits<V>(live[k] &= ~okay[k]);
    }
    for (int p = 0; p < PARTS; p += 2) update_rotations<N>(frames, p, p + 1);
}

// N blocks, interleaved: a single block would wait for its own chain of dependent operations.
template <int N, class V>
static inline void solve(BlockFrame<V>* frames) {
    for (int iteration = 0; iteration < VELOCITY_ITERATIONS; ++iteration) {
        for (int i = 0; i < RUNNER_JOINTS; ++i)
            for (int k = 0; k < N; ++k) frames[k].joints[i].solve_velocity(*frames[k].block);
        for (int k = 0; k < N; ++k) {
            BlockFrame<V>& frame = frames[k];
            for (int i = 0; i < frame.contact_count; ++i) frame.contacts[i].solve_velocity(*frame.block);
            for (unsigned left = frame.coupled; left; left &= left - 1)
                solve_coupling_velocity(*frame.block, frame.couplings[__builtin_ctz(left)], __builtin_ctz(left));
        }
    }
    for (int k = 0; k < N; ++k) {
        BlockFrame<V>& frame = frames[k];
        for (int i = 0; i < frame.contact_count; ++i) frame.contacts[i].store_impulses(*frame.block);
        for (unsigned left = frame.coupled; left; left &= left - 1)
            integrate_coupling(*frame.block, frame.couplings[__builtin_ctz(left)], __builtin_ctz(left));
        integrate_positions(*frame.block, frame.previous_x, frame.previous_y);
    }
    solve_positions<N>(frames);
    for (int k = 0; k < N; ++k)
        for (unsigned left = frames[k].coupled; left; left &= left - 1)
            frames[k].couplings[__builtin_ctz(left)].finish();
}

template <class V>
static inline void update_rest(Block<V>& b) {
    for (int p = 0; p < PARTS; ++p) b.rest[p] = rest_after<V>(b.rest[p], b.vx[p], b.vy[p], b.w[p]);
}

}  // namespace lanes
}  // namespace qwop
