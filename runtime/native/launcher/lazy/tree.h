/* The closure's names as a FUSE file system has them. A node's number is its entry's index and 2; 1 is the root directory. */
#ifndef SDEE_LAUNCHER_LAZY_TREE_H
#define SDEE_LAUNCHER_LAZY_TREE_H

#include <linux/fuse.h>
#include <sys/types.h>

#include "launcher/bundle/table.h"

struct tree {
    const struct bundle *bundle;
    const bool *wanted; /* for each entry: is it there? */
    uint32_t *names;    /* for each file: how many it has */
    uid_t uid; /* whose all of it is */
    gid_t gid;
};

/* False without memory. */
bool tree_make(struct tree *tree, const struct bundle *bundle, const bool *wanted, uid_t uid, gid_t gid);
void tree_free(struct tree *tree);

/* The entry of a node's number: NO_ENTRY for the root; false for a number that no node has. */
bool tree_entry(const struct tree *tree, uint64_t node, uint32_t *entry);

/* The entry with this name in a directory, NO_ENTRY for the root; NO_ENTRY when there is none. */
uint32_t tree_find(const struct tree *tree, uint32_t directory, const char *name);

/* What stat(2) is to say of an entry, NO_ENTRY for the root. */
void tree_attributes(const struct tree *tree, uint32_t entry, struct fuse_attr *attributes);

/* The answer to a look-up, good forever; NO_ENTRY: there is no such name. */
void tree_answer(const struct tree *tree, uint32_t entry, struct fuse_entry_out *answer);

/* Fill `room` with a directory's entries from `offset` on, each with its answer. The bytes used; -1 for an offset that none of them has. */
ssize_t tree_list(const struct tree *tree, uint32_t directory, uint64_t offset, uint8_t *room, size_t size);

#endif
