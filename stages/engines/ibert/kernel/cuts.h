// How many numbers a saturating step has cut. Off, it costs nothing: the compiler drops what is not counted.

struct Cuts {
  int64_t total = 0;

#if IBERT_COUNT
  // saturated: what came out; wrapped: what would have without saturation.
  void count(V saturated, V wrapped) { total += differing(saturated, wrapped); }
  void count_narrowed(V first, V second) {
    alignas(64) int32_t lanes[2 * LANES32];
    store(lanes, first);
    store(lanes + LANES32, second);
    for (int32_t lane : lanes) total += lane > 32767 || lane < -32768;
  }
  // Rows of 16 lanes that are to be doubled so often.
  void count_doubled(V y, int32_t first, int32_t second) {
    alignas(64) int16_t lanes[LANES16];
    store(lanes, y);
    for (int64_t i = 0; i < LANES16; i++) {
      const int32_t t = i < 16 ? first : second;
      const int64_t exact = int64_t(lanes[i]) << (t < 0 ? -t : 0);
      total += exact > 32767 || exact < -32768;
    }
  }
#else
  void count(V, V) {}
  void count_narrowed(V, V) {}
  void count_doubled(V, int32_t, int32_t) {}
#endif
};
