// Preloaded into the command (LD_PRELOAD): counts what changes files below STOP_FOLDER, and at step
// STOP_AT ends the process in the middle of a write ("kill"), or lets that step fail, and every write
// after it that makes a file longer, as on a full disk ("full"). It then makes the file STOP_MARK.
// Or it goes on, after the file STOP_FILE was cut ("cut") or written to ("change"), or once there is such a file, having
// made STOP_MARK ("pause").
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long steps;
static int full;

static int is_below(const char *path) {
  const char *folder = getenv("STOP_FOLDER");
  return folder && strncmp(path, folder, strlen(folder)) == 0;
}

static int is_file_below(int descriptor) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0)
    return 0;
  path[length] = 0;
  return is_below(path);
}

static void mark(void) {
  const char *path = getenv("STOP_MARK");
  int descriptor = path ? open(path, O_CREAT | O_WRONLY, 0644) : -1;
  if (descriptor >= 0)
    close(descriptor);
}

static int is_now(void) {
  const char *at = getenv("STOP_AT"), *how = getenv("STOP_HOW"), *file = getenv("STOP_FILE");
  if (__sync_fetch_and_add(&steps, 1) != (at ? atol(at) : -1))
    return 0;
  if (!file)
    return 1;
  if (strcmp(how, "cut") == 0 && truncate(file, 4096) != 0)
    abort();
  if (strcmp(how, "change") == 0) {
    FILE *stream = fopen(file, "r+");
    int byte = stream ? fgetc(stream) : EOF; // the same one: the file's time alone tells
    if (byte == EOF || fseek(stream, 0, SEEK_SET) != 0 || fputc(byte, stream) == EOF || fclose(stream) != 0)
      abort();
  }
  if (strcmp(how, "pause") == 0)
    for (mark(); access(file, F_OK) != 0;)
      usleep(1000);
  return 0;
}

/// After half of the step was done: ends the process, or says that the disk is full.
static int stop(void) {
  mark();
  const char *how = getenv("STOP_HOW");
  if (!how || strcmp(how, "full") != 0)
    kill(getpid(), SIGKILL);
  full = 1;
  errno = ENOSPC;
  return -1;
}

static ssize_t do_write(int descriptor, const void *bytes, size_t count, off_t offset) {
  static ssize_t (*original)(int, const void *, size_t, off_t);
  if (!original)
    original = (ssize_t (*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
  if (!is_file_below(descriptor))
    return original(descriptor, bytes, count, offset);
  struct stat status;
  if (full && (fstat(descriptor, &status) != 0 || offset + (off_t)count > status.st_size)) {
    errno = ENOSPC;
    return -1;
  }
  if (!full && is_now()) {
    original(descriptor, bytes, count / 2, offset);
    return stop();
  }
  return original(descriptor, bytes, count, offset);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
  return do_write(descriptor, bytes, count, offset);
}
ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
  return do_write(descriptor, bytes, count, (off_t)offset);
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
  static ssize_t (*original)(int, const void *, size_t);
  if (!original)
    original = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
  if (!is_file_below(descriptor))
    return original(descriptor, bytes, count);
  if (full) {
    errno = ENOSPC;
    return -1;
  }
  if (is_now()) {
    original(descriptor, bytes, count / 2);
    return stop();
  }
  return original(descriptor, bytes, count);
}

static int do_truncate(int descriptor, off_t size) {
  static int (*original)(int, off_t);
  if (!original)
    original = (int (*)(int, off_t))dlsym(RTLD_NEXT, "ftruncate");
  // Cutting a file needs no room on the disk.
  if (!full && is_file_below(descriptor) && is_now())
    return stop();
  return original(descriptor, size);
}
int ftruncate(int descriptor, off_t size) { return do_truncate(descriptor, size); }
int ftruncate64(int descriptor, off64_t size) { return do_truncate(descriptor, (off_t)size); }

int fsync(int descriptor) {
  static int (*original)(int);
  if (!original)
    original = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
  if (!full && is_file_below(descriptor) && is_now())
    return stop();
  return original(descriptor);
}

int rename(const char *from, const char *to) {
  static int (*original)(const char *, const char *);
  if (!original)
    original = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
  if (!full && is_below(to) && is_now())
    return stop();
  return original(from, to);
}
