/* The closure as a file system of this process' making, whose content is decoded when it is first read: a server of FUSE (fuse(4)) in a process of
 * its own, which needs no helper, no library and no right that a user namespace does not give.
 *
 * The order is the kernel's. /dev/fuse is opened in the user namespace that mounts it; nobody may read it before it is mounted, so the server waits to
 * be told; and nobody else may hold it, or the job would wait forever for a server that was killed. The server stays in the mount namespace that the
 * launcher leaves: so it does not hold the job's, and when the last process has left that one, the kernel unmounts the file system, which ends the
 * server. Ranks that joined go on when the first one has ended. */
#ifndef SDEE_LAUNCHER_LAZY_LAZY_H
#define SDEE_LAUNCHER_LAZY_LAZY_H

#include "launcher/bundle/table.h"

struct lazy;

/* Bytes that the server takes at most, whatever the closure's size. */
uint64_t lazy_memory(const struct bundle *bundle);

/* All that needs memory, before anything is done. `wanted`: the entries that are there; it must stay. NULL with an error: EXIT_RESOURCES. */
struct lazy *lazy_make(const struct bundle *bundle, const bool *wanted, struct error *error);

/* For struct between, with the struct lazy: begin the server. Errors: EXIT_KERNEL where FUSE cannot be had, EXIT_RESOURCES. */
bool lazy_start(void *lazy, struct error *error);

/* Mount it on `directory`, and let the server begin. `told`: a path where the launchers find what it could not read; lazy_explain() reads it.
 * Errors: EXIT_KERNEL. */
bool lazy_mount(struct lazy *lazy, const char *directory, const char *told, struct error *error);

/* Let a server end that was not mounted, or is not any more. lazy_free(): and give up this process' memory for it; NULL is ignored. */
void lazy_end(struct lazy *lazy);
void lazy_free(struct lazy *lazy);

/* Wait for the end of the server that this process began, once all is unmounted here; not forever, since who has left the job may still use it. */
void lazy_wait(const struct lazy *lazy, int milliseconds);

/* After the job, in any launcher of the namespace: could a part of the closure not be read? Then EXIT_BUNDLE; or has the server ended, EXIT_RESOURCES.
 * True: neither. */
bool lazy_explain(const char *told, struct error *error);

/* Can it be mounted here, and be the layer of an overlay? Tried in a process of its own, with an empty closure. Errors: EXIT_KERNEL. */
bool lazy_is_possible(struct error *error);

#endif
