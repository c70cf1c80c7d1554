// All that is compiled once for each instruction set, from the bottom up.

#include "vectors.h"
#include "cuts.h"
#include "rows.h"
#include "linear.h"
#include "attention.h"
#include "forward.h"
