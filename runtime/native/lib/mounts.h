/* Mounts, each with the flags that it needs here. */
#ifndef SDEE_LIB_MOUNTS_H
#define SDEE_LIB_MOUNTS_H

#include "lib/arena.h"

/* mount(2) with MS_BIND | MS_REC: a user namespace may not separate mounts that it inherited (mount_namespaces(7)). */
int sys_bind(const char *source, const char *target);

/* mount(2) on /: receive mounts that the node makes later (autofs), send none. */
int sys_make_slave(void);

int sys_mount_tmpfs(const char *target, const char *options);
int sys_mount_overlay(const char *target, const char *options);

/* pivot_root(2) */
int sys_pivot_root(const char *new_root, const char *put_old);

/* pivot_root(".", ".") and umount2(MNT_DETACH), as pivot_root(2) NOTES: the old root is gone afterwards. */
int sys_enter_root(const char *new_root);

/* A path as an option of overlayfs. It separates layers by ':' and options by ',': both and '\' are escaped (Documentation/filesystems/overlayfs.rst). */
const char *overlay_escaped(struct arena *arena, const char *path);

#endif
