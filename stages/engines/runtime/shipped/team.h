// Threads that walk through one forward pass together: they share the items of each phase, and wait for each
// other behind it.

#pragma once

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <cstdint>

namespace classify {

class Team {
 public:
  explicit Team(int32_t threads) : threads_(threads) {}

  int32_t threads() const { return threads_; }

  // each(begin, end) over [0, count). Whoever is free takes half of its share of what is left, at least
  // `least`, so nobody waits long for a core that something else is using too. Returns when all are done.
  template <typename Each>
  void share(int64_t count, int64_t least, const Each& each) {
    if (threads_ == 1) {
      if (count > 0) each(int64_t(0), count);
      return;
    }
    for (int64_t begin = next_.load(); begin < count;) {
      const int64_t fair = (count - begin) / (2 * threads_), take = fair > least ? fair : least;
      const int64_t end = begin + take < count ? begin + take : count;
      if (!next_.compare_exchange_weak(begin, end)) continue;
      each(begin, end);
      begin = next_.load();
    }
    wait();
  }

 private:
  void wait() {
    const int64_t round = round_.load();
    if (arrived_.fetch_add(1) + 1 == threads_) {
      arrived_.store(0);
      next_.store(0);
      round_.store(round + 1);
      return;
    }
    // Soon over, unless another process took the other one's core.
    for (int64_t spins = 0; round_.load() == round; spins++)
      if (spins < 20000) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      } else {
        sched_yield();
      }
  }

  const int32_t threads_;
  alignas(64) std::atomic<int64_t> next_{0};
  alignas(64) std::atomic<int32_t> arrived_{0};
  alignas(64) std::atomic<int64_t> round_{0};
};

}  // namespace classify
