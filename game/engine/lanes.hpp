// The fast engine: one game per vector lane. A frame of a running game goes through the vectors; what is
// rare - a floor that moves, the hurdle awake or in reach, a fall, a landing, a body about to sleep - is
// played by the scalar engine on that lane's Game. Both give the same bits.
//
// Broad phase without a tree: which parts meet which floors is a box test, and the order in which pairs are
// found follows from the order in which the tree is walked past the floors. Taking a part's leaf out and in
// never reorders other leaves, so the order changes only when a floor moves; until then the parts' moves are
// noted, and made in the tree when the scalar engine next needs it.
#pragma once
#include "lanes_contact.hpp"
#include "lanes_joint.hpp"
#include "simulator.hpp"

namespace qwop {
namespace lanes {

// An island visits the runner's joints depth first from the right thigh: right knee, hips, shoulders, neck,
// elbows, left knee, ankles. Joints without a common body commute, exactly, so here each waits for the torso's
// chain in the company of one that does not.
constexpr JointId JOINT_ORDER[JOINTS_COUNT] = {RIGHT_KNEE, RIGHT_HIP,     RIGHT_ANKLE, LEFT_HIP,
                                               LEFT_KNEE,  LEFT_SHOULDER, LEFT_ANKLE,  RIGHT_SHOULDER,
                                               LEFT_ELBOW, NECK,          RIGHT_ELBOW};
constexpr int MAX_CONTACTS = 2 * PARTS;  // a part touches two floors at most: on a seam

template <class V>
class Engine final : public Simulator {
    using I = Mask<V>;
    static constexpr int W = WIDTH<V>;

  public:
    Engine(Trig trig, Block<V>* blocks, int num_envs, bool stop_at_end)
        : trig_(trig), blocks_(blocks), num_envs_(num_envs), stop_at_end_(stop_at_end) {
        for (int i = 0; i < block_count(); ++i) blocks_[i].trig = trig;
        for (int i = 0; i < block_count() * W; ++i) set_game(i, Game::canonical(trig));
        set_workers(1);
        for (int part = 0; part < PARTS; ++part)
            for (int floor = 0; floor < FLOOR_COUNT; ++floor) floor_is_a_[part][floor] = floor_is_a(part, floor);
    }
    ~Engine() override {
        free_aligned(blocks_);
        free_aligned(frames_);
    }

    int num_envs() const override { return num_envs_; }

    const Game& game(int env) override {
        Block<V>& b = blocks_[env / W];
        if (b.here[env % W]) b.give_back(env % W);
        b.replay_moves(env % W);
        return b.games[env % W];
    }

    void set_game(int env, const Game& game) override {
        Block<V>& b = blocks_[env / W];
        const int lane = env % W;
        b.games[lane] = game;
        b.here[lane] = false;
        b.hurdle.falling &= ~(1u << lane);
        b.moves[lane].count = 0;
    }

    int block_size() const override { return ABREAST * W; }

    void set_workers(int workers) override {
        free_aligned(frames_);
        frames_ = static_cast<Frame*>(allocate_aligned(workers * ABREAST * sizeof(Frame)));
        for (int k = 0; k < workers * ABREAST; ++k)
            for (int i = 0; i < JOINTS_COUNT; ++i) frames_[k].joints[i].set_constants(trig_, JOINT_ORDER[i]);
    }

    void step(int group, const uint8_t* keys, int frame_count, int worker) override {
        uint8_t held[ABREAST * W] = {};
        const int first = group * ABREAST * W;
        for (int i = 0; i < ABREAST * W && first + i < num_envs_; ++i) held[i] = keys[first + i];
        Frame* frames = frames_ + worker * ABREAST;
        for (int n = 0; n < frame_count; ++n) {
            int running = 0;  // blocks with a lane that runs
            for (int i = 0; i < ABREAST * W && first + i < num_envs_; i += W) {
                const unsigned lanes = play_others(first + i, held + i);
                if (lanes) begin(frames[running++], blocks_[(first + i) / W], held + i, lanes);
            }
            if (running == 1) solve<1>(frames);
            if (running == 2) solve<2>(frames);
            for (int k = 0; k < running; ++k) finish(frames[k]);
        }
    }

