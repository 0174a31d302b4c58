#include "simulator.hpp"

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
    int group_size() const override { return 1; }
    void step(int env, const uint8_t* keys, int frames, int) override {
        for (int frame = 0; frame < frames && !(stop_at_end_ && games_[env].ended); ++frame)
            games_[env].update(keys[env]);
    }
    void observe(int env, Outputs out) const override { observe_game(games_[env], out); }

  private:
    Game* games_;
    int num_envs_;
    bool stop_at_end_;
};

}  // namespace

Simulator* make_scalar(Trig trig, int num_envs, bool stop_at_end) { return new Scalar(trig, num_envs, stop_at_end); }

}  // namespace qwop
