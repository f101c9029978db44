/* A disk that fails at the n-th event: loaded into a process with LD_PRELOAD.

Every write, sync, truncation and removal of a file under a prefix is an event. At the
n-th the process ends, as if killed, before the event is done. With `power` set the disk
forgets as well: of what was written and not synced since, each write stays or goes, by
the seed's draw, and the last one may stay by half. With `full` set nothing ends: from
the n-th event on, every write fails for want of space. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

struct change {
  char path[PATH_MAX];
  off_t at, size_before;
  size_t length, old_length;
  unsigned char *old, *new;
  struct change *next;
};

static struct change *unsynced; /* newest first */
static long events, deadline, syncs;
static int power, full;
static unsigned long draw;
static char prefix[PATH_MAX];

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

void fault_arm(const char *under, long nth, int with_power, int with_full, long seed) {
  strncpy(prefix, under, sizeof prefix - 1);
  deadline = nth;
  power = with_power;
  full = with_full;
  draw = (unsigned long)seed * 2654435761UL + 1;
  events = syncs = 0;
}

long fault_events(void) { return events; }

long fault_syncs(void) { return syncs; }

static int watched(int fd, char *path) {
  char link[64];
  if (!prefix[0]) return 0;
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, PATH_MAX - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return strncmp(path, prefix, strlen(prefix)) == 0;
}

static int coin(void) {
  draw = draw * 6364136223846793005UL + 1442695040888963407UL;
  return (int)(draw >> 33) & 1;
}

/* Undo every unsynced change, newest first; then do again those that stay, in order. */
static void lose(void) {
  ssize_t (*put)(int, const void *, size_t, off_t) = real("pwrite64");
  struct change *order = NULL;
  for (struct change *c = unsynced; c;) {
    struct change *next = c->next;
    char name[PATH_MAX];
    strcpy(name, c->path);
    int fd = open(name, O_RDWR);
    if (fd >= 0) {
      if (c->old_length) put(fd, c->old, c->old_length, c->at);
      if (ftruncate(fd, c->size_before)) _exit(99);
      close(fd);
    }
    c->next = order;
    order = c;
    c = next;
  }
  for (struct change *c = order; c; c = c->next) {
    if (coin()) continue;
    int fd = open(c->path, O_RDWR);
    size_t length = c->next || coin() ? c->length : c->length / 2;
    if (fd >= 0) {
      put(fd, c->new, length, c->at);
      close(fd);
    }
  }
}

/* Count an event; -1 if it has to fail. */
static int event(int is_write) {
  if (++events < deadline || deadline <= 0) return 0;
  if (full) return is_write ? -1 : 0;
  prefix[0] = 0;
  if (power) lose();
  _exit(137);
}

static void note(const char *path, int fd, const void *data, size_t length, off_t at) {
  struct stat status;
  struct change *c = calloc(1, sizeof *c);
  strcpy(c->path, path);
  fstat(fd, &status);
  c->at = at;
  c->length = length;
  c->size_before = status.st_size;
  c->new = memcpy(malloc(length + 1), data, length);
  c->old = malloc(length + 1);
  ssize_t found = pread(fd, c->old, length, at);
  c->old_length = found > 0 ? (size_t)found : 0;
  c->next = unsynced;
  unsynced = c;
}

static void settle(const char *path) {
  for (struct change **c = &unsynced; *c;) {
    if (strcmp((*c)->path, path) == 0) {
      struct change *gone = *c;
      *c = gone->next;
      free(gone->old);
      free(gone->new);
      free(gone);
    } else {
      c = &(*c)->next;
    }
  }
}

static int before_write(int fd, const void *data, size_t length, off_t at) {
  char path[PATH_MAX];
  if (!watched(fd, path)) return 0;
  if (event(1)) {
    errno = ENOSPC;
    return -1;
  }
  if (power) note(path, fd, data, length, at);
  return 0;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t at) {
  if (before_write(fd, data, length, at)) return -1;
  return ((ssize_t(*)(int, const void *, size_t, off64_t))real("pwrite64"))(
      fd, data, length, at);
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t at) {
  return pwrite64(fd, data, length, at);
}

ssize_t write(int fd, const void *data, size_t length) {
  if (before_write(fd, data, length, lseek(fd, 0, SEEK_CUR))) return -1;
  return ((ssize_t(*)(int, const void *, size_t))real("write"))(fd, data, length);
}

static int synced(int fd, const char *name) {
  char path[PATH_MAX];
  int mine = watched(fd, path);
  if (mine) {
    event(0);
    syncs++;
  }
  int result = ((int (*)(int))real(name))(fd);
  if (mine) settle(path);
  return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

int ftruncate64(int fd, off64_t length) {
  char path[PATH_MAX];
  if (watched(fd, path)) {
    event(0);
    settle(path); /* a file system keeps the order of truncations and writes */
  }
  return ((int (*)(int, off64_t))real("ftruncate64"))(fd, length);
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int unlink(const char *path) {
  if (prefix[0] && strncmp(path, prefix, strlen(prefix)) == 0) {
    event(0);
    settle(path);
  }
  return ((int (*)(const char *))real("unlink"))(path);
}
