/* Inside of keep(): the walk over what the job may have written. */
#ifndef SDEE_KEEP_WALK_H
#define SDEE_KEEP_WALK_H

#include <limits.h>

#include "keep.h"

#define NAMES 10 /* so many lost files are named */

/* A directory on the node that one of ours belongs to; made there when something is to be put into it. */
struct belongs {
    struct place place;
    struct belongs *parent;
    mode_t mode;
    bool ours; /* only the bundle has it: if it cannot be made, what is in it is lost, which is no error */
};

/* A directory that is being walked. On the heap: how deep a job's trees are is the job's to say. */
struct level {
    struct place place;
    struct belongs own, *node; /* NULL: what is in it belongs nowhere on the node */
    mode_t mode;
    bool removals;
    size_t length;               /* of its path */
    char *names;                 /* of directories in it, each with its NUL: the last one is next */
    size_t size, room;
};

struct walk {
    const struct plan *plan;
    const struct bundle *bundle;
    const struct op **places; /* of the plan, sorted by target: what the launcher made itself */
    size_t place_count;
    const struct keeping *keeping;
    size_t lost;
    char names[NAMES][PATH_MAX];
    bool failed;
    struct error *error;
    struct timespec begun; /* when the node's directories were mounted, by the clock as it is now */
    char *path;            /* of what is looked at, in the new root; may be longer than PATH_MAX */
    size_t length, room;
    struct level **levels;
    size_t depth;
};

/* keep.c: begin with a directory in the one that is walked; NULL where there is nothing in it to keep. */
struct level *walk_enter(struct walk *walk, const char *name);

/* keep.c: keep one thing, or find that there is nothing to do. True for a directory, which is walked later. */
bool walk_child(struct walk *walk, int directory, const char *name, const struct level *level);
void could_not(struct walk *walk, const char *path, const char *where);

/* keep_walk.c: all below a directory, `target` in the new root; `back`: what it goes back to, or NULL. */
void walk_tree(struct walk *walk, const char *directory, const char *target, const struct back *back, bool removals);

/* keep_node.c. Open the directory that things go back to; false with errno, ESTALE when it is another one than when the job began. */
bool open_on_node(const struct back *back, struct belongs *belongs);

/* The descriptor of a directory on the node, made when it is not there; -1 with errno. */
int on_node(struct belongs *node);

/* The same, without making it. */
int there_on_node(struct belongs *node);

#endif
