/* ibert_c99 MODEL < texts: the logits of each line `id id ... [| type type ...]`, as integers.
   ibert_c99 MODEL --arena N: the bytes of arena that N tokens need. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ibert.h"

static int fail(const char *what) {
  fprintf(stderr, "ibert_c99: %s\n", what);
  return 1;
}

static void *grow(void *memory, size_t bytes) {
  memory = realloc(memory, bytes);
  if (!memory) exit(fail("no memory"));
  return memory;
}

static char *read_file(const char *path, size_t *bytes) {
  FILE *file = fopen(path, "rb");
  size_t room = 1 << 20, got;
  char *text = grow(NULL, room);
  if (!file) exit(fail("cannot open the model"));
  *bytes = 0;
  while ((got = fread(text + *bytes, 1, room - *bytes, file)) > 0) {
    *bytes += got;
    if (*bytes == room) text = grow(text, room *= 2);
  }
  fclose(file);
  return text;
}

/* A null pointer behind the last line. */
static char *read_line(void) {
  size_t room = 256, length = 0;
  char *line = grow(NULL, room);
  int c;
  while ((c = getchar()) != EOF && c != '\n') {
    if (length + 2 > room) line = grow(line, room *= 2);
    line[length++] = (char)c;
  }
  line[length] = 0;
  if (c == EOF && length == 0) {
    free(line);
    return NULL;
  }
  return line;
}

static int32_t numbers(char *text, int32_t *out) {
  int32_t n = 0;
  for (char *end; ; text = end) {
    long a = strtol(text, &end, 10);
    if (end == text) break;
    out[n++] = a < -1 || a > INT32_MAX ? -1 : (int32_t)a;
  }
  while (*text == ' ' || *text == '\t' || *text == '\r') text++;
  if (*text) exit(fail("a line must be `id id ... [| type type ...]`"));
  return n;
}

int main(int argc, char **argv) {
  size_t bytes;
  const void *data;
  char *file, *line;
  int32_t *logits;
  if (argc != 2 && !(argc == 4 && strcmp(argv[2], "--arena") == 0))
    return fail("usage: ibert_c99 MODEL [--arena TOKENS] < texts");
  file = read_file(argv[1], &bytes);
  data = ibert_data(file, (int64_t)bytes);
  if (!data) return fail("no such model, or cut off");
  if (argc == 4) {
    printf("%lld\n", (long long)ibert_arena_bytes(data, (int32_t)strtol(argv[3], NULL, 10)));
    free(file);
    return 0;
  }
  logits = grow(NULL, (size_t)ibert_outputs(data) * sizeof *logits);
  while ((line = read_line()) != NULL) {
    size_t most = strlen(line) / 2 + 1;
    int32_t *ids = grow(NULL, 2 * most * sizeof *ids), *types = NULL, tokens;
    void *arena;
    char *bar = strchr(line, '|');
    if (bar) {
      *bar = 0;
      types = ids + most;
    }
    tokens = numbers(line, ids);
    if (types && numbers(bar + 1, types) != tokens) return fail("not as many types as ids");
    arena = grow(NULL, (size_t)ibert_arena_bytes(data, tokens) + 1);
    if (ibert_logits(data, ids, types, tokens, arena, logits) != IBERT_OK)
      return fail("bad id, type or length");
    for (int32_t o = 0; o < ibert_outputs(data); o++) printf(o ? " %ld" : "%ld", (long)logits[o]);
    printf("\n");
    free(arena);
    free(ids);
    free(line);
  }
  free(logits);
  free(file);
  return 0;
}