    void observe(int env, Outputs out) const override {
        const Block<V>& b = blocks_[env / W];
        const int lane = env % W;
        if (!b.here[lane]) return observe_game(b.games[lane], out);
        for (int i = 0; i < PARTS; ++i) {
            const int p = STATE_ORDER[i] - FIRST_PART;
            *out.observation++ = static_cast<float>(b.x[p][lane]);
            *out.observation++ = static_cast<float>(b.y[p][lane]);
            *out.observation++ = static_cast<float>(b.angle[p][lane]);
            *out.observation++ = static_cast<float>(b.vx[p][lane]);
            *out.observation++ = static_cast<float>(b.vy[p][lane]);
        }
        *out.time = b.score_time[lane];
        *out.distance = b.x[0][lane] / 10;
        *out.flags = flags_of(b.games[lane]);
    }

  private:
    Trig trig_;
    Block<V>* blocks_;
    int num_envs_;
    bool stop_at_end_;
    bool floor_is_a_[PARTS][FLOOR_COUNT];
    using Joints = JointLanes<V>[JOINTS_COUNT];

    // Two blocks are solved side by side: one alone waits for its own chains of operations.
    static constexpr int ABREAST = 2;

    // The frame of a block.
    struct Frame {
        Block<V>* block;
        unsigned running;  // lanes that the vectors play
        Joints joints;
        ContactLanes<V> contacts[MAX_CONTACTS];
        int contact_count;
        V before_x[PARTS], before_y[PARTS];
    };
    Frame* frames_ = nullptr;  // ABREAST of them for each worker

    int block_count() const { return (num_envs_ + W - 1) / W; }

    // Plays the lanes that are the scalar engine's and returns the others.
    unsigned play_others(int first_env, const uint8_t* keys) {
        Block<V>& b = blocks_[first_env / W];
        unsigned running = 0;
        for (int lane = 0; lane < W && first_env + lane < num_envs_; ++lane) {
            Game& game = b.games[lane];
            if (b.here[lane] && !(b.leaving >> lane & 1)) {
                running |= 1u << lane;
                continue;
            }
            if (b.here[lane]) {
                b.give_back(lane);
                b.replay_moves(lane);
                move_floors(game);  // the usual reason to leave
            }
            if (stop_at_end_ && has_ended(game)) continue;
            if (fits_vectors(game)) {
                b.take(lane);
                running |= 1u << lane;
            } else {
                b.replay_moves(lane);
                update_game(game, keys[lane]);
            }
        }
        return running;
    }

    void begin(Frame& frame, Block<V>& b, const uint8_t* keys, unsigned running) {
        frame.block = &b;
        frame.running = running;
        b.score_time += FRAME_SECONDS;
        b.head_torque += HEAD_TORQUE * (b.angle[HEAD - FIRST_PART] + HEAD_TORQUE_ANGLE);
        hold_keys(b, frame.joints, keys);
        update_contacts(b, running);

        for (int p = 0; p < PARTS; ++p) b.vy[p] += TIME_STEP * GRAVITY_Y;
        const double head_inv_inertia = model().bodies[HEAD].inv_inertia;
        b.w[HEAD - FIRST_PART] += TIME_STEP * head_inv_inertia * b.head_torque;
        frame.contact_count = gather_contacts(b, running, frame.contacts);
        for (int i = 0; i < frame.contact_count; ++i) frame.contacts[i].prepare(b);
        for (int i = 0; i < frame.contact_count; ++i) frame.contacts[i].warm_start(b);
        for (JointLanes<V>& joint : frame.joints) {
            joint.prepare(b);
            joint.warm_start(b);
        }
    }

    template <int N>
    void solve(Frame* frames) {
        for (int iteration = 0; iteration < VELOCITY_ITERATIONS; ++iteration) {
            for (int i = 0; i < JOINTS_COUNT; ++i)
                for (int k = 0; k < N; ++k) frames[k].joints[i].solve_velocity(*frames[k].block);
            for (int k = 0; k < N; ++k)
                for (int i = 0; i < frames[k].contact_count; ++i)
                    frames[k].contacts[i].solve_velocity(*frames[k].block);
        }
        for (int k = 0; k < N; ++k) {
            Frame& frame = frames[k];
            for (int i = 0; i < frame.contact_count; ++i) frame.contacts[i].store_impulses(*frame.block);
            integrate_positions(*frame.block, frame.before_x, frame.before_y);
        }
        solve_positions<N>(frames);
    }

    void finish(Frame& frame) {
        count_rest(*frame.block);
        move_leaves(*frame.block, frame.before_x, frame.before_y, frame.running);
        finish_frame(*frame.block, frame.running);
    }

