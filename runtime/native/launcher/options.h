#ifndef SDEE_LAUNCHER_OPTIONS_H
#define SDEE_LAUNCHER_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/error.h"

enum root_kind { ROOT_AUTO, ROOT_MERGED, ROOT_CLOSED };
enum unpacking { UNPACK_AUTO, UNPACK_LAZY, UNPACK_EAGER };
enum way_kind { WAY_AUTO, WAY_NAMESPACES, WAY_PRIVILEGED, WAY_JOIN, WAY_HELPER, WAY_KINDS };

struct options {
    enum root_kind root;
    enum unpacking unpack;
    enum way_kind way;
    bool debug, dry_run, shell, quiet;
    bool diagnose;
    bool mpi_host; /* the node's MPI instead of the bundle's */
    bool deploy, undeploy;
    bool force; /* run although the node lacks what the bundle expects */
    bool help;
    const char *command; /* another program than the recorded one, or NULL */
    const char *chdir;   /* or NULL */
    const char *save;    /* or NULL */
    const char *deploy_directory; /* or NULL: the first of some that has room */
    const char *join;    /* "auto", "never" or a name; NULL: auto */
    unsigned threads;    /* 0: as many as CPUs */
    const char **env;    /* NAME or NAME=VALUE */
    int env_count;
    const char *moved;  /* not an option: the directory in which what lies in the traced one is as well (workdir.h), or NULL */
    const char *bundle; /* NULL in bundle mode */
    char **arguments;   /* the job's, without its argv[0]; ends with NULL */
    int argument_count;
};

enum { OPTION_NAME = 32 };

/* An option: all that is known of it. As a variable it is SDEE_ and its name in capitals. */
struct option_row {
    const char *name, *value; /* what its value looks like; NULL for a flag, whose variable is 1 */
    size_t at;                /* the field that it sets, a bool or a string, unless ... */
    bool (*set)(struct options *options, const char *source, const char *value, struct error *error); /* ... this does */
    const char *list;         /* how several look in one variable, and what reads them; or NULL */
    bool (*set_list)(struct options *options, const char *source, const char *value, struct error *error);
    const char *help;         /* lines */
};

extern const struct option_row OPTIONS[];
extern const unsigned OPTIONS_LENGTH;

/* Its variable. */
void option_variable(const struct option_row *row, char name[OPTION_NAME]);

/* From SDEE_* variables, then (when `own_arguments`) from the command line. Errors: EXIT_USAGE. */
bool options_read(struct options *options, char **argv, bool own_arguments, struct error *error);

/* Is this "NAME=VALUE" one of the variables read by options_read()? They are not passed to the job. */
bool options_is_own_variable(const char *pair);

const char *root_name(enum root_kind root);
const char *way_name(enum way_kind way);

#endif
