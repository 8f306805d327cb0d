/* Reader of docs/bundle-format.md. Treats the file as hostile: what bundle_open() accepts can be used without further checks. */
#ifndef SDEE_LAUNCHER_BUNDLE_BUNDLE_H
#define SDEE_LAUNCHER_BUNDLE_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "launcher/bundle/table.h"
#include "lib/error.h"

/* True when the file ends in something that claims to be a footer (so: a bundle, intact or not). */
bool bundle_has_footer(int fd);

/* Map the file, whose descriptor must stay open, copy its table, so that the file may change from then on, and check its footer, the table's SHA-256 and CONF.
 * `check_launcher`: its SHA-256 too. A rank that joins another needs no more: entries are read by bundle_read_entries(),
 * contents are checked by unpack(). Errors: EXIT_BUNDLE; EXIT_RESOURCES when it cannot be mapped. */
bool bundle_open(struct bundle *bundle, const char *name, int fd, bool check_launcher, struct error *error);

/* The same on memory, which must stay; for the fuzzer too. */
bool bundle_parse(struct bundle *bundle, const char *name, const uint8_t *data, size_t size, bool check_launcher, struct error *error);

/* Read and check entries and frames, once. Errors: EXIT_BUNDLE. */
bool bundle_read_entries(struct bundle *bundle, struct error *error);

void bundle_close(struct bundle *bundle);

#endif
