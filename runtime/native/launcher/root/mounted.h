/* A root made of mounts in a namespace of this process: what all ways have in common that differ only in how they come to that namespace. */
#ifndef SDEE_LAUNCHER_ROOT_MOUNTED_H
#define SDEE_LAUNCHER_ROOT_MOUNTED_H

#include "launcher/root/root.h"

/* struct root_way's functions. */
bool mounted_usable(const struct root_way *way, struct error *error);
bool mounted_make(struct root *root, struct plan *plan, struct plan *closed, const struct bundle *bundle, const struct options *options, struct error *error);
bool mounted_enter(const struct root *root, struct error *error);
bool mounted_share(const struct root *root, int fds[ROOT_FDS]);
bool mounted_join(const struct root *root, const int fds[ROOT_FDS], bool *inside);

#define MOUNTED mounted_usable, mounted_make, mounted_enter, mounted_share, mounted_join, keep

#endif
