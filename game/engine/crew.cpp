#include "crew.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#if !defined(_WIN32)
#include <unistd.h>
#endif

namespace qwop {

// A process that forks has the team's memory in the child, but not its threads.
static long this_process() {
#if defined(_WIN32)
    return 0;
#else
    return getpid();
#endif
}

struct Crew::Team {
    using Work = std::function<void(int, int)>;

    std::mutex mutex;
    std::condition_variable called, finished;
    const Work* work = nullptr;
    int pieces = 0, busy = 0;
    unsigned call = 0;  // number of the call at hand
    bool closing = false;
    std::atomic<int> next{0};
    const long process = this_process();
    std::vector<std::thread> threads;

    explicit Team(int helpers) {
        try {
            for (int i = 1; i <= helpers; ++i) threads.emplace_back([this, i] { help(i); });
        } catch (const std::system_error&) {  // no more threads to be had: those there are do it
        }
    }

    ~Team() {
        {
            const std::lock_guard<std::mutex> lock(mutex);
            closing = true;
        }
        called.notify_all();
        for (std::thread& thread : threads) thread.join();
    }

    void take_pieces(int worker) {
        for (int piece; (piece = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) (*work)(worker, piece);
    }

    void help(int worker) {
        std::unique_lock<std::mutex> lock(mutex);
        for (unsigned seen = 0;; seen = call) {
            called.wait(lock, [&] { return closing || call != seen; });
            if (closing) return;
            lock.unlock();
            take_pieces(worker);
            lock.lock();
            if (--busy == 0) finished.notify_one();
        }
    }

    void run(int how_many, const Work& what) {
        {
            const std::lock_guard<std::mutex> lock(mutex);
            work = &what;
            pieces = how_many;
            busy = static_cast<int>(threads.size());
            next = 0;
            ++call;
        }
        called.notify_all();
        take_pieces(0);
        std::unique_lock<std::mutex> lock(mutex);
        finished.wait(lock, [&] { return busy == 0; });
    }
};

Crew::~Crew() {
    if (team_ && team_->process == this_process()) delete team_;
}

void Crew::run(int pieces, const std::function<void(int, int)>& work) {
    if (workers_ == 1 || pieces == 1) {
        for (int piece = 0; piece < pieces; ++piece) work(0, piece);
        return;
    }
    if (!team_ || team_->process != this_process()) team_ = new Team(workers_ - 1);
    team_->run(pieces, work);
}

}  // namespace qwop
