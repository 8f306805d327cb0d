/* Has the node the same as the bundle? */
#ifndef SDEE_LAUNCHER_PLAN_SAME_H
#define SDEE_LAUNCHER_PLAN_SAME_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "launcher/plan/plan.h"

/* The same size and time; the same text. */
bool plan_same_file(const struct bundle *bundle, const struct entry *entry, const struct stat *status);
bool plan_same_link(const char *node_path, const struct entry *entry);

/* Has the node, at `node_path`, the same file, link, or directory with the same and no more below it? Readable, too: it may be another user's. */
bool plan_same_tree(struct planner *planner, const char *node_path, uint32_t index);

/* Below an overlaid directory: unmark what need not be unpacked. */
void plan_skip_same(struct planner *planner, const char *node_path, uint32_t directory);

/* Once, before these: what the bundle says that it lacks. */
void plan_find_left_out(struct planner *planner);

#endif
