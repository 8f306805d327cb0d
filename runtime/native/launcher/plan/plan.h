/* The mount plan as data: planned from the bundle's table and the node's state, printed by --debug, then carried out by carry.c.
 * Paths of sources and of what is made (`made`) are in the base (layout.h). */
#ifndef SDEE_LAUNCHER_PLAN_PLAN_H
#define SDEE_LAUNCHER_PLAN_PLAN_H

#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>

#include "launcher/node/host_libraries.h"
#include "launcher/node/node.h"
#include "launcher/options.h"

enum op_kind {
    OP_BASE,      /* tmpfs on one of the candidate directories in `data`, pivot_root into it */
    OP_UNPACK,    /* the closure into CLOSURE, unpacked, deployed or lazy, bound on NEWROOT */
    OP_DIRECTORY, /* mkdir, or chmod when it is there: `made` */
    OP_FILE,      /* empty file as a mount point: `made` */
    OP_SYMLINK,   /* `made` with the text `data` */
    OP_WHITEOUT,  /* what hides the node's `target` in an overlay: below HIDDEN, with its parents */
    OP_WRITE,     /* file `made` with the content `data` */
    OP_POINT,     /* mount point in the node's own directory: `data`, for what it lacks (points.h) */
    OP_BIND,      /* recursive bind of `source` on the new root's path `target` */
    OP_OVERLAY,   /* lower layers `source`, upper UPPER/`number`, on the new root's path `target` */
    OP_OWN,       /* a copy of the node's file `source`, this user's, in `data`, bound on the new root's path `target` */
    OP_ENTER,     /* in the job's process: own mount namespace, pivot_root into NEWROOT */
};

/* Identifies a directory when the job began; inode 0: unknown. */
struct identity {
    dev_t device;
    ino_t inode;
};

struct op {
    enum op_kind kind;
    const char *source, *target, *data;
    /* the node's directory that what the job writes here is copied back to, or NULL: OP_OVERLAY of a live directory, OP_BIND of a tree, OP_POINT of a file */
    const char *back;
    struct identity back_is;
    mode_t mode;
    bool optional; /* entries of the node that the job may not need: a refusal is noted and ignored */
    const char *why;
};

/* A directory in which the job's new files are on the tmpfs although it exists on the node: they are copied back. */
struct back {
    const char *path; /* in the new root, and below CLOSURE */
    const char *node; /* on the node */
    struct identity is;
};

/* A directory of the node's in which mount points cannot be made, as points.c found. */
struct unfit {
    const char *path, *why;
};

/* A live directory in which the job's new files stay in memory until it ends. */
struct held {
    const char *path, *why;
};

struct root;

struct plan {
    struct arena *arena;
    bool (*apart)(struct root *maker, struct error *error); /* root.h's, for a child in which an overlay is tried; NULL: there can be none */
    struct root *maker;
    enum root_kind root;
    char root_why[4500];
    struct op *ops;
    size_t count;
    struct back *synthetic;
    size_t synthetic_count;
    const struct unfit *unfit;
    size_t unfit_count;
    struct held *held;
    size_t held_count;
    struct timespec begun; /* when it was carried out: newer files on the node were written since */
    struct timespec steady; /* the same by CLOCK_BOOTTIME, which nobody sets */
    const char *deployed; /* the closure's directory on the node (deploy.h), or NULL, and a descriptor of what it is in */
    int deployed_fd;
    struct lazy *lazy; /* what the closure is read by while the job runs (lazy.h), or NULL */
    bool *nodes_own; /* for each entry: must a deployed closure show the node's own instead? */
    bool *wanted; /* for each entry: must it be unpacked? Not where the node has the same file at the same place */
};

#define UNPACK_OP 1     /* the op of that kind */
#define FIRST_ROOT_OP 2 /* ops before it make the base and hold for any root */

/* One line for each op, tab-separated where it matters, on standard error. */
void plan_print(const struct plan *plan);

/* What the steps of planning (in this folder) share. */
struct planner {
    struct plan *plan;
    const struct bundle *bundle;
    const struct node *node;
    const struct host_libraries *libraries;
    const char **absent; /* what the node has and must not appear */
    size_t absent_count;
    const char **added; /* what the merged root gets beside the closure: an overlay must be there for it */
    size_t added_count;
    size_t points; /* OP_POINT so far */
    bool *fallback; /* for each entry: the node's own is used where it has one (CONF fallback) */
    const char **left_out; /* below trees: what the bundle lacks and stays the node's own (CONF left-out), sorted */
    size_t left_out_count;
    const char **unused; /* below trees: what neither travels nor shows (CONF unused), sorted */
    size_t unused_count;
};

struct op *plan_add(struct planner *planner, enum op_kind kind, const char *target, const char *why);
void plan_bind(struct planner *planner, const char *node_path, const char *target, bool optional, const char *why);

void plan_add_parents(struct planner *planner, const char *path);
/* Directories in the closure's layer of an overlay, which need not be unpacked where the node has the same in them. */
void plan_add_layer_parents(struct planner *planner, const char *path);
const char *plan_resolve(struct planner *planner, const char *path);

/* Keep a path once: below another kept path it is there already. */
bool plan_is_kept(const struct bundle *bundle, const char *path);

/* DIRECTORY/NAME. */
const char *join(struct planner *planner, const char *directory, const char *name);

/* In a directory of ours: an entry that only the node has. */
void plan_show_nodes_own(struct planner *planner, const char *path, const char *node_path);

/* "/usr/lib" → "/usr"; is that one the system itself, and not live? */
const char *plan_top_of(struct planner *planner, const char *path);
bool plan_is_system(struct planner *planner, const char *path);

#endif
