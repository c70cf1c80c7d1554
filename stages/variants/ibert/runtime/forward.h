// The whole model over a batch of texts: phases that the threads of a team share.

struct Buffers {
  int16_t *x, *qkv, *inner, *first_x, *first_qkv;  // tokens; then of first tokens alone
  Seven seven, first;
  int32_t* scratch;  // of each thread
  int64_t scratch_each;
};

inline Buffers buffers(const View& view, const Texts& texts, int32_t threads, Arena& arena) {
  const int64_t tokens = texts.tokens(), stride = view.stride();
  Buffers b;
  b.x = arena.take<int16_t>(tokens * stride);
  b.qkv = arena.take<int16_t>(tokens * 3 * stride);
  b.inner = arena.take<int16_t>(tokens * most(view.inner(), stride));
  b.first_x = arena.take<int16_t>(texts.count * stride);
  b.first_qkv = arena.take<int16_t>(texts.count * 3 * stride);
  b.seven = {arena.take<uint8_t>(tokens * view.widest()), arena.take<Row>(tokens)};
  b.first = {arena.take<uint8_t>(texts.count * view.widest()), arena.take<Row>(texts.count)};
  // `tallest` rows of sums at most: those of the narrowest input, or few.
  const int64_t sums = (ROWS_BYTES / K_ALIGNED + safe_l::MOST_ROWS) * PANEL;
  b.scratch_each = most(sums, scratch_int32(texts.longest(), view.sizes.hidden / view.sizes.heads));
  b.scratch_each = up(b.scratch_each, 16) + 64;
  b.scratch = arena.take<int32_t>(b.scratch_each * threads);
  return b;
}

struct Forward {
  const View& view;
  const Texts& texts;
  const Buffers& b;
  Team& team;
  int32_t thread;
  Cuts cuts;

  int32_t* scratch() const {
    auto* mine = b.scratch + b.scratch_each * thread;
    return reinterpret_cast<int32_t*>((reinterpret_cast<uintptr_t>(mine) + 63) / 64 * 64);
  }