    void hold_keys(Block<V>& b, Joints& joints, const uint8_t* keys) {
        V thighs, calves;
        for (int lane = 0; lane < W; ++lane) {
            thighs[lane] = keys[lane] & KEY_Q ? 1 : keys[lane] & KEY_W ? -1 : 0;
            calves[lane] = keys[lane] & KEY_O ? 1 : keys[lane] & KEY_P ? -1 : 0;
        }
        const I o = calves > V{}, p = calves < V{};
        const auto limit = [&](V& value, double with_o, double with_p) {
            value = select<V>(o, splat<V>(with_o), select<V>(p, splat<V>(with_p), value));
        };
        limit(b.left_hip_lower, HIP_LIMITS_O.left_lower, HIP_LIMITS_P.left_lower);
        limit(b.left_hip_upper, HIP_LIMITS_O.left_upper, HIP_LIMITS_P.left_upper);
        limit(b.right_hip_lower, HIP_LIMITS_O.right_lower, HIP_LIMITS_P.right_lower);
        limit(b.right_hip_upper, HIP_LIMITS_O.right_upper, HIP_LIMITS_P.right_upper);

        for (int i = 0; i < JOINTS_COUNT; ++i) {
            JointLanes<V>& joint = joints[i];
            switch (JOINT_ORDER[i]) {
                case RIGHT_HIP:
                    joint.motor_speed = thighs * HIP_SPEED;
                    joint.lower_angle = b.right_hip_lower;
                    joint.upper_angle = b.right_hip_upper;
                    break;
                case LEFT_HIP:
                    joint.motor_speed = -thighs * HIP_SPEED;
                    joint.lower_angle = b.left_hip_lower;
                    joint.upper_angle = b.left_hip_upper;
                    break;
                case RIGHT_SHOULDER: joint.motor_speed = -thighs * SHOULDER_SPEED; break;
                case LEFT_SHOULDER: joint.motor_speed = thighs * SHOULDER_SPEED; break;
                case RIGHT_KNEE: joint.motor_speed = calves * KNEE_SPEED; break;
                case LEFT_KNEE: joint.motor_speed = -calves * KNEE_SPEED; break;
                default: break;
            }
        }
    }

    // World::update_contacts for the parts' contacts.
    void update_contacts(Block<V>& b, unsigned running) {
        for (unsigned left = running & b.nearby; left; left &= left - 1) {
            const int lane = __builtin_ctz(left);
            part_from_afar(b, lane, HURDLE_TOP);
            part_from_afar(b, lane, BLOCK);
            if (!(b.near[lane][0] | b.near[lane][1])) b.nearby &= ~(1u << lane);
        }
        uint64_t began[W] = {};
        unsigned began_lanes = 0;
        for (int pair = 0; pair < PAIRS; ++pair) {
            const unsigned with_pair = b.exists[pair] & running;
            if (!with_pair) continue;
            const int p = pair / FLOOR_COUNT, f = pair % FLOOR_COUNT;
            const unsigned fat = bits<V>(overlapping<V>(b.fat_box[p], b.floor_fat_box[f]));
            for (unsigned gone = with_pair & ~fat; gone; gone &= gone - 1)
                destroy_contact(b, __builtin_ctz(gone), pair);
            const unsigned updated = with_pair & fat;
            if (!updated) continue;
            const unsigned tight = updated & bits<V>(overlapping<V>(b.box[p], b.floor_box[f]));
            ManifoldLanes<V>& m = b.manifold[pair];
            const I updated_lanes = mask_of<V>(updated);
            I count{};
            if (tight) {
                ManifoldLanes<V> fresh;
                collide<V>(fresh, p, floor_is_a_[p][f], {b.x[p], b.y[p]}, {b.cos[p], b.sin[p]}, b.floor_x[f]);
                const I tight_lanes = mask_of<V>(tight);
                count = tight_lanes & fresh.count;
                keep_impulses(fresh, m);
                store(m, fresh, tight_lanes);
            }
            m.count = updated_lanes ? count : m.count;
            const unsigned touching = bits<V>(count > 0) & updated;
            const unsigned changes = (touching ^ b.touching[pair]) & updated;
            b.touching[pair] ^= static_cast<uint8_t>(changes);
            for (unsigned changed = changes; changed; changed &= changed - 1) {
                const int lane = __builtin_ctz(changed);
                b.rest[p][lane] = 0;
                if (!(touching >> lane & 1)) continue;
                began[lane] |= uint64_t{1} << pair;
                began_lanes |= 1u << lane;
            }
        }
        for (; began_lanes; began_lanes &= began_lanes - 1) {
            const int lane = __builtin_ctz(began_lanes);
            judge(b, lane, began[lane]);
        }
    }

