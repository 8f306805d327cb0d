#include "launcher/run/job.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "launcher/node/script.h"
#include "launcher/run/diagnose.h"
#include "launcher/run/variables.h"
#include "launcher/run/words.h"

void inherited_save(struct inherited *inherited)
{
    for (int fd = 0; fd < 3; fd++) {
        inherited->closed[fd] = fcntl(fd, F_GETFD) < 0 && errno == EBADF;
        if (inherited->closed[fd])
            (void)!open("/", O_PATH); /* lowest free number is fd; O_PATH: reads and writes fail with EBADF, as if closed */
    }
    sigprocmask(SIG_SETMASK, NULL, &inherited->mask);
    const struct sigaction normal = {.sa_handler = SIG_DFL};
    sigaction(SIGCHLD, &normal, &inherited->child_action);
    const struct sigaction ignored = {.sa_handler = SIG_IGN}; /* write(2) says EFBIG then, which can be told */
    sigaction(SIGXFSZ, &ignored, &inherited->file_size_action);
    getrlimit(RLIMIT_FSIZE, &inherited->file_size);
    const struct rlimit most = {inherited->file_size.rlim_max, inherited->file_size.rlim_max};
    setrlimit(RLIMIT_FSIZE, &most);
    sys_capabilities(&inherited->capabilities);
    inherited->umask = umask(0);
}

void inherited_restore(const struct inherited *inherited)
{
    setrlimit(RLIMIT_FSIZE, &inherited->file_size);
    sigaction(SIGXFSZ, &inherited->file_size_action, NULL);
    for (int fd = 0; fd < 3; fd++)
        if (inherited->closed[fd])
            close(fd);
    sigaction(SIGCHLD, &inherited->child_action, NULL);
    sigprocmask(SIG_SETMASK, &inherited->mask, NULL);
}

/* "stack 8388608 unlimited": the soft limit is raised to the recorded one as far as the hard limit here allows. */
static void raise_limit(const char *text)
{
    static const struct {
        const char *name;
        int resource;
    } limits[] = {{"cpu", RLIMIT_CPU},         {"fsize", RLIMIT_FSIZE},           {"data", RLIMIT_DATA},       {"stack", RLIMIT_STACK},
                  {"core", RLIMIT_CORE},       {"rss", RLIMIT_RSS},               {"nproc", RLIMIT_NPROC},     {"nofile", RLIMIT_NOFILE},
                  {"memlock", RLIMIT_MEMLOCK}, {"as", RLIMIT_AS},                 {"locks", RLIMIT_LOCKS},     {"sigpending", RLIMIT_SIGPENDING},
                  {"msgqueue", RLIMIT_MSGQUEUE}, {"nice", RLIMIT_NICE},           {"rtprio", RLIMIT_RTPRIO},   {"rttime", RLIMIT_RTTIME}};
    const size_t length = strcspn(text, " ");
    const char *soft = text + length + (text[length] == ' ');
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit limit;
        if (strlen(limits[i].name) != length || strncmp(limits[i].name, text, length) != 0 || getrlimit(limits[i].resource, &limit) != 0)
            continue;
        rlim_t wanted = strncmp(soft, "unlimited", 9) == 0 || soft[0] == '-' ? RLIM_INFINITY : strtoull(soft, NULL, 10);
        wanted = wanted < limit.rlim_max ? wanted : limit.rlim_max; /* RLIM_INFINITY is the largest value */
        if (wanted > limit.rlim_cur) {
            limit.rlim_cur = wanted;
            setrlimit(limits[i].resource, &limit);
        }
    }
}

/* Nobody gets more rights inside than outside. An ordinary user loses all capabilities of the user namespace by execve(2)
 * (capabilities(7)); for uid 0 that came without CAP_SYS_ADMIN (root of a container) the bounding set is cut to what it had.
 * no_new_privs is not set: set-user-ID files of unmapped owners have no effect here anyway, and for real root it would
 * change the job (su, ping with file capabilities). */
static void limit_capabilities(const struct job *job)
{
    if (!job->root->in_user_namespace)
        return;
    if (geteuid() == 0)
        for (int capability = 0; capability < 64; capability++)
            if ((job->inherited.capabilities.permitted >> capability & 1) == 0)
                prctl(PR_CAPBSET_DROP, capability, 0, 0, 0);
    sys_drop_inheritable();
}

static const char *first_shell(const struct job *job)
{
    const char *const shells[] = {variables_get(job->environment, "SHELL"), "/bin/bash", "/usr/bin/bash", "/bin/sh", "/usr/bin/sh"};
    for (size_t i = 0; i < sizeof shells / sizeof *shells; i++)
        if (shells[i] != NULL && shells[i][0] == '/' && access(shells[i], X_OK) == 0)
            return shells[i];
    return NULL;
}

