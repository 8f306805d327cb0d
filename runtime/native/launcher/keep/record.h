/* What a rank has copied back before: noted in the base. */
#ifndef SDEE_LAUNCHER_KEEP_RECORD_H
#define SDEE_LAUNCHER_KEEP_RECORD_H

#include <stdbool.h>
#include <time.h>

void record_add(const char *path, const struct timespec *mtime);
bool record_has(const char *path, const struct timespec *mtime);

#endif