    // Points that were there in the last frame keep their impulses.
    static void keep_impulses(ManifoldLanes<V>& fresh, const ManifoldLanes<V>& old) {
        for (PointLanes<V>& point : fresh.points) {
            const I second = (old.count > 1) & (old.points[1].key == point.key);
            const I first = (old.count > 0) & (old.points[0].key == point.key);
            const V zero{};
            point.normal_impulse =
                select<V>(first, old.points[0].normal_impulse, select<V>(second, old.points[1].normal_impulse, zero));
            point.tangent_impulse =
                select<V>(first, old.points[0].tangent_impulse, select<V>(second, old.points[1].tangent_impulse, zero));
        }
    }

    static void store(ManifoldLanes<V>& to, const ManifoldLanes<V>& from, I lanes) {
        to.face_part = lanes ? from.face_part : to.face_part;
        to.normal_x = select<V>(lanes, from.normal_x, to.normal_x);
        to.normal_y = select<V>(lanes, from.normal_y, to.normal_y);
        to.local_x = select<V>(lanes, from.local_x, to.local_x);
        to.local_y = select<V>(lanes, from.local_y, to.local_y);
        for (int k = 0; k < 2; ++k) {
            PointLanes<V>& point = to.points[k];
            point.local_x = select<V>(lanes, from.points[k].local_x, point.local_x);
            point.local_y = select<V>(lanes, from.points[k].local_y, point.local_y);
            point.normal_impulse = select<V>(lanes, from.points[k].normal_impulse, point.normal_impulse);
            point.tangent_impulse = select<V>(lanes, from.points[k].tangent_impulse, point.tangent_impulse);
            point.key = lanes ? from.points[k].key : point.key;
        }
    }

    void destroy_contact(Block<V>& b, int lane, int pair) {
        if (b.manifold[pair].count[lane] > 0) b.rest[pair / FLOOR_COUNT][lane] = 0;
        b.exists[pair] &= static_cast<uint8_t>(~(1u << lane));
        b.touching[pair] &= static_cast<uint8_t>(~(1u << lane));
        forget_contact(b.games[lane].world, FIRST_PART + pair / FLOOR_COUNT, FLOOR_0 + pair % FLOOR_COUNT);
    }

    // Contacts that began to touch, newest first, as the rules hear of them.
    void judge(Block<V>& b, int lane, uint64_t began) {
        Game& game = b.games[lane];
        for (int i = game.world.contact_count - 1; i >= 0; --i) {
            const Contact& contact = game.world.contacts[game.world.contact_order[i]];
            const int pair = pair_of(contact);
            if (pair == NO_PAIR || !(began >> pair & 1)) continue;
            const int p = pair / FLOOR_COUNT, f = pair % FLOOR_COUNT;
            const Transform part = transform_in<V>(b, p, lane);
            Transform floor;
            floor.position = {b.floor_x[f][lane], FLOOR_Y};
            floor.rotation.cos = 1;
            floor.rotation.sin = 0;
            const bool part_is_b = contact.body_b >= FIRST_PART;
            judge_manifold(game, contact, manifold_of<V>(b.manifold[pair], lane, part_is_b), part_is_b ? floor : part,
                           part_is_b ? part : floor);
            b.score[lane] = game.score;
        }
    }

