/* After the job: what it wrote on the private memory file system. */
#ifndef SDEE_KEEP_H
#define SDEE_KEEP_H

#include <sys/stat.h>

#include "plan.h"

/* How: where to, and who else is there. */
struct keeping {
    int save;    /* the directory of --save, or -1 */
    bool shared; /* other ranks have been, or are, in these namespaces: what each copies back is noted in the base */
    bool last;   /* nobody else is there: what is not kept is gone */
};

/* Copy new and changed files of directories that exist on the node back to there; when it is the last chance, list the others on standard
 * error; copy them below the directory of --save. False when something that should be kept could not be: EXIT_OUTPUT. */
bool keep(const struct plan *plan, const struct bundle *bundle, const struct options *options, const struct keeping *keeping, struct error *error);

/* keep_cache.c: is it something that programs make again when it is missing? `path` in the new root is `name` in `parent`. */
bool is_cache(const char *path, int parent, const char *name, bool directory);

/* Is a directory, or one above it, a cache? */
bool is_in_cache(const char *path);

/* keep_record.c: what a rank has copied back before. */
void record_add(const char *path, const struct timespec *mtime);
bool record_has(const char *path, const struct timespec *mtime);

/* keep_copy.c. Copy a file, link or FIFO, in place of what is there unless that is a directory; false with errno. */
bool copy_one(int from_directory, const char *name, const struct stat *status, int to_directory, const char *to);

/* Remove a file, or a directory with all in it; if it is `ours`, also below directories that may not be written or listed. */
bool remove_one(int directory, const char *name, bool ours);

/* Open the directory of --save, made when missing, and prove that it can be written. Errors: EXIT_OUTPUT. */
bool keep_open(const char *directory, int *save, struct error *error);

#endif
