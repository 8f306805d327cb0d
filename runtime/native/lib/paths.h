/* Paths as text. */
#ifndef SDEE_LIB_PATHS_H
#define SDEE_LIB_PATHS_H

#include <stdbool.h>

/* Absolute, no empty, "." or ".." component, no trailing slash, not "/", components and whole within the kernel's limits. */
bool path_is_normal(const char *path);

/* Lies a path below a directory? Not the directory itself. */
bool path_is_below(const char *path, const char *directory);

#endif
