/* The parts of sdee-front. Each but hold() and serve() ends the process, or fills `error` and returns. */
#ifndef SDEE_FRONT_FRONT_H
#define SDEE_FRONT_FRONT_H

#include <stdint.h>
#include <sys/resource.h>

#include "lib/error.h"
#include "lib/facts.h"

/* Of the caller's variables these decide on how a program of the node itself starts. There it gets the node's; the
 * caller's come along as SDEE_INSIDE_NAME, for the tasks that it starts in a bundle (runtime/jobs/slurm/inside.py). */
#define INSIDE_PREFIX "SDEE_INSIDE_"
extern const char *const NODE_VARIABLES[]; /* ends with NULL */

/* What is sent first, in the machine's own byte order: both ends run on it. umask(2) and the limits of getrlimit(2) go
 * along, since srun(1) hands them on to its tasks. Then argc + envc strings and the working
 * directory, each with its NUL. Then one byte for each signal; the answer is an int32_t: a status as wait(2) has it. */
struct call_header {
    uint32_t magic;
    uint32_t argc;
    uint32_t envc;
    uint32_t bytes;
    uint32_t umask;
    struct rlimit limits[RLIM_NLIMITS];
};
enum { CALL_MAGIC = 0x73646565, CALL_MOST = 8 << 20 };

/* Run the command outside of the bundle that we are in, by the server at `address`, as if it were ours. */
int call(const char *address, char **argv, struct error *error);

/* Serve calls for as long as `command`, which this process becomes, lives. `outside`: a directory of programs that
 * replace the commands of their names. */
int serve(const char *outside, char **command, struct error *error);

/* Become the host's own command, as the user and not as root: in a user namespace that maps the user's own id back. */
int real(const char *name, char **argv, struct error *error);

/* What salloc runs: write its environment to DIRECTORY/environment, wait until DIRECTORY/alive (a FIFO) has no writer. */
int hold(const char *directory, struct error *error);

/* Before a shell of ours, and after it: variables that dash would drop. */
void hide_from_shells(void);
void show_again(void);

#endif
