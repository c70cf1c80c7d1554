/* An integer-only BERT classifier (docs/ibert.md): five functions, no library but the system's.

   The same integers on every CPU, at every batch size and number of threads. A model may be used by several
   threads at once. */

#ifndef IBERT_CLASSIFY_H
#define IBERT_CLASSIFY_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ibert_model ibert_model;

/* Map `path`, a model.safetensors of docs/ibert.md; nothing of it is read before it is needed.
   instruction_set: "avx2", "vnni" (AVX512-VNNI), "amx" (AMX-INT8), "c99" (plain C), or "" for the best that
   this CPU has.
   Returns null on failure and writes one line, `error_bytes` at most, into `error`. */
ibert_model *ibert_open(const char *path, const char *instruction_set, char *error, int64_t error_bytes);

/* Numbers of a model: its outputs, by which power of two logits are divided, and how many tokens a text may have. */
void ibert_describe(const ibert_model *model, int32_t *outputs, int32_t *exponent, int32_t *longest);

/* Which kernel runs: one of the names above. */
const char *ibert_instruction_set(const ibert_model *model);

/* Logits of texts that lie one behind the other without padding: text i has the tokens starts[i] to
   starts[i + 1]. types: of each token, or null where all are 0. logits: texts x outputs.
   cuts: null, or where to add how many numbers were cut by a saturating step ("c99" does not count).
   Returns null, or what is wrong with the input; then no logit is written. */
const char *ibert_classify(const ibert_model *model, int32_t texts, const int64_t *starts, const int32_t *ids,
                           const int32_t *types, int32_t threads, int32_t *logits, int64_t *cuts);

void ibert_close(ibert_model *model);

#ifdef __cplusplus
}
#endif

#endif
