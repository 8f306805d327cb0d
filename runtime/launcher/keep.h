/* After the job: what it wrote on the private memory file system. */
#ifndef SDEE_KEEP_H
#define SDEE_KEEP_H

#include <sys/stat.h>

#include "plan.h"
#include "remove.h"

/* How: where to, and who else is there. */
struct keeping {
    int save;    /* the directory of --save, or -1 */
    mode_t umask; /* of whoever started us, for directories below it */
    bool shared; /* other ranks have been, or are, in these namespaces: what each copies back is noted in the base */
    bool last;   /* nobody else is there: what is not kept is gone */
};

/* Before the plan is carried out: note which directories things are copied back to, so that they go there and nowhere else. */
void keep_begin(struct plan *plan);

/* Copy new and changed files of directories that exist on the node back to there; when it is the last chance, list the others on standard
 * error; copy them below the directory of --save. False when something that should be kept could not be: EXIT_OUTPUT. */
bool keep(const struct plan *plan, const struct bundle *bundle, const struct options *options, const struct keeping *keeping, struct error *error);

/* keep_cache.c: is it something that programs make again when it is missing? `path` in the new root is `name` in `parent`. `asks`: the node's
 * directory of that name may have a tag, too. */
bool keep_is_cache(const char *path, int parent, const char *name, bool directory, bool asks);

/* Is a directory, or one above it, a cache? */
bool keep_is_in_cache(const char *path);

/* keep_record.c: what a rank has copied back before. */
void record_add(const char *path, const struct timespec *mtime);
bool record_has(const char *path, const struct timespec *mtime);

/* keep_copy.c. Copy a file, link or FIFO, in place of what is there unless that is a directory; false with errno. A file that is there is
 * written into when it is `known`: one that the job saw, or that an earlier rank has made. Else it goes: another user may have planted it. */
bool copy_one(int from_directory, const char *name, const struct stat *status, int to_directory, const char *to, bool known);

/* Open the directory of --save, made when missing with `mask` as umask, and prove that it can be written. Errors: EXIT_OUTPUT. */
bool keep_open(const char *directory, mode_t mask, int *save, struct error *error);

/* keep_clock.c: `begun` by the clock as it is at the end, (`now`, `steady_now`): if that was set back meanwhile, what others have written since
 * bears times from before it. */
struct timespec keep_begun(struct timespec begun, struct timespec steady, struct timespec now, struct timespec steady_now);

#endif
