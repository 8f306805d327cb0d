/* What the job wrote where the bundle's was mounted on the node's. */
#ifndef SDEE_LAUNCHER_KEEP_TREE_H
#define SDEE_LAUNCHER_KEEP_TREE_H

#include <stdint.h>
#include <sys/stat.h>

#include "launcher/keep/state.h"

/* A file that the job wrote below a tree goes to the node's directory of that name. */
void keep_in_tree(struct walk *walk, int directory, const char *name, const struct stat *status, uint32_t index, struct belongs *node);

/* A file on a mount point that the job changed: it takes the mount point's place, and is the node's own then. */
void keep_at_point(struct walk *walk, int directory, const char *name, const struct stat *status, const struct op *point);

/* One line that says so, when the tree has been walked. */
void keep_tell_tree(const struct walk *walk, const struct belongs *tree);

#endif
