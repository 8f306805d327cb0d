/* What processes on this node have mounted. */
#ifndef SDEE_LIB_MOUNTINFO_H
#define SDEE_LIB_MOUNTINFO_H

#include <stdbool.h>
#include <stddef.h>

/* Note for each path whether it is a mount point in another mount namespace that this user may look at: a server that a job left behind goes on
 * using it. `root`: /proc is below it. */
void mounted_find(const char *root, const char *const *paths, bool *mounted, size_t count);

/* mountinfo writes space, tab, newline and backslash as \ooo (proc_pid_mountinfo(5)): the text itself, in place. */
void mounted_unescape(char *text);

#endif
