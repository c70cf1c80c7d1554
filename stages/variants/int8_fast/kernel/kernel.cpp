// torch.ops.int8_fast, for TorchScript: shapes checked, buffers of each call, and threads, around
// int8_linear.h, attention.h and norm.h. What the names mean stands in dictionary.h.

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <atomic>
#include <optional>
#include <string_view>
#include <tuple>
#include <vector>

#include "attention.h"
#include "dictionary.h"
#include "int8_linear.h"
#include "norm.h"

namespace int8_fast {

using namespace safe_l;

// each(begin, end) over [0, count), by all threads. Whoever is free takes half of its share of what is
// left, so nobody waits long for a core that something else is using too.
template <typename Each>
void share(int64_t count, int64_t least, const Each& each) {
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), count / std::max<int64_t>(1, least));
  if (threads <= 1 || at::in_parallel_region()) return each(0, count);
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    for (int64_t begin = next; begin < count;) {
      const int64_t end = std::min(count, begin + std::max(least, (count - begin) / (2 * threads)));
      if (!next.compare_exchange_weak(begin, end)) continue;
      each(begin, end);
      begin = next;
    }
  });
}

const Tiles& checked_tiles(std::string_view instruction_set, int64_t products) {
  const Tiles* tiles = tiles_for(instruction_set, products);
  TORCH_CHECK(tiles, "instruction_set must be scalar, avx2, vnni or amx, and products 1, 2, 4, 8 or 16, ",
              "not '", instruction_set, "' and ", products);
  return *tiles;
}

using Block = decltype(&block<Then::nothing>);

Block checked_block(std::string_view activation) {
  if (activation == "gelu") return block<Then::gelu>;
  if (activation == "relu") return block<Then::relu>;
  TORCH_CHECK(activation == "none", "activation must be none, gelu or relu, not '", activation, "'");
  return block<Then::nothing>;
}

// What Python says of THE LAYOUT too, and the two numbers that THE BOUND rests on.
std::tuple<int64_t, int64_t, int64_t, int64_t> constants() {
  return {PANEL, K_ALIGNED, ACTIVATION_STEPS, LANE_LIMIT};
}

at::Tensor linear(const at::Tensor& x, const at::Tensor& packed, const at::Tensor& channels,
                  int64_t n, int64_t k, int64_t products, std::string_view instruction_set,
                  std::string_view activation) {
  TORCH_CHECK(k > 0, "a layer of no inputs cannot be multiplied");
  const int64_t padded = round_up(k, K_ALIGNED), panels = pieces(n, PANEL), wide = panels * PANEL;
  TORCH_CHECK(x.dim() == 2 && x.size(1) == k && x.scalar_type() == at::kFloat,
              "x must be float32 of shape (rows, ", k, "), not ", x.sizes());
  TORCH_CHECK(packed.is_contiguous() && packed.scalar_type() == at::kChar &&
                  packed.numel() == wide * padded,
              "packed does not belong to a layer of ", n, " x ", k);
  TORCH_CHECK(channels.is_contiguous() && channels.scalar_type() == at::kFloat &&
                  channels.numel() == 3 * wide,
              "channels must hold scales, sums and biases, float32 (3, ", wide, ")");
  const Tiles& tiles = checked_tiles(instruction_set, products);
  const Block run = checked_block(activation);
  const at::Tensor input = x.contiguous();
  const int64_t m = input.size(0);
  at::Tensor y = at::empty({m, n}, x.options());
  if (m == 0 || n == 0) return y;
  const auto* c = channels.data_ptr<float>();
  const Linear layer = {n, k, padded, products, packed.data_ptr<int8_t>(), c, c + wide, c + 2 * wide};
  // Of this call alone: two Python threads may call at once.
  const at::Tensor bytes = at::empty({m * padded}, at::kByte);
  const at::Tensor pairs = at::empty({m, 2}, at::kFloat);
  auto* q = bytes.data_ptr<uint8_t>();
  auto* rows = reinterpret_cast<Row*>(pairs.data_ptr<float>());
  const auto* from = input.data_ptr<float>();
  share(m, 16384 / padded + 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) rows[r] = to_seven_bits(from + r * k, k, padded, q + r * padded);
  });
  auto* out = y.data_ptr<float>();
  // Cut by columns, and by rows as well where there are too few columns for so many threads.
  const int64_t parts = pieces(4 * at::get_num_threads(), panels);
  const int64_t tall = rows_at_once(round_up(pieces(m, parts), tiles.rows), padded, tiles);
  share(pieces(m, tall) * panels, 1, [&](int64_t begin, int64_t end) {
    const at::Tensor sums = at::empty({tall * PANEL}, at::kInt);  // which torch aligns to 64 bytes
    Cuts cuts;
    while (begin < end) {
      const int64_t top = begin / panels * tall, first = begin % panels;
      const int64_t last = std::min(panels, first + end - begin);
      run(layer, tiles, {q, rows}, top, std::min(top + tall, m), first, last, 0, out + top * n, n,
          sums.data_ptr<int32_t>(), cuts);
      begin += last - first;
    }
  });
  return y;
}

