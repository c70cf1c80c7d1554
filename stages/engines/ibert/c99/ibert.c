/* The definition of everything here is docs/ibert.md; names and order follow it. */
#include "ibert.h"

/* ---- Notation ---- */

/* C99 leaves >> of a negative number to the compiler. This form does not, and costs the same instruction. */
static int32_t shr(int32_t a, int32_t s) { return a < 0 ? ~(~a >> s) : a >> s; }
static int64_t shr64(int64_t a, int32_t s) { return a < 0 ? ~(~a >> s) : a >> s; }
static int32_t min32(int32_t a, int32_t b) { return a < b ? a : b; }
static int32_t max32(int32_t a, int32_t b) { return a > b ? a : b; }
static int32_t clamp(int32_t a, int32_t low, int32_t high) { return a < low ? low : a > high ? high : a; }
static int32_t sat16(int64_t a) { return a < -32768 ? -32768 : a > 32767 ? 32767 : (int32_t)a; }
static int32_t mulhrs(int32_t a, int32_t b) { return shr(a * b + (1 << 14), 15); }
static int64_t rshr(int64_t a, int32_t s) { return s > 0 ? shr64(a + ((int64_t)1 << (s - 1)), s) : a; }

static int32_t bits(uint64_t a) {
  int32_t n = 0;
  for (; a > 0; a >>= 1) n++;
  return n;
}

