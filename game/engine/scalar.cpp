// The reference engine: one game after another, in plain doubles.
#include "simulator.hpp"

namespace qwop {

namespace {

class Scalar final : public Simulator {
  public:
    explicit Scalar(int num_envs) : games_(num_envs, Game::canonical()) {}

    int num_envs() const override { return static_cast<int>(games_.size()); }
    const Game& game(int env) override { return games_[env]; }
    void set_game(int env, const Game& game) override { games_[env] = game; }
    void step(const uint8_t* keys, const uint8_t* skip) override {
        for (int i = 0; i < num_envs(); ++i)
            if (!skip || !skip[i]) games_[i].update(keys[i]);
    }

  private:
    std::vector<Game> games_;
};

}  // namespace

std::unique_ptr<Simulator> make_scalar(int num_envs) { return std::make_unique<Scalar>(num_envs); }

}  // namespace qwop
