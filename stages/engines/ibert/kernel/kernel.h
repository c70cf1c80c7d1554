// All that is compiled once for each instruction set, from the bottom up.

#include "vectors.h"
#include "cuts.h"
#include "rows.h"
#include "block.h"
#include "linear.h"
#include "attention.h"

inline const char* tiles_of(const View& view) { return IBERT_AVX512 ? view.instruction_set : "avx2"; }

#include "forward.h"