    // The touching contacts as constraints: those of a part in the order of the contact list, newest first.
    // Contacts of different parts act on different bodies, so that their order among each other is free.
    int gather_contacts(Block<V>& b, unsigned running, ContactLanes<V>* contacts) {
        int count = 0;
        for (int p = 0; p < PARTS; ++p) {
            unsigned on[2][FLOOR_COUNT] = {}, any = 0, seam = 0;
            for (int f = 0; f < FLOOR_COUNT; ++f) {
                on[0][f] = b.touching[p * FLOOR_COUNT + f] & running;
                seam |= any & on[0][f];
                any |= on[0][f];
            }
            if (!any) continue;
            for (; seam; seam &= seam - 1) {
                const unsigned lane = __builtin_ctz(seam), bit = 1u << lane;
                const int first = on[0][0] & bit ? 0 : 1, second = first == 0 && on[0][1] & bit ? 1 : 2;
                const int older = created_after(b.games[lane].world, p, first, second) ? second : first;
                on[0][older] &= ~bit;
                on[1][older] |= bit;
            }
            for (int k = 0; k < 2; ++k) {
                if (!(on[k][0] | on[k][1] | on[k][2])) continue;
                ContactLanes<V>& contact = contacts[count++];
                contact.part = p;
                for (int f = 0; f < FLOOR_COUNT; ++f) contact.on_floor[f] = mask_of<V>(on[k][f]);
                contact.active = contact.on_floor[0] | contact.on_floor[1] | contact.on_floor[2];
            }
        }
        return count;
    }

    static bool created_after(const World& world, int p, int floor1, int floor2) {
        const int slot1 = p * 5 + floor1, slot2 = p * 5 + floor2;
        for (int i = world.contact_count - 1; i >= 0; --i) {
            if (world.contact_order[i] == slot1) return true;
            if (world.contact_order[i] == slot2) return false;
        }
        return true;
    }

    void integrate_positions(Block<V>& b, V* before_x, V* before_y) {
        for (int p = 0; p < PARTS; ++p) {
            limit_speed<V>(b.vx[p], b.vy[p], b.w[p]);
            before_x[p] = b.x[p];
            before_y[p] = b.y[p];
            b.x[p] += TIME_STEP * b.vx[p];
            b.y[p] += TIME_STEP * b.vy[p];
            b.angle[p] += TIME_STEP * b.w[p];
        }
    }

    template <int N>
    void solve_positions(Frame* frames) {
        I live[N];
        for (int k = 0; k < N; ++k) live[k] = mask_of<V>(frames[k].running);
        unsigned any = 1;
        for (int iteration = 0; iteration < POSITION_ITERATIONS && any; ++iteration) {
            I okay[N];
            for (int k = 0; k < N; ++k) {
                V min_separation{};
                for (int i = 0; i < frames[k].contact_count; ++i) {
                    ContactLanes<V>& contact = frames[k].contacts[i];
                    turn(*frames[k].block, contact.part);
                    contact.solve_position(*frames[k].block, live[k], min_separation);
                }
                okay[k] = min_separation > -1.5 * LINEAR_SLOP;
            }
            for (int i = 0; i < JOINTS_COUNT; ++i) {
                turn<N>(frames, frames->joints[i].a, frames->joints[i].b);
                for (int k = 0; k < N; ++k) okay[k] &= frames[k].joints[i].solve_position(*frames[k].block, live[k]);
            }
            any = 0;
            for (int k = 0; k < N; ++k) any |= bits<V>(live[k] &= ~okay[k]);
        }
        for (int p = 0; p < PARTS; p += 2) turn<N>(frames, p, p + 1);
    }

