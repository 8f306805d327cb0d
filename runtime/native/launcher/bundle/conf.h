/* CONF: what the bundle says beside its files, as pairs of strings (docs/bundle-format.md). */
#ifndef SDEE_LAUNCHER_BUNDLE_CONF_H
#define SDEE_LAUNCHER_BUNDLE_CONF_H

#include "launcher/bundle/table.h"

/* Check every rule that a pair must keep. Errors: EXIT_BUNDLE. */
bool conf_check(const struct bundle *bundle, struct error *error);

/* The value of the first pair with this key, or NULL; and iteration: start with *cursor = NULL. */
const char *conf_get(const struct bundle *bundle, const char *key);
const char *conf_next(const struct bundle *bundle, const char *key, const char **cursor);

/* Is there a pair with this key and value? */
bool conf_lists(const struct bundle *bundle, const char *key, const char *path);

/* Lies a path below a live directory (CONF live)? */
bool conf_is_live(const struct bundle *bundle, const char *path);

/* The next live directory below a tree that lies in no other one below it; iteration as by conf_next(). */
const char *conf_next_live(const struct bundle *bundle, const char *tree, const char **cursor);

#endif
