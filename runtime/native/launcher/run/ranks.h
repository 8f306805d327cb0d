/* Ranks of one step on one node, told by the variables of the program that started them. */
#ifndef SDEE_LAUNCHER_RUN_RANKS_H
#define SDEE_LAUNCHER_RUN_RANKS_H

#include <stdbool.h>
#include <stddef.h>

/* Write what all ranks of this step on this node have in common, and no others. False when this process is no rank, or the only one here. */
bool ranks_key(char *key, size_t size);

/* Is it the first rank of all nodes, or none? */
bool ranks_is_first(void);

#endif
