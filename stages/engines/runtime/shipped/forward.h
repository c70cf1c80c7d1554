// The whole model over a batch of texts: phases that the threads of a team share. Texts lie one behind the other, so
// nothing is padded; in the last layer only the first token's query, and all behind it, is computed.
//
// It stands inside of the namespace of a number system, behind block.h, which uses more of the same:
//
//   View, Layer, Norm                                   the file as pointers into it
//   tiles_of(view)                                      name of the instruction set that multiplies
//   Head                                                a head's queries, keys or values: first, stride, count
//   scratch_bytes(longest, head size)                   of memory that attend needs
//   to_seven_bits(x, n, padded, q) -> Row               a row for the next product
//   embed(view, id, position, type, x)                  the sum of a token's embeddings
//   normalize(x, norm, view, n, cuts)                   LayerNorm of a row, in place
//   attend(view, layer, head, queries, keys, values, size, out, stride, memory)    one head of one text
//   logits_of(view, dense, text, logits)                behind the head's dense layer

struct Buffers {
  Number *x, *qkv, *inner, *first_x, *first_qkv;  // tokens; then of first tokens alone
  Seven seven, first;
  char* scratch;  // of each thread
  int64_t scratch_each;
};

inline Buffers buffers(const View& view, const Texts& texts, int32_t threads, Arena& arena) {
  const Sizes& sizes = view.sizes;
  const int64_t tokens = texts.tokens(), stride = sizes.stride();
  Buffers b;
  b.x = arena.take<Number>(tokens * stride);
  b.qkv = arena.take<Number>(tokens * 3 * stride);
  b.inner = arena.take<Number>(tokens * most(sizes.inner(), stride));
  b.first_x = arena.take<Number>(texts.count * stride);
  b.first_qkv = arena.take<Number>(texts.count * 3 * stride);
  b.seven = {arena.take<uint8_t>(tokens * sizes.widest()), arena.take<Row>(tokens)};
  b.first = {arena.take<uint8_t>(texts.count * sizes.widest()), arena.take<Row>(texts.count)};
  // Those of `rows_at_once` of the narrowest input.
  const int64_t rows = safe_l::ROWS_BYTES / K_ALIGNED * 3 / 2 + 2 * safe_l::MOST_ROWS;
  const int64_t sums = least_of(rows, round_up(tokens, safe_l::MOST_ROWS)) * PANEL * int64_t(sizeof(int32_t));
  b.scratch_each = round_up(most(sums, scratch_bytes(texts.longest(), sizes.hidden / sizes.heads)), 64) + 64;
  b.scratch = arena.take<char>(b.scratch_each * threads);
  return b;
}

struct Forward {
  const View& view;
  const Texts& texts;
  const Buffers& b;
  Team& team;
  int32_t thread;
  Cuts cuts;

  void* scratch() const { return b.scratch + b.scratch_each * thread; }

  // y = Linear of m rows, panels [first, last).
  template <Then THEN>
  void linear(const Linear& layer, Seven input, int64_t m, int64_t first, int64_t last, Number* y, int64_t stride,
              int32_t gelu_bits = 0) {
    const safe_l::Tiles& tiles = *safe_l::tiles_for(tiles_of(view), layer.products);
    const int64_t panels = last - first;
    // Cut by columns, and by rows as well where there are too few columns for so many threads.
    const int64_t parts = pieces(4 * team.threads(), panels);
    const int64_t share = team.threads() == 1 ? m : round_up(pieces(m, parts), tiles.rows);
    const int64_t tall = rows_at_once(share, layer.padded_k, tiles), blocks = pieces(m, tall);
    team.share(blocks * panels, 1, [&](int64_t begin, int64_t end) {
      while (begin < end) {
        const int64_t top = begin / panels * tall, from = begin % panels;
        const int64_t to = least_of(panels, from + end - begin);
        block<THEN>(layer, tiles, input, top, least_of(top + tall, m), first + from, first + to, gelu_bits,
                    y + top * stride, stride, static_cast<int32_t*>(scratch()), cuts);
        begin += to - from;
      }
    });
  }

  int64_t few(int64_t n) const { return 8192 / n + 1; }

