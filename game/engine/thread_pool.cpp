#include "thread_pool.hpp"

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

// A forked child has the pool's memory, but not its threads.
static long process_id() {
#if defined(_WIN32)
    return 0;
#else
    return getpid();
#endif
}

// The workers other than the caller.
struct ThreadPool::Threads {
    using Work = std::function<void(int, int)>;

    std::mutex mutex;
    std::condition_variable started, finished;
    const Work* work = nullptr;
    int tasks = 0, busy = 0;
    unsigned run_number = 0;
    bool closing = false;
    std::atomic<int> next_task{0};
    const long process = process_id();
    std::vector<std::thread> threads;

    explicit Threads(int count) {
        try {
            for (int i = 1; i <= count; ++i) threads.emplace_back([this, i] { wait_for_work(i); });
        } catch (const std::system_error&) {  // the system has no more threads: use fewer
        }
    }

    ~Threads() {
        {
            const std::lock_guard<std::mutex> lock(mutex);
            closing = true;
        }
        started.notify_all();
        for (std::thread& thread : threads) thread.join();
    }

    void run_tasks(int worker) {
        for (int task; (task = next_task.fetch_add(1, std::memory_order_relaxed)) < tasks;) (*work)(worker, task);
    }

    void wait_for_work(int worker) {
        std::unique_lock<std::mutex> lock(mutex);
        for (unsigned seen = 0;; seen = run_number) {
            started.wait(lock, [&] { return closing || run_number != seen; });
            if (closing) return;
            lock.unlock();
            run_tasks(worker);
            lock.lock();
            if (--busy == 0) finished.notify_one();
        }
    }

    void run(int count, const Work& function) {
        {
            const std::lock_guard<std::mutex> lock(mutex);
            work = &function;
            tasks = count;
            busy = static_cast<int>(threads.size());
            next_task = 0;
            ++run_number;
        }
        started.notify_all();
        run_tasks(0);
        std::unique_lock<std::mutex> lock(mutex);
        finished.wait(lock, [&] { return busy == 0; });
    }
};

ThreadPool::~ThreadPool() {
    if (threads_ && threads_->process == process_id()) delete threads_;
}

void ThreadPool::run(int tasks, const std::function<void(int, int)>& work) {
    if (workers_ == 1 || tasks == 1) {
        for (int task = 0; task < tasks; ++task) work(0, task);
        return;
    }
    if (!threads_ || threads_->process != process_id()) threads_ = new Threads(workers_ - 1);
    threads_->run(tasks, work);
}

}  // namespace qwop
