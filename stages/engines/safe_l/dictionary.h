// The names and the constants of all files here. int8_linear.h, next, tells how they play together.
//
// A layer computes y = activation(x W' + b):
//
//   m, n, k       rows of x, output channels, inputs: x is (m, k), W (n, k), y (m, n)
//   padded k      k rounded up to K_ALIGNED; the inputs in between are zeros
//   q             x in 7 bits, 0 to ACTIVATION_STEPS: uint8 (m, padded k), row-major
//   low, scale    of each row of q: x = low + scale * q
//   packed        W, int8, in the order of THE LAYOUT in int8_linear.h
//   channels      of each output channel: the scale of its weights; the sum of its weights times that
//                 scale, which is what `low` is multiplied by; its bias
//   sums          q times the packed weights, int32
//
// In pieces, from small to large:
//
//   step          STEP inputs of one row times those of a panel's channels: what one multiplication of
//                 each register takes; STEP_BYTES of weights
//   lane          one int16 of a register: of each step two neighbouring products
//   S, products   steps that a lane adds up before it is widened to int32
//   panel         PANEL output channels, all of padded k
//   tile          the sums of a few rows times one panel: what stays in registers
//   cut           the part of padded k that is multiplied at once, K_BLOCK at most
//   block         some rows times some panels: what one thread does at a time
//
// `a` and `b` are where a tile reads q and packed; `stride` is the distance from row to row.
//
// An instruction set is "scalar" (plain loops, what the others are compared with), "avx2", "vnni", which
// is AVX512-VNNI, or "amx", AMX-INT8. The last two stand for the best that the CPU has up to them: a traced
// model may run on another one.

#pragma once

#include <cstdint>

namespace safe_l {

inline constexpr int64_t STEP = 4;
inline constexpr int64_t PANEL = 16;
inline constexpr int64_t STEP_BYTES = STEP * PANEL;
inline constexpr int64_t MOST_PRODUCTS = 16;  // the largest S
inline constexpr int64_t K_ALIGNED = STEP * MOST_PRODUCTS;
inline constexpr int64_t K_BLOCK = 1024;        // of which a panel takes half of L1
inline constexpr int64_t ROWS_BYTES = 1 << 18;  // of q that stay in L2

inline constexpr int32_t ACTIVATION_STEPS = 127;
// What the weights of one sign in a lane may add up to: THE BOUND in int8_linear.h.
inline constexpr int32_t LANE_LIMIT = INT16_MAX / ACTIVATION_STEPS;

inline int64_t pieces(int64_t count, int64_t size) { return (count + size - 1) / size; }

inline int64_t round_up(int64_t count, int64_t multiple) { return pieces(count, multiple) * multiple; }

}  // namespace safe_l