  void quantize(const Number* x, int64_t stride, int64_t n, int64_t m, Seven to) {
    const int64_t padded = round_up(n, K_ALIGNED);
    team.share(m, few(n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) to.rows[r] = to_seven_bits(x + r * stride, n, padded, to.q + r * padded);
    });
  }

  // LayerNorm of x in place, and 7 bits of it.
  void norm(const Norm& layer, Number* x, int64_t m, Seven to) {
    const int64_t n = view.sizes.hidden, stride = view.sizes.stride(), padded = round_up(n, K_ALIGNED);
    team.share(m, few(n), [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) {
        normalize(x + r * stride, layer, view, n, cuts);
        to.rows[r] = to_seven_bits(x + r * stride, n, padded, to.q + r * padded);
      }
    });
  }

  // x, and 7 bits of it.
  void embeddings() {
    const int64_t n = view.sizes.embedded(), padded = round_up(n, K_ALIGNED), hidden = view.sizes.hidden;
    const int64_t stride = view.sizes.stride(), tokens = texts.tokens();
    Number* all = view.sizes.embedding ? b.inner : b.x;
    team.share(texts.count, few(n), [&](int64_t begin, int64_t end) {
      for (int64_t text = begin; text < end; text++)
        for (int64_t r = texts.starts[text]; r < texts.starts[text + 1]; r++) {
          Number* x = all + r * stride;
          embed(view, texts.ids[r], int32_t(r - texts.starts[text]) + view.sizes.first_position,
                texts.types ? texts.types[r] : 0, x);
          memset(x + n, 0, size_t(stride - n) * sizeof(Number));
          normalize(x, view.embeddings, view, n, cuts);
          b.seven.rows[r] = to_seven_bits(x, n, padded, b.seven.q + r * padded);
        }
    });
    if (!view.sizes.embedding) return;
    linear<Then::nothing>(view.projection, b.seven, tokens, 0, stride / PANEL, b.x, stride);
    quantize(b.x, stride, hidden, tokens, b.seven);
  }

  // Heads of texts: of every token's query, or of the first tokens' alone.
  void attention(const Layer& layer, bool first_only, Number* out) {
    const int64_t stride = view.sizes.stride(), wide = 3 * stride, heads = view.sizes.heads, size = view.sizes.hidden / heads;
    team.share(texts.count * heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) {
        const int64_t text = i / heads, column = i % heads * size, start = texts.starts[text];
        const int64_t length = texts.starts[text + 1] - start, asked = first_only ? text : start;
        const Number* queries = first_only ? b.first_qkv : b.qkv;
        attend(view, layer, i % heads, {queries + asked * wide + column, wide, first_only ? 1 : length},
               {b.qkv + start * wide + stride + column, wide, length},
               {b.qkv + start * wide + 2 * stride + column, wide, length}, size, out + asked * stride + column, stride,
               scratch());
      }
    });
  }

  void run_layer(const Layer& layer, bool last) {
    const int64_t n = view.sizes.hidden, stride = view.sizes.stride(), wide = 3 * stride, panels = stride / PANEL;
    const int64_t tokens = texts.tokens(), padded = round_up(n, K_ALIGNED);
    if (!last) {
      linear<Then::nothing>(layer.qkv, b.seven, tokens, 0, 3 * panels, b.qkv, wide);
    } else {
      linear<Then::nothing>(layer.qkv, b.seven, tokens, panels, 3 * panels, b.qkv, wide);
      team.share(texts.count, 16, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; i++) {
          const int64_t from = texts.starts[i];
          memcpy(b.first_x + i * stride, b.x + from * stride, size_t(stride) * sizeof(Number));
          memcpy(b.first.q + i * padded, b.seven.q + from * padded, size_t(padded));
          b.first.rows[i] = b.seven.rows[from];
        }
      });
      linear<Then::nothing>(layer.qkv, b.first, texts.count, 0, panels, b.first_qkv, wide);
    }
    const int64_t m = last ? texts.count : tokens;
    const Seven seven = last ? b.first : b.seven;
    Number *x = last ? b.first_x : b.x, *mixed = b.inner;
    attention(layer, last, mixed);
    quantize(mixed, stride, n, m, seven);
    linear<Then::residual>(layer.attention_out, seven, m, 0, panels, x, stride);
    norm(layer.after_attention, x, m, seven);
    const int64_t inner = view.sizes.inner();
    if (view.sizes.activation == 0)
      linear<Then::gelu>(layer.ffn_in, seven, m, 0, inner / PANEL, b.inner, inner, layer.gelu_bits);
    else
      linear<Then::relu>(layer.ffn_in, seven, m, 0, inner / PANEL, b.inner, inner);
    quantize(b.inner, inner, view.sizes.ffn, m, seven);
    linear<Then::residual>(layer.ffn_out, seven, m, 0, panels, x, stride);
    norm(layer.after_ffn, x, m, seven);
  }

  void head(void* logits) {
    const int64_t stride = view.sizes.stride();
    Number* dense = b.first_qkv;
    linear<Then::nothing>(view.dense, b.first, texts.count, 0, stride / PANEL, dense, stride);
    team.share(texts.count, 8, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i++) logits_of(view, dense + i * stride, i, logits);
    });
  }

  void run(void* logits) {
    embeddings();
    const int64_t layers = view.sizes.layers, stored = view.sizes.stored();
    for (int64_t i = 0; i < layers; i++) run_layer(view.layers[i * stored / layers], i == layers - 1);
    head(logits);
  }
};

inline int64_t bytes_needed(const View& view, const Texts& texts, int32_t threads) {
  Arena arena = {nullptr};
  buffers(view, texts, threads, arena);
  return arena.used;
}

inline int64_t run(const View& view, const Texts& texts, Team& team, int32_t thread, char* memory, void* logits) {
  Arena arena = {memory};
  const Buffers b = buffers(view, texts, team.threads(), arena);
  Forward forward = {view, texts, b, team, thread, {}};
  forward.run(logits);
  return forward.cuts.total;
}
