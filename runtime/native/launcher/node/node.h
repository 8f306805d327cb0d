/* What this node is and has: read before anything is changed. */
#ifndef SDEE_LAUNCHER_NODE_NODE_H
#define SDEE_LAUNCHER_NODE_NODE_H

#include <stddef.h>
#include <stdint.h>

#include "launcher/bundle/table.h"
#include "lib/arena.h"

struct node {
    char os[256];   /* os-release's ID and VERSION_ID: "debian 12" */
    char **mounts;  /* mount points in the order of /proc/self/mountinfo */
    size_t mount_count;
};

/* Read os-release and mount points. Errors: EXIT_NODE when /proc is missing. */
bool node_read(struct node *node, struct arena *arena, struct error *error);

/* Can jobs of this machine type run here (uname(2))? Errors: EXIT_NODE. */
bool node_check_machine(const char *machine, struct error *error);

/* Is the node's system the one the bundle was traced on? `why` says it either way. */
bool node_same_system(const struct node *node, const struct bundle *bundle, char *why, size_t why_size);

#endif
