/* keep*.c: the walk over what the job may have written. */
#ifndef SDEE_KEEP_WALK_H
#define SDEE_KEEP_WALK_H

#include <limits.h>

#include "keep.h"

#define NAMES 10 /* so many lost files are named */
enum { BESIDE = NAME_MAX + 48 };

/* A directory of a chain, of which not all are open at once: a tree may be deeper than there are descriptors. */
struct place {
    struct place *above; /* NULL: it stays open */
    const char *name;    /* in the one above */
    int fd;              /* O_PATH; -1: closed meanwhile */
    bool there;
};

/* A directory on the node that one of ours belongs to; made there when something is to be put into it. */
struct belongs {
    struct place place;
    struct belongs *parent;
    struct belongs *tree; /* the uppermost one of the tree (plan_tree.c) that it belongs to, of which the job saw the bundle's; NULL: of none */
    const char *node;     /* of an uppermost one: its path on the node */
    size_t copied;        /* of an uppermost one: files copied back below it, less caches */
    mode_t mode;
    int error; /* why it could not be opened */
    bool later;   /* not looked for yet: shared storage is asked only for what something is to be put into */
    bool bundles; /* an entry of the bundle */
    bool ours; /* only the bundle has it: if it cannot be made, what is in it is lost, which is no error */
};

/* A directory that is being walked. On the heap: how deep a job's trees are is the job's to say. */
struct level {
    struct place place;
    struct belongs own, *node; /* NULL: what is in it belongs nowhere on the node */
    char beside[BESIDE]; /* its name on the node, where that has another user's */
    mode_t mode;
    bool removals, cache;
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
    bool failed, quiet;
    bool in_cache; /* what is looked at is made again by whoever needs it: neither a loss nor an error */
    struct error *error;
    struct timespec begun; /* when the node's directories were mounted, by the clock as it is now */
    char *path;            /* of what is looked at, in the new root; may be longer than PATH_MAX */
    size_t length, room;
    struct level **levels;
    size_t depth;
};

/* keep_walk.c: all below a directory, `target` in the new root; `back`: what it goes back to, or NULL. */
void keep_walk(struct walk *walk, const char *directory, const char *target, const struct back *back, bool removals);

/* keep.c: begin with a directory in the one that is walked; NULL where there is nothing in it to keep. */
struct level *keep_enter(struct walk *walk, const char *name);

/* Keep one thing, or find that there is nothing to do. True for a directory, which is walked later. */
bool keep_child(struct walk *walk, int directory, const char *name, const struct level *level);

/* Did somebody write the node's file while the job ran on a copy of it? Then neither is thrown away. */
bool keep_has_changed(const struct walk *walk, int directory, const char *name);

/* What should be kept could not be: an error. */
void keep_could_not(struct walk *walk, const char *path, const char *where);

/* What is not kept is named and, where asked for, saved. */
void keep_lose(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path);
void keep_save(struct walk *walk, int directory, const char *name, const struct stat *status, const char *path);

/* The job's file goes beside the node's, which the job did not see: `why` says so after the name. */
void keep_beside(struct walk *walk, int directory, const char *name, const struct stat *status, int to, const char *why);
void keep_tell_beside(struct walk *walk, const char *beside, const char *why);

/* keep_tree.c. A file that the job wrote below a tree goes to the node's directory of that name. */
void keep_in_tree(struct walk *walk, int directory, const char *name, const struct stat *status, uint32_t index, struct belongs *node);

/* A file on a mount point that the job changed: it takes the mount point's place, and is the node's own then. */
void keep_at_point(struct walk *walk, int directory, const char *name, const struct stat *status, const struct op *point);

/* One line that says so, when the tree has been walked. */
void keep_tell_tree(const struct walk *walk, const struct belongs *tree);

/* keep_node.c. Open the directory that things go back to; false with errno, ESTALE when it is another one than when the job began. */
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

/* keep_place.c. The descriptor of a directory, opened again by names without following links; -1 with errno. */
int keep_open_place(struct place *place);

/* It has been opened: close one that is far above it. */
void keep_spare_place(struct place *place);

#endif
