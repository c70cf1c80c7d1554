/* A BERT-type classifier in one file of weights: five functions, no library but the system's.

   A text's logits do not depend on what else is in a batch, nor on the number of threads. A model may be used by
   several threads at once. */

#ifndef CLASSIFY_H
#define CLASSIFY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct classify_model classify_model;

/* The exponent of a model whose logits are float. */
enum { CLASSIFY_FLOAT = INT32_MIN };

/* Map `path`, a model.safetensors; nothing of it is read before it is needed.
   instruction_set: "avx2", "vnni" (AVX512-VNNI), "amx" (AMX-INT8), "c99" (plain C, of an integer model), or "" for
   the best that this CPU has.
   Returns null on failure and writes one line, `error_bytes` at most, into `error`. */
classify_model *classify_open(const char *path, const char *instruction_set, char *error, int64_t error_bytes);

/* Numbers of a model: its outputs, by which power of two logits are divided, and how many tokens a text may have. */
void classify_describe(const classify_model *model, int32_t *outputs, int32_t *exponent, int32_t *longest);

/* Which kernel runs: one of the names above. */
const char *classify_instruction_set(const classify_model *model);

/* Logits of texts that lie one behind the other without padding: text i has the tokens starts[i] to
   starts[i + 1]. types: of each token, or null where all are 0.
   logits: texts x outputs; int32_t, to be divided by 2^exponent, or float where the exponent is CLASSIFY_FLOAT.
   cuts: null, or where to add how many numbers were cut by a saturating step ("c99" does not count).
   Returns null, or what is wrong with the input; then no logit is written. */
const char *classify_texts(const classify_model *model, int32_t texts, const int64_t *starts, const int32_t *ids,
                           const int32_t *types, int32_t threads, void *logits, int64_t *cuts);

void classify_close(classify_model *model);

#ifdef __cplusplus
}
#endif

#endif