    // Brings the sines and cosines of parts up to date.
    static void turn(Block<V>& b, int p) { sincos_lanes<V>(b.trig, b.angle[p], b.sin[p], b.cos[p]); }
    template <int N>
    static void turn(Frame* frames, int p, int q) {
        constexpr int AT_ONCE = W == 8 ? 1 : N;  // measured: with AVX-512 two vectors at once, else four
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

    void count_rest(Block<V>& b) {
        for (int p = 0; p < PARTS; ++p) b.rest[p] = rested<V>(b.rest[p], b.vx[p], b.vy[p], b.w[p]);
    }

    // Body::move_leaf for all parts, newest first, and the search for new pairs.
    void move_leaves(Block<V>& b, const V* before_x, const V* before_y, unsigned running) {
        unsigned moved[PARTS];
        for (int p = PARTS - 1; p >= 0; --p) {
            const Bounds<V> before = b.still_box[p];
            const Bounds<V> now = tight_bounds<V>(FIRST_PART + p, {b.x[p], b.y[p]}, {b.cos[p], b.sin[p]});
            b.still_box[p] = now;
            b.box[p] = combined<V>(before, now);
            moved[p] = running & ~bits<V>(containing<V>(b.fat_box[p], b.box[p]));
            if (!moved[p]) continue;
            fatten<V>(b.fat_box[p], b.box[p], b.x[p] - before_x[p], b.y[p] - before_y[p], mask_of<V>(moved[p]));
            for (unsigned left = moved[p]; left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                b.note_move(lane, FIRST_PART + p, bounds_of<V>(b.fat_box[p], lane));
            }
        }
        uint8_t hurdle_moved[W] = {};
        unsigned hurdle_moved_leaves[2] = {};
        if (b.hurdle.falling) b.hurdle.step(b.trig, hurdle_moved_leaves);
        const unsigned resting = b.hurdle.resting();
        for (unsigned left = running & b.busy; left; left &= left - 1) {
            const int lane = __builtin_ctz(left);
            Aabb* leaves = b.hurdle_leaves[lane];
            World& world = b.games[lane].world;
            if (b.hurdle.falling >> lane & 1) {
                for (int i = 0; i < 2; ++i) {
                    const unsigned leaf_moved = hurdle_moved_leaves[i] >> lane & 1;
                    if (leaf_moved) leaves[i] = bounds_of<V>(b.hurdle.fat_box[i], lane);
                    hurdle_moved[lane] |= static_cast<uint8_t>(leaf_moved << i);
                }
            } else {
                hurdle_moved[lane] = static_cast<uint8_t>(step_hurdle(world, leaves));
            }
            if (hurdle_moved[lane] & 1) {
                b.note_move(lane, HURDLE_TOP, leaves[0]);
                set_bounds<V>(b.hurdle_fat_box, lane, leaves[0]);
            }
            if (hurdle_moved[lane] & 2) b.note_move(lane, HURDLE_BASE, leaves[1]);
        }
        for (int p = PARTS - 1; p >= 0; --p) {
            if (!moved[p]) continue;
            unsigned meets[5];  // by surface: floors, block, hurdle top
            unsigned all = 0;
            for (int f = 0; f < FLOOR_COUNT; ++f) meets[f] = bits<V>(overlapping<V>(b.fat_box[p], b.floor_fat_box[f]));
            meets[3] = bits<V>(overlapping<V>(b.fat_box[p], b.block_fat_box));
            meets[4] = bits<V>(overlapping<V>(b.fat_box[p], b.hurdle_fat_box));
            for (int f = 0; f < FLOOR_COUNT; ++f) {
                meets[f] &= moved[p] & ~b.exists[p * FLOOR_COUNT + f];
                all |= meets[f];
            }
            meets[3] &= moved[p];
            meets[4] &= moved[p];
            for (unsigned left = (meets[3] | meets[4]) & b.nearby; left; left &= left - 1) {
                const int lane = __builtin_ctz(left);
                meets[3] &= ~((b.near[lane][1] >> p & 1) << lane);
                meets[4] &= ~((b.near[lane][0] >> p & 1) << lane);
            }
            all |= meets[3] | meets[4];
            for (; all; all &= all - 1) {
                const int lane = __builtin_ctz(all);
                if (meets[4] & b.busy & 1u << lane) order_surfaces_anew(b, lane);
                for (const uint8_t surface : b.surfaces[lane]) {
                    if (!(meets[surface] >> lane & 1)) continue;
                    const int body = surface == 4 ? int{HURDLE_TOP} : int{surface};
                    meet(b.games[lane].world, FIRST_PART + p, body);
                    if (surface >= FLOOR_COUNT) {
                        if (surface == 4) b.hurdle.give_back(b.games[lane].world, lane);
                        b.note_nearness(lane, FIRST_PART + p, body);
                    } else {
                        b.exists[p * FLOOR_COUNT + surface] |= static_cast<uint8_t>(1u << lane);
                        b.manifold[p * FLOOR_COUNT + surface].count[lane] = 0;
                    }
                }
            }
        }
        for (unsigned left = running & b.busy; left; left &= left - 1) {
            const int lane = __builtin_ctz(left);
            if (hurdle_moved[lane]) find_hurdle_pairs(b, lane, hurdle_moved[lane]);
            World& world = b.games[lane].world;
            if (resting >> lane & 1) b.hurdle.give_back(world, lane);
            if ((b.hurdle.falling | resting) >> lane & 1) continue;
            if (touches_sleeping_floor(world)) b.leaving |= 1u << lane;
            if (hurdle_falls(world)) b.take_hurdle(lane);
        }
        for (unsigned left = running & b.nearby; left; left &= left - 1) {
            const int lane = __builtin_ctz(left);
            if (reaches(b, lane, HURDLE_TOP) || reaches(b, lane, BLOCK)) b.leaving |= 1u << lane;
        }
    }

    // Whether a part will touch the hurdle's top or the block in the next step, which is the scalar engine's then.
    bool reaches(Block<V>& b, int lane, int other) {
        World& world = b.games[lane].world;
        const Aabb box = world.bodies[other].box;
        for (unsigned left = b.near[lane][other == BLOCK]; left; left &= left - 1) {
            const int p = __builtin_ctz(left);
            if (!meeting(bounds_of<V>(b.box[p], lane), box)) continue;
            if (would_touch(world, FIRST_PART + p, transform_in<V>(b, p, lane), other)) return true;
        }
        return false;
    }

    // World::update_contacts for contacts out of reach: all that can happen to them is to end.
    void part_from_afar(Block<V>& b, int lane, int other) {
        const Aabb box = other == BLOCK ? bounds_of<V>(b.block_fat_box, lane) : b.hurdle_leaves[lane][0];
        unsigned& near = b.near[lane][other == BLOCK];
        for (unsigned left = near; left; left &= left - 1) {
            const int p = __builtin_ctz(left);
            if (meeting(bounds_of<V>(b.fat_box[p], lane), box)) continue;
            near &= ~(1u << p);
            forget_contact(b.games[lane].world, FIRST_PART + p, other);
        }
    }

    // A hurdle that moves may change its place among the surfaces.
    void order_surfaces_anew(Block<V>& b, int lane) {
        b.replay_moves(lane);
        surface_order(b.games[lane].world.tree, b.surfaces[lane]);
    }

    // Whom a hurdle that has moved may newly meet: if anyone at all, the tree says in which order.
    void find_hurdle_pairs(Block<V>& b, int lane, unsigned moved) {
        const Aabb* leaves = b.hurdle_leaves[lane];
        const auto meets = [&](const Bounds<V>& bounds) {
            const Aabb box = bounds_of<V>(bounds, lane);
            return ((moved & 1) && meeting(leaves[0], box)) || ((moved & 2) && meeting(leaves[1], box));
        };
        bool any = meets(b.block_fat_box);
        for (int f = 0; f < FLOOR_COUNT; ++f) any |= meets(b.floor_fat_box[f]);
        bool runner = false;
        for (int p = 0; p < PARTS; ++p) runner |= meets(b.fat_box[p]);
        if (!any && !runner) return;
        b.replay_moves(lane);
        World& world = b.games[lane].world;
        b.hurdle.give_back(world, lane);
        if (moved & 1) find_pairs(world, HURDLE_TOP);
        if (moved & 2) find_pairs(world, HURDLE_BASE);
        if (runner) b.leaving |= 1u << lane;
    }

    // Camera and score; lanes that are no longer plain running go to the scalar engine.
    void finish_frame(Block<V>& b, unsigned running) {
        const V torso_x = b.x[0], torso_y = b.y[0];
        const V followed =
            clamped<V>((torso_x + CAMERA_OFFSET) * PIXELS_PER_UNIT, splat<V>(CAMERA_MIN), splat<V>(CAMERA_MAX));
        const I frozen = torso_y < CAMERA_FREEZE_Y;
        V rest = b.rest[0];
        for (int p = 1; p < PARTS; ++p) rest = minimum<V>(rest, b.rest[p]);
        const unsigned sleepy = bits<V>(rest > SLEEPY);
        for (int lane = 0; lane < W; ++lane) {
            if (!(running >> lane & 1)) continue;
            Game& game = b.games[lane];
            if (is_over(game)) {
                b.give_back(lane);
                finish_game(game);
                continue;
            }
            if (!frozen[lane]) b.camera_x[lane] = followed[lane];
            b.score[lane] = rounded_score(torso_x[lane]);
            if (first_floor_x(b.camera_x[lane]) != b.floor_x[0][lane] || (sleepy >> lane & 1)) b.leaving |= 1u << lane;
        }
    }
};

template <class V>
static inline Simulator* make(Trig trig, int num_envs, bool stop_at_end) {
    const size_t blocks = static_cast<size_t>((num_envs + WIDTH<V> - 1) / WIDTH<V>);
    void* memory = allocate_aligned(blocks * sizeof(Block<V>));
    __builtin_memset(memory, 0, blocks * sizeof(Block<V>));
    return new Engine<V>(trig, static_cast<Block<V>*>(memory), num_envs, stop_at_end);
}

}  // namespace lanes
}  // namespace qwop
