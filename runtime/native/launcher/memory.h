/* How much memory this process may use. */
#ifndef SDEE_LAUNCHER_MEMORY_H
#define SDEE_LAUNCHER_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

/* Is there memory for `bytes`? MemAvailable and the limits of this process' control groups. Errors: EXIT_RESOURCES. */
bool memory_check(uint64_t bytes, const char *bundle, struct error *error);

/* Bytes that this process may still use, and which limit says so. */
uint64_t memory_available(char *limit, size_t limit_size);

#endif
