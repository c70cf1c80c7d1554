// Stands between a process and its C library (LD_PRELOAD) and numbers what the process does to files
// below one folder: opening for writing, each write, rename, remove, make, truncate. At the n-th of
// these events it dies of SIGKILL, or from it on finds the disk full. Without faults_arm it does
// nothing; a program that is executed starts without a plan.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

// As Plan in events.py.
enum { OFF, COUNT, KILL, KILL_HALF_WRITTEN, FULL };
static int plan = OFF, log_file = -1;
static long nth;
static atomic_long seen;
static char root[PATH_MAX];
static size_t root_length;

void faults_arm(int plan_, long nth_, const char *root_, const char *log) {
  nth = nth_;
  atomic_store(&seen, 0);
  root_length = strlen(root_);
  memcpy(root, root_, root_length + 1);
  log_file = *log ? (int)syscall(SYS_openat, AT_FDCWD, log, O_CREAT | O_WRONLY | O_APPEND, 0600) : -1;
  plan = plan_;
}

void faults_disarm(void) { plan = OFF; }

static void die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

// The absolute path of `name`, which may be relative to a folder's descriptor; "" where there is none.
static const char *absolute(int folder, const char *name, char *path) {
  if (!name) return "";
  if (*name == '/') return name;
  char link[40];
  ssize_t length;
  if (folder == AT_FDCWD)
    length = getcwd(path, PATH_MAX) ? (ssize_t)strlen(path) : -1;
  else {
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    length = readlink(link, path, PATH_MAX - 1);
  }
  if (length < 0 || length + strlen(name) + 2 > PATH_MAX) return "";
  path[length] = '/';
  strcpy(path + length + 1, name);
  return path;
}

static bool ours(const char *path) {
  return !strncmp(path, root, root_length) && (path[root_length] == '/' || !path[root_length]);
}

// `kind`: + an event that needs space, - another one, . only read.
static void note(char kind, const char *what, const char *path) {
  if (log_file < 0) return;
  char line[PATH_MAX + 40];
  int length = snprintf(line, sizeof line, "%c %s %s\n", kind, what, path);
  if (syscall(SYS_write, log_file, line, (size_t)length)) {}
}

// Counts; dies where that is the plan. True where the disk is full and the event needs space.
static bool event(const char *what, const char *path, bool needs_space) {
  if (plan == OFF || !ours(path)) return false;
  long number = atomic_fetch_add(&seen, 1) + 1;
  note(needs_space ? '+' : '-', what, path);
  if (number == nth && (plan == KILL || plan == KILL_HALF_WRITTEN)) die();
  if (plan == FULL && number >= nth && needs_space) {
    errno = ENOSPC;
    return true;
  }
  return false;
}

static bool event_at(const char *what, int folder, const char *name, bool needs_space) {
  char path[PATH_MAX];
  return plan != OFF && event(what, absolute(folder, name, path), needs_space);
}

// Of a regular file that is open; "" of anything else.
static const char *path_of(int file, char *path) {
  struct stat facts;
  char link[40];
  if (fstat(file, &facts) || !S_ISREG(facts.st_mode)) return "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  path[length < 0 ? 0 : length] = 0;
  return path;
}

// Before a write of `size` bytes at `bytes`: where half of it shall be on the disk, writes that half.
static bool writes(int file, const void *bytes, size_t size) {
  if (plan == OFF) return false;
  char buffer[PATH_MAX];
  const char *path = path_of(file, buffer);
  if (plan == KILL_HALF_WRITTEN && ours(path) && atomic_load(&seen) + 1 == nth && bytes) {
    if (syscall(SYS_write, file, bytes, size / 2)) {}
    die();
  }
  return event("write", path, true);
}

static int opens(int folder, const char *name, int flags, mode_t mode) {
  char buffer[PATH_MAX];
  if (plan != OFF) {
    const char *path = absolute(folder, name, buffer);
    if ((flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC)) {
      bool is_new = flags & O_CREAT && faccessat(folder, name, F_OK, 0) != 0;
      if (event("open", path, is_new)) return -1;
    } else if (ours(path) && !(flags & O_DIRECTORY))
      note('.', "read", path);
  }
  return (int)syscall(SYS_openat, folder, name, flags, mode);
}

#define MODE(flags) \
  mode_t mode = 0; \
  if ((flags) & (O_CREAT | __O_TMPFILE)) { \
    va_list more; \
    va_start(more, flags); \
    mode = va_arg(more, mode_t); \
    va_end(more); \
  }