// Shapes alone, for torch.compile.
at::Tensor linear_meta(const at::Tensor& x, const at::Tensor&, const at::Tensor&, int64_t n,
                       int64_t, int64_t, std::string_view, std::string_view) {
  return at::empty_symint({x.sym_size(0), n}, x.options());
}

at::Tensor attention_meta(const at::Tensor& query, const at::Tensor&, const at::Tensor&,
                          const at::Tensor&, const at::Tensor&, int64_t,
                          const std::optional<at::Tensor>&) {
  return at::empty_symint({query.sym_size(0), query.sym_size(1)}, query.options());
}

void check_texts(const at::Tensor& rows, const at::Tensor& starts, int64_t texts, int64_t hidden) {
  TORCH_CHECK(rows.dim() == 2 && rows.scalar_type() == at::kFloat && rows.size(1) == hidden &&
                  (rows.size(0) < 2 || rows.stride(0) >= hidden) && rows.stride(1) == 1,
              "queries, keys and values must be float32 (rows, ", hidden, "), not ", rows.sizes());
  TORCH_CHECK(starts.dim() == 1 && starts.is_contiguous() && starts.scalar_type() == at::kLong &&
                  starts.size(0) == texts + 1,
              "starts must be int64 (", texts + 1, ")");
  const auto* start = starts.data_ptr<int64_t>();
  TORCH_CHECK(start[0] == 0 && start[texts] == rows.size(0) &&
                  std::is_sorted(start, start + texts + 1),
              "starts must rise from 0 to ", rows.size(0));
}

// Texts one behind the other; text i has rows starts[i] to starts[i + 1] of queries, or of keys and
// values, and heads side by side in each row.
at::Tensor attention(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                     const at::Tensor& query_starts, const at::Tensor& key_starts, int64_t heads,
                     const std::optional<at::Tensor>& by_distance) {
  const int64_t texts = key_starts.numel() - 1, hidden = query.size(1);
  TORCH_CHECK(texts >= 0 && heads > 0 && hidden % heads == 0, "no whole number of columns per head");
  check_texts(query, query_starts, texts, hidden);
  check_texts(key, key_starts, texts, hidden);
  check_texts(value, key_starts, texts, hidden);
  const int64_t size = hidden / heads;
  const int64_t distances = by_distance ? by_distance->size(-1) : 0;
  if (by_distance)
    TORCH_CHECK(by_distance->dim() == 2 && by_distance->size(0) == heads && distances % 2 &&
                    by_distance->is_contiguous() && by_distance->scalar_type() == at::kFloat,
                "by_distance must be float32 (heads, 2 positions - 1)");
  const float* added = by_distance ? by_distance->data_ptr<float>() + distances / 2 : nullptr;
  at::Tensor out = at::empty({query.size(0), hidden}, query.options());
  const auto* query_start = query_starts.data_ptr<int64_t>();
  const auto* key_start = key_starts.data_ptr<int64_t>();
  const auto *q = query.data_ptr<float>(), *k = key.data_ptr<float>(), *v = value.data_ptr<float>();
  auto* mixed = out.data_ptr<float>();
  share(texts * heads, 1, [&](int64_t begin, int64_t end) {
    thread_local std::vector<char> scratch;
    for (int64_t i = begin; i < end; i++) {
      const int64_t text = i / heads, column = i % heads * size;
      const auto head = [&](const at::Tensor& of, const float* first, const int64_t* start) {
        const int64_t stride = of.stride(0), count = start[text + 1] - start[text];
        return Head{first + start[text] * stride + column, stride, count};
      };
      const int64_t length = key_start[text + 1] - key_start[text];
      if (added) TORCH_CHECK(2 * length - 1 <= distances, "a text is longer than by_distance knows");
      scratch.resize(scratch_bytes(length, size));
      attend(head(query, q, query_start), head(key, k, key_start), head(value, v, key_start), size,
             added ? added + i % heads * distances : nullptr, mixed + query_start[text] * hidden + column, hidden,
             scratch.data());
    }
  });
  return out;
}