static int64_t isqrt64(uint64_t a) {
  uint64_t root = 0, bit = (uint64_t)1 << 62;
  while (bit > a) bit >>= 2;
  for (; bit > 0; bit >>= 2) {
    if (a >= root + bit) {
      a -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
  }
  return (int64_t)root;
}

static int64_t up(int64_t a, int64_t b) { return (a + b - 1) / b * b; }

/* ---- The file ---- */

/* Byte by byte: right for every alignment and byte order, and one load where the machine allows it. */
static int32_t load16(const uint8_t *p, int64_t i) {
  p += 2 * i;
  return (int16_t)(uint16_t)((uint32_t)p[0] | (uint32_t)p[1] << 8);
}

static int32_t load32(const uint8_t *p, int64_t i) {
  p += 4 * i;
  return (int32_t)((uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24);
}

enum { QKV, ATTENTION_OUT, FFN_IN, FFN_OUT, LINEARS };
enum { MODEL_INTS = 32, LAYER_INTS = 20, PANEL = 16 };

typedef struct {
  int32_t hidden, layers, heads, ffn, words, positions, types, first_position, outputs, relu, head_relu;
  int32_t logit_shift, logit_exponent, embeddings_eps, root_of_n, size, padded;
  const uint8_t *scalars, *layer_scalars, *weight, *weight_sum, *head_bias, *vectors, *norms, *head_weight;
  const uint8_t *table_multiplier, *table_weight;
  int64_t bytes;
} model;

typedef struct {
  const int8_t *weight;
  const uint8_t *weight_sum, *multiplier, *bias, *limit;
  int32_t k, shift, gain;
} linear;

/* Linear `index` in the file's order; index = 4 layers is head.dense. */
static int32_t linear_inputs(const model *m, int32_t index) {
  return index < LINEARS * m->layers && index % LINEARS == FFN_OUT ? m->ffn : m->hidden;
}

static int32_t linear_outputs(const model *m, int32_t index) {
  if (index == LINEARS * m->layers) return m->padded;
  if (index % LINEARS == QKV) return 3 * m->padded;
  return index % LINEARS == FFN_IN ? (int32_t)up(m->ffn, PANEL) : m->padded;
}

/* Offsets are summed up anew each time: a table of them would grow with the layers, and there is no heap. */
static int64_t linear_offset(const model *m, int32_t index, int64_t *outputs) {
  int64_t weights = 0;
  *outputs = 0;
  for (int32_t i = 0; i < index; i++) {
    weights += linear_outputs(m, i) * up(linear_inputs(m, i), 64);
    *outputs += linear_outputs(m, i);
  }
  return weights;
}

static linear find_linear(const model *m, int32_t index) {
  int32_t n = linear_outputs(m, index);
  int64_t before;
  int64_t weights = linear_offset(m, index, &before);
  const uint8_t *scalars = m->scalars + 4 * 12;
  linear f;
  if (index < LINEARS * m->layers)
    scalars = m->layer_scalars + 4 * (index / LINEARS * LAYER_INTS + index % LINEARS * 3);
  f.weight = (const int8_t *)m->weight + weights;
  f.weight_sum = m->weight_sum + 4 * before;
  f.multiplier = m->vectors + 2 * 3 * before;
  f.bias = f.multiplier + 2 * n;
  f.limit = f.bias + 2 * n;
  f.k = linear_inputs(m, index);
  f.shift = load32(scalars, 0);
  f.gain = load32(scalars, 1);
  return f;
}

static int between(int32_t a, int32_t low, int32_t high) { return low <= a && a <= high; }

/* Reads the sizes and nothing behind them. The bounds keep every sum of this file inside its integer type. */
static int read_sizes(const void *data, model *m) {
  const uint8_t *s = (const uint8_t *)data;
  int64_t tables, weights, outputs;
  if (load32(s, 0) != 1) return IBERT_BAD_MODEL;
  m->hidden = load32(s, 1);
  m->layers = load32(s, 2);
  m->heads = load32(s, 3);
  m->ffn = load32(s, 4);
  m->words = load32(s, 5);
  m->positions = load32(s, 6);
  m->types = load32(s, 7);
  m->first_position = load32(s, 8);
  m->outputs = load32(s, 9);
  m->relu = load32(s, 10);
  m->head_relu = load32(s, 11);
  m->logit_shift = load32(s, 15);
  m->logit_exponent = load32(s, 16);
  m->embeddings_eps = load32(s, 17);
  m->root_of_n = load32(s, 19);
  if (!between(m->hidden, 1, 1 << 16) || !between(m->layers, 1, 1 << 8) || !between(m->ffn, 1, 1 << 16) ||
      !between(m->heads, 1, m->hidden) || m->hidden % m->heads != 0 || m->hidden / m->heads > 128 ||
      !between(m->words, 1, 1 << 24) || !between(m->positions, 1, 1 << 20) ||
      !between(m->types, 0, 1 << 20) || !between(m->first_position, 0, m->positions - 1) ||
      !between(m->outputs, 1, 1 << 20) || !between(m->relu, 0, 1) || !between(m->head_relu, 0, 1) ||
      !between(m->logit_shift, 1, 62) || m->embeddings_eps < 1 || m->root_of_n < 0)
    return IBERT_BAD_MODEL;
  m->size = m->hidden / m->heads;
  m->padded = (int32_t)up(m->hidden, PANEL);
  tables = (int64_t)m->words + m->positions + m->types;
  weights = linear_offset(m, LINEARS * m->layers + 1, &outputs);
  m->scalars = s;
  m->layer_scalars = s + 4 * MODEL_INTS;
  m->weight = m->layer_scalars + 4 * LAYER_INTS * up(m->layers, 4);
  m->weight_sum = m->weight + weights;
  m->head_bias = m->weight_sum + 4 * outputs;
  m->vectors = m->head_bias + 4 * (int64_t)m->outputs;
  m->norms = m->vectors + 2 * 3 * outputs;
  m->head_weight = m->norms + 2 * (1 + 2 * (int64_t)m->layers) * 2 * m->hidden;
  m->table_multiplier = m->head_weight + 2 * (int64_t)m->outputs * m->hidden;
  m->table_weight = m->table_multiplier + 2 * tables;
  m->bytes = m->table_weight - s + tables * m->hidden;
  return IBERT_OK;
}

/* Shifts that no model has would be undefined behaviour below, so they are refused here. */
static int read_model(const void *data, model *m) {
  if (read_sizes(data, m) != IBERT_OK) return IBERT_BAD_MODEL;
  for (int32_t i = 0; i <= LINEARS * m->layers; i++) {
    linear f = find_linear(m, i);
    if (!between(f.shift, -16, 31) || !between(f.gain, -16, 31)) return IBERT_BAD_MODEL;
  }
  for (int32_t i = 0; i < m->layers; i++) {
    const uint8_t *s = m->layer_scalars + 4 * LAYER_INTS * i;
    if (load32(s, 12) < 1 || load32(s, 13) < 1 || !between(load32(s, 14), 0, 31) ||
        !between(load32(s, 15), 0, 65535) || (!m->relu && !between(load32(s, 16), 1, 14)))
      return IBERT_BAD_MODEL;
  }
  return IBERT_OK;
}

/* ---- The operators ---- */

typedef struct {
  uint8_t *q;
  int32_t z, b, m;
} row7;

static void quantize_row(const int16_t *x, int32_t k, row7 *row) {
  int32_t lo = 0, hi = 0, R;
  for (int32_t i = 0; i < k; i++) {
    lo = min32(lo, x[i]);
    hi = max32(hi, x[i]);
  }
  R = (127 << 15) / max32(hi - lo, 128);
  row->z = mulhrs(-lo, R);
  row->b = bits((uint64_t)R);
  row->m = min32(((1 << (14 + row->b)) + R / 2) / R, 32767);
  for (int32_t i = 0; i < k; i++) row->q[i] = (uint8_t)clamp(mulhrs(x[i], R) + row->z, 0, 127);
  /* The weights behind k are zeros, but what is multiplied by them must have been written. */
  for (int32_t i = k; i % 4 != 0; i++) row->q[i] = 0;
}

static int32_t linear_output(const linear *f, int32_t output, const row7 *row, int32_t sum) {
  int64_t acc = sum - (int64_t)row->z * load32(f->weight_sum, output);
  int32_t a = sat16(f->shift > 0 ? rshr(acc, f->shift) : acc * (1 << -f->shift));
  int32_t y = mulhrs(mulhrs(a, load16(f->multiplier, output)), row->m);
  int32_t t = row->b - f->gain, limit = load16(f->limit, output);
  if (t > 0) y = shr(min32(y + (1 << (t - 1)), 32767), t);
  else y = sat16(y * ((int64_t)1 << -t));
  return clamp(y + load16(f->bias, output), -limit, limit);
}

/* Outputs first ... first + count - 1. Whole panels are computed, also where `count` cuts one. */
static void linear_row(const linear *f, int32_t first, int32_t count, const row7 *row, int16_t *out) {
  for (int32_t panel = first / PANEL; panel * PANEL < first + count; panel++) {
    const int8_t *w = f->weight + panel * (up(f->k, 64) * PANEL);
    int32_t sums[PANEL] = {0};
    for (int32_t i = 0; i < f->k; i += 4, w += 4 * PANEL) {
      const uint8_t *q = row->q + i;
      int32_t q0 = q[0], q1 = q[1], q2 = q[2], q3 = q[3];
      for (int32_t o = 0; o < PANEL; o++)
        sums[o] += q0 * w[4 * o] + q1 * w[4 * o + 1] + q2 * w[4 * o + 2] + q3 * w[4 * o + 3];
    }
    for (int32_t o = 0; o < PANEL; o++) {
      int32_t output = panel * PANEL + o;
      if (between(output, first, first + count - 1))
        out[output - first] = (int16_t)linear_output(f, output, row, sums[o]);
    }
  }
}

static int32_t gelu(int32_t y, int32_t g) {
  int32_t u = min32(y < 0 ? -y : y, 1 << g), d, c;
  if (y == 0) return 0;
  d = ((1 << g) - u) * (1 << (15 - g));
  c = mulhrs(d, 22980);
  c = mulhrs(d, c - 6714);
  c = mulhrs(d, c + 1104);
  return max32(y, 0) - mulhrs(u, c);
}

static int32_t power(int32_t w) {
  int32_t n = min32(w >> 11, 12), f = (w & 2047) << 4;
  int32_t p = 32767 + mulhrs(f, mulhrs(f, 5687) - 22034);
  return n < 12 ? mulhrs(p, 1 << (11 - n)) : 0;
}

/* One query of one head. A key and a value have `size` numbers; `scores`: room for a number per token. */
static void attention(const int16_t *query, const int16_t *keys, const int16_t *values, int32_t tokens,
                      int32_t size, int32_t shift, int32_t factor, int32_t *scores, int16_t *out) {
  int32_t highest = INT32_MIN, k, M;
  int64_t E = 0;
  for (int32_t j = 0; j < tokens; j++) {
    const int16_t *key = keys + (int64_t)j * size;
    int32_t s = 0;
    for (int32_t i = 0; i < size; i++) s += query[i] * key[i];
    scores[j] = s;
    highest = max32(highest, s);
  }
  for (int32_t j = 0; j < tokens; j++) {
    /* The difference of two int32 needs the 32nd bit. */
    uint32_t t = ((uint32_t)highest - (uint32_t)scores[j]) >> shift;
    if (t > 65535) t = 65535;
    scores[j] = power((int32_t)(t * (uint32_t)factor >> 16));
    E += scores[j];
  }
  k = bits((uint64_t)E) - 4;
  M = (int32_t)(((int64_t)1 << (18 + k)) / E);
  M = min32(M, 32767);
  for (int32_t i = 0; i < size; i++) {
    int64_t sum = 0;
    for (int32_t j = 0; j < tokens; j++) sum += scores[j] * values[(int64_t)j * size + i];
    out[i] = (int16_t)mulhrs((int32_t)rshr(sum, k), M);
  }
}

static void add(int16_t *y, const int16_t *x, int32_t n) {
  for (int32_t i = 0; i < n; i++) y[i] = (int16_t)sat16(y[i] + x[i]);
}

/* `h` and `out` may be the same row. `index`: of the LayerNorm in the file's order. */
static void layer_norm(const model *m, int32_t index, int32_t eps, const int16_t *h, int16_t *out) {
  int32_t n = m->hidden, mean, a, M;
  const uint8_t *gamma = m->norms + (int64_t)index * 4 * n, *beta = gamma + 2 * n;
  int64_t sum = 0, top, r;
  uint64_t V = (uint64_t)eps;
  for (int32_t i = 0; i < n; i++) sum += h[i];
  /* C's division rounds to zero, the mean rounds down. */
  top = 2 * sum + n;
  mean = (int32_t)(top < 0 ? -((2 * n - 1 - top) / (2 * n)) : top / (2 * n));
  for (int32_t i = 0; i < n; i++) {
    int32_t y = sat16(h[i] - mean);
    V += (uint64_t)(y * y);
  }
  r = isqrt64(V << 16);
  a = max32(15 - bits((uint64_t)r >> 8), 0);
  top = ((int64_t)m->root_of_n << (15 - a)) / r;
  M = top < 32767 ? (int32_t)top : 32767;
  for (int32_t i = 0; i < n; i++) {
    int32_t y = sat16(h[i] - mean);
    out[i] = (int16_t)sat16(mulhrs(mulhrs(y * (1 << a), M), load16(gamma, i)) + load16(beta, i));
  }
}

static int32_t tanh_q15(int32_t p) {
  int32_t w = ((p < 0 ? -p : p) * 23637) >> 10, f = w & 32767;
  int32_t e = (32767 + mulhrs(f, mulhrs(f, mulhrs(f, -1298) + 7575) - 22662)) >> min32(w >> 15, 31);
  int32_t y = min32(((32768 - e) << 15) / (32768 + e), 32767);
  return p < 0 ? -y : y;
}

/* ---- The model ---- */

/* Keys and values exist for one head at a time. The rows of x are then quantized once per head, which is
   little beside the products, and a token needs two rows of `hidden` instead of three. */
typedef struct {
  int32_t *scores;
  int16_t *x, *context, *shared;
  uint8_t *q;
} buffers;

/* Numbers in `shared`: one head's query, keys and values, and when they are done with, a row of ffn. */
static int64_t shared_length(const model *m, int32_t tokens) {
  int64_t attending = (2 * (int64_t)tokens + 1) * m->size;
  return attending > m->ffn ? attending : m->ffn;
}

static int64_t arena_bytes(const model *m, int32_t tokens) {
  int64_t numbers = 2 * (int64_t)tokens * m->hidden + shared_length(m, tokens);
  return up(4 * (int64_t)tokens + 2 * numbers + up(max32(m->hidden, m->ffn), 4), 8);
}

static buffers divide_arena(const model *m, int32_t tokens, void *arena) {
  int64_t rows = (int64_t)tokens * m->hidden;
  buffers b;
  b.scores = (int32_t *)arena;
  b.x = (int16_t *)(b.scores + tokens);
  b.context = b.x + rows;
  b.shared = b.context + rows;
  b.q = (uint8_t *)(b.shared + shared_length(m, tokens));
  return b;
}

static void embed(const model *m, int32_t id, int32_t position, int32_t type, int16_t *out) {
  int64_t rows[3];
  int32_t tables = m->types > 0 ? 3 : 2;
  rows[0] = id;
  rows[1] = (int64_t)m->words + position;
  rows[2] = (int64_t)m->words + m->positions + type;
  for (int32_t i = 0; i < m->hidden; i++) {
    int32_t sum = 0;
    for (int32_t t = 0; t < tables; t++) {
      int32_t weight = ((const int8_t *)m->table_weight)[rows[t] * m->hidden + i];
      sum += mulhrs(weight * 256, load16(m->table_multiplier, rows[t]));
    }
    out[i] = (int16_t)sat16(sum);
  }
  layer_norm(m, 0, m->embeddings_eps, out, out);
}

static void attend(const model *m, int32_t layer, int32_t tokens, int32_t queries, const buffers *b) {
  linear qkv = find_linear(m, LINEARS * layer + QKV);
  const uint8_t *scalars = m->layer_scalars + 4 * LAYER_INTS * layer;
  int32_t size = m->size;
  int16_t *query = b->shared, *keys = query + size, *values = keys + (int64_t)tokens * size;
  row7 row = {0, 0, 0, 0};
  row.q = b->q;
  for (int32_t column = 0; column < m->hidden; column += size) {
    for (int32_t j = 0; j < tokens; j++) {
      quantize_row(b->x + (int64_t)j * m->hidden, m->hidden, &row);
      linear_row(&qkv, m->padded + column, size, &row, keys + (int64_t)j * size);
      linear_row(&qkv, 2 * m->padded + column, size, &row, values + (int64_t)j * size);
    }
    for (int32_t i = 0; i < queries; i++) {
      quantize_row(b->x + (int64_t)i * m->hidden, m->hidden, &row);
      linear_row(&qkv, column, size, &row, query);
      attention(query, keys, values, tokens, size, load32(scalars, 14), load32(scalars, 15), b->scores,
                b->context + (int64_t)i * m->hidden + column);
    }
  }
}

/* All of a layer that looks at one token alone; x becomes the layer's result, context is used up. */
static void finish_token(const model *m, int32_t layer, const linear *linears, int16_t *x, int16_t *context,
                         const buffers *b) {
  const uint8_t *scalars = m->layer_scalars + 4 * LAYER_INTS * layer;
  int32_t n = m->hidden, g = load32(scalars, 16);
  row7 row = {0, 0, 0, 0};
  row.q = b->q;
  quantize_row(context, n, &row);
  linear_row(&linears[ATTENTION_OUT], 0, n, &row, context);
  add(context, x, n);
  layer_norm(m, 1 + 2 * layer, load32(scalars, 12), context, x);
  quantize_row(x, n, &row);
  linear_row(&linears[FFN_IN], 0, m->ffn, &row, b->shared);
  for (int32_t i = 0; i < m->ffn; i++)
    b->shared[i] = (int16_t)(m->relu ? max32(b->shared[i], 0) : gelu(b->shared[i], g));
  quantize_row(b->shared, m->ffn, &row);
  linear_row(&linears[FFN_OUT], 0, n, &row, context);
  add(context, x, n);
  layer_norm(m, 2 + 2 * layer, load32(scalars, 13), context, x);
}

static void head(const model *m, const buffers *b, int32_t *logits) {
  linear dense = find_linear(m, LINEARS * m->layers);
  int16_t *inner = b->context;
  row7 row = {0, 0, 0, 0};
  row.q = b->q;
  quantize_row(b->x, m->hidden, &row);
  linear_row(&dense, 0, m->hidden, &row, inner);
  for (int32_t i = 0; i < m->hidden; i++)
    inner[i] = (int16_t)(m->head_relu ? max32(inner[i], 0) : tanh_q15(inner[i]));
  for (int32_t o = 0; o < m->outputs; o++) {
    int64_t sum = 0;
    for (int32_t i = 0; i < m->hidden; i++)
      sum += inner[i] * load16(m->head_weight, (int64_t)o * m->hidden + i);
    logits[o] = (int32_t)(rshr(sum, m->logit_shift) + load32(m->head_bias, o));
  }
}

static int length_fits(const model *m, int32_t tokens) {
  return between(tokens, 1, m->positions - m->first_position);
}

/* ---- The interface ---- */

const void *ibert_data(const void *file, int64_t bytes) {
  const uint8_t *p = (const uint8_t *)file;
  int64_t length;
  model m;
  if (p == 0 || bytes < 8 || load32(p, 0) < 0 || load32(p, 1) != 0) return 0;
  length = load32(p, 0);
  if (bytes - 8 - length < 4 * MODEL_INTS) return 0;
  p += 8 + length;
  /* The layers' scalars lie behind the sizes: they are read once all of the file is known to be there. */
  if (read_sizes(p, &m) != IBERT_OK || m.bytes != bytes - 8 - length) return 0;
  return read_model(p, &m) == IBERT_OK ? p : 0;
}

int32_t ibert_outputs(const void *data) {
  model m;
  return read_sizes(data, &m) == IBERT_OK ? m.outputs : 0;
}

int32_t ibert_exponent(const void *data) {
  model m;
  return read_sizes(data, &m) == IBERT_OK ? m.logit_exponent : 0;
}

int64_t ibert_arena_bytes(const void *data, int32_t tokens) {
  model m;
  if (read_sizes(data, &m) != IBERT_OK || !length_fits(&m, tokens)) return 0;
  return arena_bytes(&m, tokens);
}

int ibert_logits(const void *data, const int32_t *ids, const int32_t *types, int32_t tokens, void *arena,
                 int32_t *logits) {
  model m;
  buffers b;
  if (read_model(data, &m) != IBERT_OK) return IBERT_BAD_MODEL;
  if (!length_fits(&m, tokens)) return IBERT_BAD_INPUT;
  for (int32_t j = 0; j < tokens; j++)
    if (!between(ids[j], 0, m.words - 1) || (types && m.types > 0 && !between(types[j], 0, m.types - 1)))
      return IBERT_BAD_INPUT;
  b = divide_arena(&m, tokens, arena);
  for (int32_t j = 0; j < tokens; j++)
    embed(&m, ids[j], m.first_position + j, types ? types[j] : 0, b.x + (int64_t)j * m.hidden);
  for (int32_t layer = 0; layer < m.layers; layer++) {
    /* Behind the last layer only the first token is looked at. */
    int32_t queries = layer == m.layers - 1 ? 1 : tokens;
    linear linears[LINEARS];
    for (int32_t i = 0; i < LINEARS; i++) linears[i] = find_linear(&m, LINEARS * layer + i);
    attend(&m, layer, tokens, queries, &b);
    for (int32_t i = 0; i < queries; i++)
      finish_token(&m, layer, linears, b.x + (int64_t)i * m.hidden, b.context + (int64_t)i * m.hidden, &b);
  }
  head(&m, &b, logits);
  return IBERT_OK;
}
