// A thread pool. The bits of a game do not depend on the thread that steps it.
#pragma once
#include <functional>

namespace qwop {

class ThreadPool {
  public:
    // workers: threads that share the tasks, the caller's included.
    explicit ThreadPool(int workers) : workers_(workers) {}
    ~ThreadPool();
    ThreadPool(const ThreadPool&) = delete;
    ThreadPool& operator=(const ThreadPool&) = delete;

    // Calls work(worker, task) once for every task in [0, tasks) and returns when all calls have. The caller is
    // worker 0. Each worker makes one call at a time.
    void run(int tasks, const std::function<void(int worker, int task)>& work);

  private:
    struct Threads;
    int workers_;
    Threads* threads_ = nullptr;  // started by the first run that needs them
};

}  // namespace qwop