// x = LayerNorm(x + other), row by row.
void add_norm_(at::Tensor& x, const at::Tensor& other, const at::Tensor& weight,
               const at::Tensor& bias, double eps) {
  TORCH_CHECK(x.dim() == 2 && other.sizes() == x.sizes(), "x and what is added must be of one shape ",
              "(rows, hidden), not ", x.sizes(), " and ", other.sizes());
  const int64_t n = x.size(1);
  TORCH_CHECK(weight.numel() == n && bias.numel() == n, "weight and bias must be (", n, ")");
  for (const at::Tensor& each : {at::Tensor(x), other, weight, bias})
    TORCH_CHECK(each.scalar_type() == at::kFloat && each.is_contiguous(),
                "only contiguous float32 can be normalized");
  auto* sums = x.data_ptr<float>();
  const auto *b = other.data_ptr<float>(), *w = weight.data_ptr<float>(), *c = bias.data_ptr<float>();
  share(x.size(0), 16384 / (n + 1) + 1, [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++)
      add_and_normalize(sums + r * n, b + r * n, w, c, float(eps), n);
  });
}

void add_norm_meta(at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, double) {}

// The sums alone, for tests: q times packed, int32 (m, n).
at::Tensor products_of(const at::Tensor& q, const at::Tensor& packed, int64_t n, int64_t products,
                       std::string_view instruction_set) {
  TORCH_CHECK(q.dim() == 2 && q.is_contiguous() && q.scalar_type() == at::kByte,
              "q must be uint8 of shape (rows, padded k)");
  const int64_t m = q.size(0), k = q.size(1), panels = pieces(n, PANEL);
  TORCH_CHECK(packed.is_contiguous() && packed.scalar_type() == at::kChar, "packed must be int8");
  TORCH_CHECK(k % K_ALIGNED == 0 && packed.numel() == panels * PANEL * k, "shapes do not fit");
  const Tiles& tiles = checked_tiles(instruction_set, products);
  const at::Tensor all = at::zeros({panels, m, PANEL}, at::kInt);
  alignas(64) int32_t sums[MOST_ROWS * PANEL];
  tiles.enter();
  for (int64_t panel = 0; panel < panels; panel++)
    for (int64_t row = 0; row < m; row += tiles.rows) {
      const int64_t count = std::min(tiles.rows, m - row);
      std::fill(sums, sums + count * PANEL, 0);
      const auto* b = packed.data_ptr<int8_t>() + panel * PANEL * k;
      tiles.of[count - 1](q.data_ptr<uint8_t>() + row * k, k, b, k, Ahead{}, sums);
      std::copy(sums, sums + count * PANEL, all.data_ptr<int32_t>() + (panel * m + row) * PANEL);
    }
  tiles.leave();
  return all.permute({1, 0, 2}).reshape({m, panels * PANEL}).slice(1, 0, n);
}

TORCH_LIBRARY(int8_fast, library) {
  library.def(
      "linear(Tensor x, Tensor packed, Tensor channels, int n, int k, int products, "
      "str instruction_set, str activation) -> Tensor");
  library.def(
      "attention(Tensor query, Tensor key, Tensor value, Tensor query_starts, Tensor key_starts, "
      "int heads, Tensor? by_distance=None) -> Tensor");
  library.def("add_norm_(Tensor(a!) x, Tensor other, Tensor weight, Tensor bias, float eps) -> ()");
  library.def("products(Tensor q, Tensor packed, int n, int products, str instruction_set) -> Tensor");
  library.def("constants() -> (int panel, int k_aligned, int activation_steps, int lane_limit)", constants);
}

TORCH_LIBRARY_IMPL(int8_fast, CPU, library) {
  library.impl("linear", linear);
  library.impl("attention", attention);
  library.impl("add_norm_", add_norm_);
  library.impl("products", products_of);
}

TORCH_LIBRARY_IMPL(int8_fast, Meta, library) {
  library.impl("linear", linear_meta);
  library.impl("attention", attention_meta);
  library.impl("add_norm_", add_norm_meta);
}

}  // namespace int8_fast
