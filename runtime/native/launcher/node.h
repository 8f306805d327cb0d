/* What this node is and has: read before anything is changed. */
#ifndef SDEE_LAUNCHER_NODE_H
#define SDEE_LAUNCHER_NODE_H

#include <stddef.h>
#include <stdint.h>

#include "launcher/table.h"
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

/* Is there memory for `bytes`? MemAvailable and the limits of this process' control groups. Errors: EXIT_RESOURCES. */
bool node_check_memory(uint64_t bytes, const char *bundle, struct error *error);

/* Bytes that this process may still use, and which limit says so. */
uint64_t node_memory_available(char *limit, size_t limit_size);

/* Is the node's system the one the bundle was traced on? `why` says it either way. */
bool node_same_system(const struct node *node, const struct bundle *bundle, char *why, size_t why_size);

#endif