/* As execvp(3), but with the job's PATH; remembers a file that is there and may not be executed. */
static const char *look_up(const struct job *job, const char *name, bool *denied)
{
    static char path[PATH_MAX];
    const char *directories = variables_get(job->environment, "PATH");
    if (strchr(name, '/') != NULL)
        return name;
    if (directories == NULL)
        directories = "/usr/local/bin:/usr/bin:/bin";
    for (const char *at = directories;;) {
        const int length = (int)strcspn(at, ":");
        struct stat status;
        snprintf(path, sizeof path, "%.*s/%s", length > 0 ? length : 1, length > 0 ? at : ".", name);
        if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) {
            if (access(path, X_OK) == 0)
                return path;
            *denied = true;
        }
        if (at[length] == '\0')
            return NULL;
        at += length + 1;
    }
}

static bool explain_exec(const char *program, int number, struct error *error)
{
    char interpreter[PATH_MAX];
    struct stat status;
    if ((number == ENOENT || number == ENOTDIR) && stat(program, &status) == 0 && script_interpreter(program, interpreter))
        return fail(error, EXIT_NOT_FOUND, "trace the job again and look for it with `sdee why`",
                    "%s was found but its interpreter %s was not, neither in the bundle nor on this node", program, interpreter);
    if (number == ENOENT || number == ENOTDIR)
        return fail(error, EXIT_NOT_FOUND, "`sdee ls` lists what the bundle holds", "%s was not found, neither in the bundle nor on this node",
                    program);
    if (number == E2BIG)
        return fail(error, EXIT_NOT_EXECUTABLE, NULL, "cannot execute %s: arguments and environment are too long", program);
    return fail(error, EXIT_NOT_EXECUTABLE,
                number == ENOEXEC ? "it is neither a program for this machine nor a script, or there is no /bin/sh to run it" : NULL,
                "cannot execute %s: %s", program, strerror(number));
}

/* Returns only on failure, with errno. `argv` has room for one more before its end. */
static void execute(const char *program, char **argv, char **environment)
{
    execve(program, argv, environment);
    if (errno != ENOEXEC || !script_is_text(program))
        return;
    size_t count = 0;
    while (argv[count] != NULL)
        count++;
    memmove(argv + 2, argv + 1, count * sizeof *argv); /* the end too */
    argv[0] = (char *)(uintptr_t) "/bin/sh";
    argv[1] = (char *)(uintptr_t)program;
    execve(argv[0], argv, environment);
    errno = ENOEXEC;
}

static bool enter(const struct job *job, struct error *error)
{
    const char *directory = job->options->chdir != NULL ? job->options->chdir : conf_get(job->bundle, "cwd");
    if (!job->root->way->enter(job->root, error))
        return false;
    return chdir(directory) == 0 || fail(error, EXIT_NODE, "choose one that this node has: --chdir DIR (SDEE_CHDIR=DIR)",
                                         "the working directory %s cannot be entered on this node: %s", directory, strerror(errno));
}

/* `./job.sh` stays that where it is the same file: a script sees it as $0, a program as AT_EXECFN (getauxval(3)). */
static const char *as_it_was_called(const char *program, const char *name, bool moved)
{
    struct stat one, other;
    const bool relative = name != NULL && name[0] != '/' && strchr(name, '/') != NULL;
    const bool same = relative && stat(program, &one) == 0 && stat(name, &other) == 0 && one.st_dev == other.st_dev && one.st_ino == other.st_ino;
    return same || (moved && relative && access(name, X_OK) == 0) ? name : program;
}

/* The program and its argv. */
static bool choose(const struct job *job, const char **program, char ***argv, struct error *error)
{
    const struct options *options = job->options;
    const struct bundle *bundle = job->bundle;
    bool denied = false;
    *program = conf_get(bundle, "program");
    if (options->shell && (*program = first_shell(job)) == NULL)
        return fail(error, EXIT_NOT_FOUND, "trace the job with a shell, or sdee bundle --include /bin/sh", "neither the bundle nor this node has a shell");
    const char *searched = variables_get(job->environment, "PATH");
    if (options->command != NULL && (*program = look_up(job, options->command, &denied)) == NULL)
        return fail(error, denied ? EXIT_NOT_EXECUTABLE : EXIT_NOT_FOUND, "`sdee ls` lists what the bundle holds",
                    denied ? "%s in PATH (%s) is not executable" : "%s was not found in PATH (%s)", options->command,
                    searched != NULL ? searched : "which is unset");
    *argv = words_make(bundle, options, *program);
    if (!options->shell && options->command == NULL)
        *program = as_it_was_called(*program, **argv, options->moved != NULL);
    return true;
}

void job_become(const struct job *job, pid_t launcher)
{
    struct error error = {.code = EXIT_INTERNAL};
    const char *program = NULL;
    char **argv = NULL;
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* kill -9 of the launcher ends the job */
    if (getppid() != launcher)
        _exit(EXIT_INTERNAL); /* it was killed before the line above */
    if (enter(job, &error) && choose(job, &program, &argv, &error)) {
        inherited_restore(&job->inherited);
        for (const char *cursor = NULL, *text; (text = conf_next(job->bundle, "rlimit", &cursor)) != NULL;)
            raise_limit(text);
        limit_capabilities(job);
        umask((mode_t)strtoul(conf_get(job->bundle, "umask"), NULL, 8));
        if (job->diagnosis != NULL)
            diagnose_install(job->diagnosis);
        execute(program, argv, job->environment);
        explain_exec(program, errno, &error);
    }
    error_print(&error);
    _exit(error.code);
}
