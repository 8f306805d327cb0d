/* Paths that the job failed to find, as --diagnose collects and names them. */
#ifndef SDEE_LAUNCHER_RUN_MISSES_H
#define SDEE_LAUNCHER_RUN_MISSES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "launcher/bundle/table.h"
#include "lib/arena.h"

struct miss {
    const char *path, *program; /* who wanted it: the file that the process executes */
    pid_t pid;
    const char *below; /* another one in it, by the same process: this is a directory that it looked for when that was not there; or NULL */
    bool in_directory; /* its directory was there */
    bool found; /* a later look by the same process found a file of this name elsewhere: it searched, and missed nothing */
};

struct misses {
    const char *seen; /* the job's root, as this process sees it */
    pthread_mutex_t lock;
    struct arena arena;
    struct miss *items; /* in the order of the last look */
    size_t count;
};

void misses_begin(struct misses *misses, const char *seen);
void misses_add(struct misses *misses, pid_t pid, const char *path, const char *program, bool in_directory);
void misses_found(struct misses *misses, pid_t pid, const char *path);

/* One line each on standard error, the last look last, less what the traced run missed too and what is there by now. */
void misses_print(const struct misses *misses, const struct bundle *bundle, int status);

#endif
