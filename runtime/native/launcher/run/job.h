/* The job's process: from fork to execve. */
#ifndef SDEE_LAUNCHER_RUN_JOB_H
#define SDEE_LAUNCHER_RUN_JOB_H

#include <signal.h>
#include <sys/resource.h>
#include <sys/types.h>

#include "launcher/bundle/table.h"
#include "launcher/options.h"
#include "launcher/root/root.h"
#include "lib/sys.h"

/* What the launcher was started with and the job gets back. */
struct inherited {
    sigset_t mask;
    struct sigaction child_action; /* SIGCHLD: could be ignored, and then nothing could be waited for */
    bool closed[3];                /* standard descriptors that were closed */
    struct capabilities capabilities;
    mode_t umask;
    struct rlimit file_size; /* RLIMIT_FSIZE: the job's, not that of its unpacking */
    struct sigaction file_size_action; /* SIGXFSZ */
};

struct job {
    const struct bundle *bundle;
    const struct options *options;
    char **environment;
    const struct root *root;
    struct inherited inherited;
    struct diagnosis *diagnosis; /* --diagnose, or NULL */
};

/* Fill closed standard descriptors with something harmless, so that no file of ours gets their numbers. */
void inherited_save(struct inherited *inherited);

/* All of it back but the umask, before another program is executed. */
void inherited_restore(const struct inherited *inherited);

/* Run the job in the calling (forked) process; returns only by ending it, with an error's code after printing the error. */
void job_become(const struct job *job, pid_t launcher) __attribute__((noreturn));

#endif
