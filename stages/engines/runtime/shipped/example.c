/* example MODEL [INSTRUCTION_SET [THREADS]] < texts: how to call classify.h from C.

   Each line of the input is a text, `id id ... [| type type ...]` as a tokenizer gives them; all lines are one
   batch. Prints the logits of each, as real numbers; with INTEGERS in the environment, as they come. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "classify.h"

enum { MOST_TEXTS = 4096, MOST_TOKENS = 1 << 20, LINE = 1 << 16 };

static int64_t starts[MOST_TEXTS + 1];
static int32_t ids[MOST_TOKENS], types[MOST_TOKENS];
static char line[LINE];

/* Numbers of `text` into out[from], out[from + 1] ...; returns where the next one goes. */
static int64_t read_numbers(char *text, int32_t *out, int64_t from) {
  for (char *end; from < MOST_TOKENS; text = end) {
    const long number = strtol(text, &end, 10);
    if (end == text) break;
    out[from++] = (int32_t)number;
  }
  return from;
}

int main(int argc, char **argv) {
  char error[300];
  int32_t texts = 0, outputs, exponent, longest;
  classify_model *model;
  void *logits;
  const char *wrong;
  if (argc < 2) return fprintf(stderr, "usage: example MODEL [INSTRUCTION_SET [THREADS]] < texts\n"), 2;
  model = classify_open(argv[1], argc > 2 ? argv[2] : "", error, sizeof error);
  if (!model) return fprintf(stderr, "%s\n", error), 1;
  classify_describe(model, &outputs, &exponent, &longest);
  while (texts < MOST_TEXTS && fgets(line, LINE, stdin)) {
    char *bar = strchr(line, '|');
    if (bar) *bar = 0;
    starts[texts + 1] = read_numbers(line, ids, starts[texts]);
    if (bar) read_numbers(bar + 1, types, starts[texts]);
    texts++;
  }
  logits = calloc((size_t)texts * (size_t)outputs + 1, 4);
  wrong = classify_texts(model, texts, starts, ids, types, argc > 3 ? atoi(argv[3]) : 1, logits, NULL);
  if (wrong) return fprintf(stderr, "%s\n", wrong), 1;
  for (int32_t i = 0; i < texts * outputs; i++) {
    const char *behind = (i + 1) % outputs ? " " : "\n";
    if (exponent == CLASSIFY_FLOAT) printf("%.9g%s", ((float *)logits)[i], behind);
    else if (getenv("INTEGERS")) printf("%ld%s", (long)((int32_t *)logits)[i], behind);
    else printf("%.9g%s", ldexp(((int32_t *)logits)[i], -exponent), behind);
  }
  free(logits);
  classify_close(model);
  return 0;
}
