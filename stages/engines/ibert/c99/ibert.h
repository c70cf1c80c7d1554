/* A BERT classifier in integers alone; docs/ibert.md is its definition.
   No floating point, no heap, no state: all memory is the file, the arena and a kilobyte or two of stack. */
#ifndef IBERT_H
#define IBERT_H

#include <stdint.h>

enum { IBERT_OK = 0, IBERT_BAD_INPUT = 1, IBERT_BAD_MODEL = 2 };

/* `data` below: the model behind the safetensors header (see docs/ibert.md, "The file"). */

/* Pointer to `data` in a file held in memory (read, mapped, or in flash); a null pointer if it is cut off,
   longer than its sizes say, or no such file. The pointer needs no alignment, and the bytes may lie on a
   machine of either byte order. */
const void *ibert_data(const void *file, int64_t bytes);

/* Number of logits; the real logit is logit / 2^exponent. Both are 0 for another format. */
int32_t ibert_outputs(const void *data);
int32_t ibert_exponent(const void *data);

/* Bytes of arena that a text of `tokens` tokens needs; 0 for another format or a length without positions. */
int64_t ibert_arena_bytes(const void *data, int32_t tokens);

/* Logits of one text. ids: `tokens` token ids; types: as many token types, or a null pointer where all are 0;
   arena: aligned for int64_t; logits: one int32 per output. Returns IBERT_OK, or IBERT_BAD_INPUT for an id,
   type or length that the tables do not have, or IBERT_BAD_MODEL for another format. */
int ibert_logits(const void *data, const int32_t *ids, const int32_t *types, int32_t tokens, void *arena,
                 int32_t *logits);

#endif
