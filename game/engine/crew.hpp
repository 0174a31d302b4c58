// Threads that share the games of one call. Which thread plays a game never changes a bit of it.
#pragma once
#include <functional>

namespace qwop {

class Crew {
  public:
    explicit Crew(int workers) : workers_(workers) {}
    ~Crew();
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;

    int workers() const { return workers_; }

    // work(worker, piece) for every piece in [0, pieces), each once, shared among the workers, of whom the caller
    // is number 0. Returns when all is done.
    void run(int pieces, const std::function<void(int worker, int piece)>& work);

  private:
    struct Team;
    int workers_;
    Team* team_ = nullptr;  // started when there is something to share
};

}  // namespace qwop
