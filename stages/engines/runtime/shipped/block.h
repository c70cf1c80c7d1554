// A Linear: rows of 7 bits times packed weights (the tiles of safe-L), and what follows while the sums are in L1.
//
// Like forward.h it stands inside of the namespace of a number system, which has defined Number (what lies between
// the layers), Row (the scales of a row of 7 bits), Linear, Cuts, and
//
//   start_sums(linear, panel, rows, count, sums)        what the sums of a tile start from
//   finish<THEN>(linear, panel, sums, rows, count, gelu_bits, y, stride, cuts)
//                                                       sums of a tile -> `count` rows of y, columns of this panel

// What comes after: nothing, what stands in y already is added, or a function.
enum class Then { nothing, residual, gelu, relu };

inline void start_sums(const Linear& linear, int64_t panel, const Row* rows, int64_t count, int32_t* sums);

template <Then THEN>
void finish(const Linear& linear, int64_t panel, const int32_t* sums, const Row* rows, int64_t count, int32_t gelu_bits,
            Number* y, int64_t stride, Cuts& cuts);

// A Linear's input: 7 bits, and their scales.
struct Seven {
  uint8_t* q;
  Row* rows;
};

// Rows of a block, of m in all: so many that their bytes stay in L2, within half as many more, and all blocks about
// equal, since the last few rows alone would have all weights read once more.
inline int64_t rows_at_once(int64_t m, int64_t padded_k, const safe_l::Tiles& tiles) {
  const int64_t fit = safe_l::ROWS_BYTES / padded_k / tiles.rows, tall = (fit > 1 ? fit : 1) * tiles.rows;
  const int64_t blocks = (m + tall / 2) / tall;
  return safe_l::round_up(safe_l::pieces(m, blocks > 1 ? blocks : 1), tiles.rows);
}

// Rows [begin, end), `rows_at_once` at most, times panels [first, last). y: row `begin`, column 0; sums: PANEL for each row.
template <Then THEN>
void block(const Linear& linear, const safe_l::Tiles& tiles, Seven input, int64_t begin, int64_t end, int64_t first,
           int64_t last, int32_t gelu_bits, Number* y, int64_t stride, int32_t* sums, Cuts& cuts) {
  using namespace safe_l;
  if (begin == end) return;
  const int64_t k = linear.padded_k, cut = round_up(pieces(k, pieces(k, K_BLOCK)), K_ALIGNED);
  const int64_t height = pieces(end - begin, tiles.rows);
  const uintptr_t per_step = uintptr_t(pieces(STEP_BYTES, height));
  tiles.enter();
  for (int64_t panel = first; panel < last; panel++) {
    start_sums(linear, panel, input.rows + begin, end - begin, sums);
    for (int64_t from = 0; from < k; from += cut) {
      const int64_t depth = cut < k - from ? cut : k - from;
      const int8_t* b = linear.weight + panel * PANEL * k + PANEL * from;
      for (int64_t row = begin; row < end; row += tiles.rows) {
        const int64_t count = tiles.rows < end - row ? tiles.rows : end - row;
        int32_t* tile = sums + (row - begin) * PANEL;
        // This tile's part of what lies behind.
        const int64_t part = (row - begin) / tiles.rows * PANEL * depth / height;
        const Ahead ahead = {uintptr_t(b) + uintptr_t(PANEL * depth + part), per_step};
        tiles.of[count - 1](input.q + row * k + from, k, b, depth, ahead, tile);
        if (from + cut >= k)
          finish<THEN>(linear, panel, tile, input.rows + row, count, gelu_bits,
                       y + (row - begin) * stride + panel * PANEL, stride, cuts);
      }
    }
  }
  tiles.leave();
}
