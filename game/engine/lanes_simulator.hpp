// The fast engine: many games, one per vector lane. Frames of running games are computed in the vectors. In rare cases
// (a floor that moves, a part that touches the hurdle or the block, a fall, a landing, a runner about to sleep) the
// scalar engine steps that lane's Game. Both give the same bits.
#pragma once
#include "lanes_pairs.hpp"
#include "lanes_solver.hpp"

namespace qwop {
namespace lanes {

template <class V>
class LaneSimulator final : public Simulator {
    static constexpr int W = WIDTH<V>;
    static constexpr int GROUP_BLOCKS = 2;  // blocks that the solver interleaves

  public:
    LaneSimulator(Trig trig, Block<V>* blocks, int num_envs, bool stop_at_end)
        : trig_(trig), blocks_(blocks), num_envs_(num_envs), stop_at_end_(stop_at_end) {
        for (int i = 0; i < block_count(); ++i) {
            blocks_[i].trig = trig;
            for (int part = 0; part < PARTS; ++part)
                for (int floor = 0; floor < FLOOR_COUNT; ++floor)
                    blocks_[i].floor_is_a[part][floor] = floor_is_a(FIRST_PART + part, floor);
            for (int k = 0; k < 2; ++k)
                for (int floor = 0; floor < FLOOR_COUNT; ++floor)
                    blocks_[i].hurdle.floor_is_a[k][floor] = floor_is_a(HURDLE_PARTS[k], floor);
        }
        for (int i = 0; i < block_count() * W; ++i) set_game(i, Game::canonical(trig));
        set_workers(1);
    }
    ~LaneSimulator() override {
        bridge::free_aligned(blocks_);
        bridge::free_aligned(frames_);
    }

    int num_envs() const override { return num_envs_; }

    const Game& game(int env) override {
        Block<V>& b = blocks_[env / W];
        if (b.in_lanes[env % W]) b.store(env % W);
        b.apply_moves(env % W);
        return b.games[env % W];
    }

    void set_game(int env, const Game& game) override {
        Block<V>& b = blocks_[env / W];
        const int lane = env % W;
        b.games[lane] = game;
        b.in_lanes[lane] = false;
        b.hurdle.lanes &= ~(1u << lane);
        b.moves[lane].count = 0;
    }

    int group_size() const override { return GROUP_BLOCKS * W; }

    void set_workers(int workers) override {
        bridge::free_aligned(frames_);
        frames_ = static_cast<BlockFrame<V>*>(bridge::allocate_aligned(workers * GROUP_BLOCKS * sizeof(BlockFrame<V>)));
        for (int k = 0; k < workers * GROUP_BLOCKS; ++k)
            for (int i = 0; i < RUNNER_JOINTS; ++i) frames_[k].joints[i].set_constants(trig_, JOINT_ORDER[i]);
    }

    void step(int group, const uint8_t* keys, int frame_count, int worker) override {
        uint8_t held[GROUP_BLOCKS * W] = {};
        const int first = group * GROUP_BLOCKS * W;
        for (int i = 0; i < GROUP_BLOCKS * W && first + i < num_envs_; ++i) held[i] = keys[first + i];
        BlockFrame<V>* frames = frames_ + worker * GROUP_BLOCKS;
        for (int n = 0; n < frame_count; ++n) {
            int running = 0;  // blocks with a lane that runs
            for (int i = 0; i < GROUP_BLOCKS * W && first + i < num_envs_; i += W) {
                const unsigned lanes = step_scalar_games(first + i, held + i);
                if (lanes) begin(frames[running++], blocks_[(first + i) / W], held + i, lanes);
            }
            if (running == 1) solve<1>(frames);
            if (running == 2) solve<2>(frames);
            for (int k = 0; k < running; ++k) end(frames[k]);
        }
    }

    void observe(int env, Outputs out) const override {
        const Block<V>& b = blocks_[env / W];
        const int lane = env % W;
        if (!b.in_lanes[lane]) return observe_game(b.games[lane], out);
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
        *out.flags = b.games[lane].flags();
    }

  private:
    Trig trig_;
    Block<V>* blocks_;
    int num_envs_;
    bool stop_at_end_;
    BlockFrame<V>* frames_ = nullptr;  // GROUP_BLOCKS of them for each worker

    int block_count() const { return (num_envs_ + W - 1) / W; }

    // Steps the block's games that the scalar engine has to step, and returns the lanes of the others.
    unsigned step_scalar_games(int first_env, const uint8_t* keys) {
        Block<V>& b = blocks_[first_env / W];
        unsigned running = 0;
        for (int lane = 0; lane < W && first_env + lane < num_envs_; ++lane) {
            Game& game = b.games[lane];
            if (b.in_lanes[lane] && !(b.scalar_next >> lane & 1)) {
                running |= 1u << lane;
                continue;
            }
            if (b.in_lanes[lane]) {
                b.store(lane);
                b.apply_moves(lane);
                game.move_floors();  // the usual reason to leave the lanes: then the game may go back at once
            }
            if (stop_at_end_ && game.ended) continue;
            if (bridge::fits_lanes(game)) {
                b.load(lane);
                running |= 1u << lane;
            } else {
                b.apply_moves(lane);
                game.update(keys[lane]);
            }
        }
        return running;
    }

    // A frame of a block's running lanes is Game::update in three phases: begin, solve, end.
    void begin(BlockFrame<V>& frame, Block<V>& b, const uint8_t* keys, unsigned running) {
        frame.block = &b;
        frame.running = running;
        b.score_time += FRAME_SECONDS;
        b.head_torque += HEAD_TORQUE * (b.angle[HEAD - FIRST_PART] + HEAD_TORQUE_ANGLE);
        hold_keys(b, frame.joints, keys);
        unsigned coupled[W] = {};
        update_contacts(b, running, coupled);
        frame.coupled = 0;
        for (int lane = 0; lane < W; ++lane) {
            if (!coupled[lane]) continue;
            if (couple(b, frame.couplings[lane], lane, coupled[lane])) {
                frame.coupled |= 1u << lane;
                continue;
            }
            b.store(lane);
            b.apply_moves(lane);
            b.games[lane].finish_update(keys[lane]);
            frame.running &= ~(1u << lane);
        }
        begin_solve(frame);
    }

    void end(BlockFrame<V>& frame) {
        update_rest(*frame.block);
        find_pairs(*frame.block, frame.previous_x, frame.previous_y, frame.running, frame.coupled);
        end_frame(*frame.block, frame.running);
    }
};

template <class V>
static inline Simulator* make(Trig trig, int num_envs, bool stop_at_end) {
    const size_t blocks = static_cast<size_t>((num_envs + WIDTH<V> - 1) / WIDTH<V>);
    void* memory = bridge::allocate_aligned(blocks * sizeof(Block<V>));
    __builtin_memset(memory, 0, blocks * sizeof(Block<V>));
    return new LaneSimulator<V>(trig, static_cast<Block<V>*>(memory), num_envs, stop_at_end);
}

}  // namespace lanes
}  // namespace qwop
