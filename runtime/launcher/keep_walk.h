/* keep*.c: the walk over what the job wrote. */
#ifndef SDEE_KEEP_WALK_H
#define SDEE_KEEP_WALK_H

#include <limits.h>

#include "keep.h"

#define NAMES 10 /* so many lost files are named */

struct walk {
    const struct plan *plan;
    const struct bundle *bundle;
    const struct op **places; /* of the plan, sorted by target: what the launcher made itself */
    size_t place_count;
    const struct keeping *keeping;
    size_t lost;
    char names[NAMES][PATH_MAX];
    bool failed, quiet;
    struct error *error;
    struct timespec begun; /* when the node's directories were mounted */
    size_t tree_files;     /* copied back of the tree that is walked, less caches */
    char path[PATH_MAX]; /* of what is looked at, in the new root */
    size_t length;
};

/* A directory on the node that one of ours belongs to. `fd` -1: not there yet, made in `parent` when something is to be put there. */
struct belongs {
    struct belongs *parent;
    const char *name;
    mode_t mode;
    int fd;
    bool ours; /* only the bundle has it: if it cannot be made, what is in it is lost, which is no error */
    bool tree; /* it belongs to a tree, of which the job saw the bundle's */
};

/* The descriptor of a directory on the node, made when it is not there; -1 with errno. */
int keep_on_node(struct belongs *place);

/* A directory of the node, or -1. */
int keep_open_on_node(const char *path);

/* Did somebody write the node's file while the job ran on a copy of it? Then neither is thrown away. */
bool keep_has_changed(const struct walk *walk, int directory, const char *name);

/* What should be kept could not be: an error. */
void keep_could_not(struct walk *walk, const char *path, const char *where);

/* What is not kept is named and, where asked for, saved. */
void keep_lose(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path);
void keep_save(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path);

/* The job's file goes beside the node's, which the job did not see: `why` says so after the name. */
void keep_beside(struct walk *walk, int directory, const char *name, const struct stat *status, int to, const char *why);

/* keep_tree.c. A file that the job wrote below a tree goes to the node's directory of that name. */
void keep_in_tree(struct walk *walk, int directory, const char *name, const struct stat *status, uint32_t index, struct belongs *node);

/* A file on a mount point, `own` on the node, that the job changed: it takes the mount point's place, and is the node's own then. */
void keep_at_point(struct walk *walk, int directory, const char *name, const struct stat *status, const char *own);

/* One line that says so, when the tree has been walked. */
void keep_tell_tree(struct walk *walk, const char *node_path);

#endif