int open(const char *name, int flags, ...) { MODE(flags) return opens(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) {
  MODE(flags) return opens(AT_FDCWD, name, flags | O_LARGEFILE, mode);
}
int openat(int folder, const char *name, int flags, ...) {
  MODE(flags) return opens(folder, name, flags, mode);
}
int openat64(int folder, const char *name, int flags, ...) {
  MODE(flags) return opens(folder, name, flags | O_LARGEFILE, mode);
}
int __open_2(const char *name, int flags) { return opens(AT_FDCWD, name, flags, 0); }
int __open64_2(const char *name, int flags) { return opens(AT_FDCWD, name, flags, 0); }
int creat(const char *name, mode_t mode) {
  return opens(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

#define FOPEN(function) \
  FILE *function(const char *name, const char *how) { \
    static FILE *(*real)(const char *, const char *); \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #function); \
    char buffer[PATH_MAX]; \
    if (plan != OFF) { \
      const char *path = absolute(AT_FDCWD, name, buffer); \
      if (strpbrk(how, "wa+")) { \
        if (event("open", path, access(path, F_OK) != 0)) return NULL; \
      } else if (ours(path)) \
        note('.', "read", path); \
    } \
    return real(name, how); \
  }
FOPEN(fopen)
FOPEN(fopen64)

ssize_t write(int file, const void *bytes, size_t size) {
  return writes(file, bytes, size) ? -1 : syscall(SYS_write, file, bytes, size);
}
ssize_t pwrite(int file, const void *bytes, size_t size, off_t at) {
  return writes(file, NULL, size) ? -1 : syscall(SYS_pwrite64, file, bytes, size, at);
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t at) {
  return writes(file, NULL, size) ? -1 : syscall(SYS_pwrite64, file, bytes, size, at);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
  return writes(file, NULL, 0) ? -1 : syscall(SYS_writev, file, parts, count);
}
ssize_t sendfile(int to, int from, off_t *at, size_t size) {
  return writes(to, NULL, 0) ? -1 : syscall(SYS_sendfile, to, from, at, size);
}
ssize_t sendfile64(int to, int from, off64_t *at, size_t size) {
  return writes(to, NULL, 0) ? -1 : syscall(SYS_sendfile, to, from, at, size);
}
ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *there, size_t size, unsigned flags) {
  return writes(to, NULL, 0) ? -1 : syscall(SYS_copy_file_range, from, at, to, there, size, flags);
}
int ftruncate(int file, off_t size) {
  return writes(file, NULL, 0) ? -1 : (int)syscall(SYS_ftruncate, file, size);
}
int ftruncate64(int file, off64_t size) {
  return writes(file, NULL, 0) ? -1 : (int)syscall(SYS_ftruncate, file, size);
}
int rename(const char *from, const char *to) {
  event_at("rename", AT_FDCWD, to, false);
  return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}
int renameat(int folder, const char *from, int there, const char *to) {
  event_at("rename", there, to, false);
  return (int)syscall(SYS_renameat2, folder, from, there, to, 0);
}
int unlink(const char *name) {
  event_at("remove", AT_FDCWD, name, false);
  return (int)syscall(SYS_unlinkat, AT_FDCWD, name, 0);
}
int unlinkat(int folder, const char *name, int flags) {
  event_at("remove", folder, name, false);
  return (int)syscall(SYS_unlinkat, folder, name, flags);
}
int rmdir(const char *name) {
  event_at("remove", AT_FDCWD, name, false);
  return (int)syscall(SYS_unlinkat, AT_FDCWD, name, AT_REMOVEDIR);
}
int mkdir(const char *name, mode_t mode) {
  bool is_new = plan != OFF && access(name, F_OK) != 0;
  if (event_at("mkdir", AT_FDCWD, name, is_new)) return -1;
  return (int)syscall(SYS_mkdirat, AT_FDCWD, name, mode);
}
int mkdirat(int folder, const char *name, mode_t mode) {
  if (event_at("mkdir", folder, name, true)) return -1;
  return (int)syscall(SYS_mkdirat, folder, name, mode);
}
int link(const char *from, const char *to) {
  if (event_at("link", AT_FDCWD, to, true)) return -1;
  return (int)syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0);
}
int symlink(const char *from, const char *to) {
  if (event_at("link", AT_FDCWD, to, true)) return -1;
  return (int)syscall(SYS_symlinkat, from, AT_FDCWD, to);
}
