#include "launcher/run/supervise.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/exit_codes.h"

static void all_signals(sigset_t *set)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS};
    memset(set, 0xff, sizeof *set); /* sigfillset(3) of musl leaves out 32 to 34, which glibc's programs may use: SIGRTMIN is 34 */
    for (unsigned i = 0; i < sizeof faults / sizeof *faults; i++)
        sigdelset(set, faults[i]);
}

void supervise_prepare(void)
{
    sigset_t set;
    all_signals(&set);
    sigprocmask(SIG_BLOCK, &set, NULL);
}

/* Stop as the job stopped, so that the shell sees it; go on together. */
static void stop_with(pid_t job)
{
    raise(SIGSTOP);
    /* Continued. A shell continues the whole process group; `kill -CONT` of the launcher alone must reach the job too. To
     * a job that runs already it does nothing, except that a handler would run again: so ask first. */
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)job, &info, WCONTINUED | WNOHANG) != 0 || info.si_pid != job)
        kill(job, SIGCONT);
    sigset_t set;
    const struct timespec now = {0, 0};
    sigemptyset(&set);
    sigaddset(&set, SIGCONT);
    sigtimedwait(&set, NULL, &now); /* the one that continued us: not to be passed on as well */
}

/* Slurm's stepd signals each process of a step by itself, and of a batch script the first one alone. */
static bool has_it_already(pid_t sender)
{
    char path[64], name[32] = "";
    if (getenv("SLURM_STEP_ID") == NULL || sender <= 0)
        return false;
    snprintf(path, sizeof path, "/proc/%d/comm", (int)sender);
    FILE *file = fopen(path, "re");
    const bool read = file != NULL && fgets(name, sizeof name, file) != NULL;
    if (file != NULL)
        fclose(file);
    return read && strncmp(name, "slurmstepd", 10) == 0;
}

/* The terminal sends its signals (SI_KERNEL) to the whole foreground process group, so the job has them already; those that
 * another process sent (kill(2), sigqueue(3)) are passed on. A signal to the group by kill(2) looks the same as one to the
 * launcher alone: such a job gets it twice. */
static void pass_on(pid_t job, const siginfo_t *info)
{
    if (info->si_signo != SIGCHLD && info->si_code <= 0 && info->si_pid != job && !has_it_already(info->si_pid))
        kill(job, info->si_signo);
}

int supervise(pid_t job)
{
    sigset_t set;
    all_signals(&set);
    for (;;) {
        int status;
        const pid_t pid = waitpid(job, &status, WNOHANG | WUNTRACED);
        if (pid == job && WIFSTOPPED(status)) {
            stop_with(job);
            continue;
        }
        if (pid == job || (pid < 0 && errno != EINTR))
            return pid == job ? status : EXIT_INTERNAL << 8;
        siginfo_t info;
        if (sigwaitinfo(&set, &info) > 0)
            pass_on(job, &info);
    }
}