  // y = Linear of m rows, panels [first, last).
  template <Then THEN>
  void linear(const Linear& layer, Seven input, int64_t m, int64_t first, int64_t last, int16_t* y, int64_t stride,
              int32_t gelu_bits = 0) {
    const safe_l::Tiles& tiles = *safe_l::tiles_for(IBERT_AVX512 ? view.instruction_set : "avx2", layer.products);
    const int64_t panels = last - first;
    // Cut by columns, and by rows as well where there are too few columns for so many threads.
    const int64_t parts = (4 * team.threads() + panels - 1) / panels;
    const int64_t share = team.threads() == 1 ? m : up((m + parts - 1) / parts, tiles.rows);
    const int64_t tall = least_of(tallest(layer, tiles), share), blocks = (m + tall - 1) / tall;
    team.share(blocks * panels, 1, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t top = begin / panels * tall, from = begin % panels;
        const int64_t to = least_of(panels, from + end - begin);
        block<THEN>(layer, tiles, input, top, least_of(top + tall, m), first + from, first + to, gelu_bits,
                    y + top * stride, stride, scratch(), cuts);
        begin += to - from;
      }
    });
  }

  int64_t few(int64_t n) const { return 8192 / n + 1; }

  void quantize(const int16_t* x, int64_t stride, int64_t n, int64_t m, Seven to) {
    const int64_t padded = up(n, K_ALIGNED);
    team.share(m, few(n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) to.rows[r] = to_seven_bits(x + r * stride, n, padded, to.q + r * padded);
    });
  }

  // LayerNorm of x in place, and 7 bits of it.
  void norm(const Norm& layer, int16_t* x, int64_t m, Seven to) {
    const int64_t n = view.sizes.hidden, stride = view.stride(), padded = up(n, K_ALIGNED);
    team.share(m, few(n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) {
        normalize(x + r * stride, layer, view, n, cuts);
        to.rows[r] = to_seven_bits(x + r * stride, n, padded, to.q + r * padded);
      }
    });
  }

  void embeddings() {
    const int64_t n = view.sizes.hidden, stride = view.stride(), padded = up(n, K_ALIGNED);
    team.share(texts.count, few(n), [&](int64_t begin, int64_t end) {
      for (int64_t text = begin; text < end; text++)
        for (int64_t r = texts.starts[text]; r < texts.starts[text + 1]; r++) {
          int16_t* x = b.x + r * stride;
          embed(view, texts.ids[r], int32_t(r - texts.starts[text]) + view.sizes.first_position,
                texts.types ? texts.types[r] : 0, x);
          memset(x + n, 0, size_t(stride - n) * 2);
          normalize(x, view.embeddings, view, n, cuts);
          b.seven.rows[r] = to_seven_bits(x, n, padded, b.seven.q + r * padded);
        }
    });
  }

  // Heads of texts: of every token's query, or of the first tokens' alone.
  void attention(const Layer& layer, bool first_only, int16_t* out) {
    const int64_t stride = view.stride(), wide = 3 * stride, heads = view.sizes.heads, size = view.sizes.hidden / heads;
    team.share(texts.count * heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        const int64_t text = i / heads, column = i % heads * size, start = texts.starts[text];
        const int64_t length = texts.starts[text + 1] - start, asked = first_only ? text : start;
        const int16_t* queries = first_only ? b.first_qkv : b.qkv;
        attend({queries + asked * wide + column, wide, first_only ? 1 : length},
               {b.qkv + start * wide + stride + column, wide, length},
               {b.qkv + start * wide + 2 * stride + column, wide, length}, size, layer.score_shift, layer.score_factor,
               out + asked * stride + column, stride, scratch());
      }
    });
  }

  void run_layer(const Layer& layer, bool last) {
    const int64_t n = view.sizes.hidden, stride = view.stride(), wide = 3 * stride, panels = stride / PANEL;
    const int64_t tokens = texts.tokens(), padded = up(n, K_ALIGNED);
    if (!last) {
      linear<Then::nothing>(layer.qkv, b.seven, tokens, 0, 3 * panels, b.qkv, wide);
    } else {
      linear<Then::nothing>(layer.qkv, b.seven, tokens, panels, 3 * panels, b.qkv, wide);
      team.share(texts.count, 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++) {
          const int64_t from = texts.starts[i];
          memcpy(b.first_x + i * stride, b.x + from * stride, size_t(stride) * 2);
          memcpy(b.first.q + i * padded, b.seven.q + from * padded, size_t(padded));
          b.first.rows[i] = b.seven.rows[from];
        }
      });
      linear<Then::nothing>(layer.qkv, b.first, texts.count, 0, panels, b.first_qkv, wide);
    }
    const int64_t m = last ? texts.count : tokens;
    const Seven seven = last ? b.first : b.seven;
    int16_t *x = last ? b.first_x : b.x, *mixed = b.inner;
    attention(layer, last, mixed);
    quantize(mixed, stride, n, m, seven);
    linear<Then::residual>(layer.attention_out, seven, m, 0, panels, x, stride);
    norm(layer.after_attention, x, m, seven);
    const int64_t inner = view.inner();
    if (view.sizes.activation == 0)
      linear<Then::gelu>(layer.ffn_in, seven, m, 0, inner / PANEL, b.inner, inner, layer.gelu_bits);
    else
      linear<Then::relu>(layer.ffn_in, seven, m, 0, inner / PANEL, b.inner, inner);
    quantize(b.inner, inner, view.sizes.ffn, m, seven);
    linear<Then::residual>(layer.ffn_out, seven, m, 0, panels, x, stride);
    norm(layer.after_ffn, x, m, seven);
  }

  void head(int32_t* logits) {
    const int64_t stride = view.stride(), n = view.sizes.hidden;
    int16_t* inner = b.first_qkv;
    linear<Then::nothing>(view.dense, b.first, texts.count, 0, stride / PANEL, inner, stride);
    team.share(texts.count, 8, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        int16_t* of = inner + i * stride;
        for (int64_t d = 0; d < n; d++) of[d] = view.sizes.head_activation == 0 ? tanh_q15(of[d]) : most_zero(of[d]);
        for (int64_t o = 0; o < view.sizes.outputs; o++) {
          int64_t sum = int64_t(1) << (view.logit_shift - 1);
          for (int64_t d = 0; d < n; d++) sum += int64_t(of[d]) * view.head_weight[o * n + d];
          logits[i * view.sizes.outputs + o] = int32_t((sum >> view.logit_shift) + view.head_bias[o]);
        }
      }
    });
  }

  static int16_t most_zero(int16_t p) { return p > 0 ? p : int16_t(0); }

  static int16_t tanh_q15(int16_t p) {
    const auto round15 = [](int32_t a, int32_t f) { return (a * f + (1 << 14)) >> 15; };
    const int32_t power = ((p < 0 ? -p : p) * 23637) >> 10, f = power & 32767, whole = power >> 15;
    const int32_t e = (32767 + round15(round15(round15(-1298, f) + 7575, f) - 22662, f)) >> (whole < 31 ? whole : 31);
    const int32_t t = int32_t((int64_t(32768 - e) << 15) / (32768 + e)), inside = t > 32767 ? 32767 : t;
    return int16_t(p < 0 ? -inside : inside);
  }

  void run(int32_t* logits) {
    embeddings();
    for (int32_t i = 0; i < view.sizes.layers; i++) run_layer(view.layers[i], i == view.sizes.layers - 1);
    head(logits);
  }
};

inline int64_t bytes_needed(const View& view, const Texts& texts, int32_t threads) {
  Arena arena = {nullptr};
  buffers(view, texts, threads, arena);
  return arena.used;
}

// What thread `thread` of `team` does of one call; returns how many numbers it has cut.
inline int64_t run(const View& view, const Texts& texts, Team& team, int32_t thread, char* memory, int32_t* logits) {
  Arena arena = {memory};
  const Buffers b = buffers(view, texts, team.threads(), arena);
  Forward forward = {view, texts, b, team, thread, {}};
  forward.run(logits);
  return forward.cuts.total;
}
