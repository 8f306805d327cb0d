/* Directories on the node that what the job wrote goes back to. */
#ifndef SDEE_LAUNCHER_KEEP_BELONGS_H
#define SDEE_LAUNCHER_KEEP_BELONGS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "launcher/keep/place.h"
#include "launcher/plan/plan.h"

enum { BESIDE = NAME_MAX + 48 }; /* a name beside another one, for what stays apart */

/* A directory on the node that one of ours belongs to; made there when something is to be put into it. */
struct belongs {
    struct place place;
    struct belongs *parent;
    struct belongs *tree; /* the uppermost one of the tree (plan/live.c) that it belongs to, of which the job saw the bundle's; NULL: of none */
    const char *node;     /* of an uppermost one: its path on the node */
    size_t copied;        /* of an uppermost one: files copied back below it, less caches */
    mode_t mode;
    int error; /* why it could not be opened */
    bool later;   /* not looked for yet: shared storage is asked only for what something is to be put into */
    bool bundles; /* an entry of the bundle */
    bool ours; /* only the bundle has it: if it cannot be made, what is in it is lost, which is no error */
};

/* Open the directory that things go back to; false with errno, ESTALE when it is another one than when the job began. */
bool keep_open_on_node(const struct back *back, struct belongs *belongs);

/* The descriptor of a directory on the node, made when it is not there; -1 with errno. */
int keep_on_node(struct belongs *node);

/* The same, without making it; -1 where it is not there. */
int keep_there_on_node(struct belongs *node);

/* Is a directory on the node another user's than the one that the job made? Then it came meanwhile, and is not the one that the job closed. */
bool keep_is_anothers(struct belongs *node, const struct stat *made);

/* A name beside it, which is free. */
void keep_name_beside(int directory, const char *name, char beside[BESIDE]);
void keep_directory_beside(struct belongs *node, char beside[BESIDE]);

#endif
