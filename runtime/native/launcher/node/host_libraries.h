/* Libraries of which the node's own are used: found through its ld.so.cache, compared by symbol versions, put where the job's loader looks. */
#ifndef SDEE_LAUNCHER_NODE_HOST_LIBRARIES_H
#define SDEE_LAUNCHER_NODE_HOST_LIBRARIES_H

#include "launcher/bundle/table.h"
#include "lib/arena.h"

enum family_mode { FAMILY_NEVER, FAMILY_PREFER, FAMILY_ASKED };

struct library {
    const char *soname, *path; /* as the node's own loader finds it */
    enum family_mode mode;     /* of its family, or of what needs it */
    const char *unfit;         /* why it cannot be used, or NULL */
};

struct host_libraries {
    struct arena *arena;
    const struct bundle *bundle;
    struct library *items;
    size_t count;
    const char **directories; /* where the job's loader looks by default, in order */
    size_t directory_count;
    const char **paths; /* files and directories that belong to the families that are used */
    size_t path_count;
    bool mpi; /* --mpi host */
};

/* Look at the node, for what CONF names: nothing, and no time, for most bundles. `mpi`: for the node's MPI too. */
void host_libraries_find(struct host_libraries *found, const struct bundle *bundle, bool mpi, struct arena *arena);
void host_libraries_free(struct host_libraries *found);

/* Has the node what programs of the bundle do not start without? Errors: EXIT_NODE. */
bool host_libraries_check(const struct host_libraries *found, struct error *error);

/* --mpi host: has the node's MPI the sonames and symbols that the bundle's objects take of theirs? Errors: EXIT_NODE. */
bool host_libraries_check_mpi(const struct host_libraries *found, struct error *error);

/* Names that the traced run loaded and that are not here, comma-separated; "" for none. */
const char *host_libraries_missing(const struct host_libraries *found);

/* One line for each library, on standard error: where it is, or why it is not used. */
void host_libraries_print(const struct host_libraries *found);

#endif
