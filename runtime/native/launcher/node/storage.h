/* What a file system is like, by its type (statfs(2)) and mount options. */
#ifndef SDEE_LAUNCHER_NODE_STORAGE_H
#define SDEE_LAUNCHER_NODE_STORAGE_H

#include <stdbool.h>

/* Is it storage that many nodes share, where each request costs? */
bool storage_is_far(const char *path);

/* Do locks of fcntl(2) on it exclude processes of all nodes that see it? True for a node's own disk. */
bool storage_locks_reach(const char *path);

#endif
