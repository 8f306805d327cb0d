/* One terminal: starts the holder if there is none, joins its namespaces, runs a command, waits for it. */
#include "env/enter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "env/holder.h"
#include "env/plan.h"
#include "env/supervisor/filter.h"
#include "lib/end.h"
#include "lib/fds.h"
#include "lib/unshare.h"

enum { JOINED = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS };

static pid_t child; /* for the signal handlers */
static sigset_t mask; /* as the shell gave it */

/* The terminal's keys (SI_KERNEL) reach the command as well, since it is in our process group. What another process sends is passed on; a
 * signal to the whole group by kill(2) looks the same as one to us alone, and arrives twice. */
static void relay(int number, siginfo_t *info, void *context)
{
    (void)context;
    const bool key = number == SIGINT || number == SIGQUIT || number == SIGTSTP;
    if (child > 0 && (!key || info->si_code <= 0))
        kill(child, number);
}

/* Nobody's ignored signals (nohup(1)) are touched. With SIGTSTP from the terminal we stop when the command has: else, continued before it, we
 * would meet its old stop and stop once more. */
static void relay_signals(void)
{
    static const int relayed[] = {SIGINT, SIGQUIT, SIGTSTP, SIGTERM, SIGHUP, SIGALRM, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH};
    const struct sigaction action = {.sa_sigaction = relay, .sa_flags = SA_SIGINFO | SA_RESTART};
    struct sigaction before;
    for (unsigned i = 0; i < sizeof relayed / sizeof relayed[0]; i++)
        if (sigaction(relayed[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            sigaction(relayed[i], &action, NULL);
}

/* As the shell started us: what was ignored or blocked stays so. */
static void restore_signals(void)
{
    struct sigaction before;
    for (int number = 1; number < 32; number++)
        if (sigaction(number, NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &mask, NULL);
}

/* What the user asks for at this start is bound in besides. */
static void add_on_request(const struct enter_options *options, struct steps *plan)
{
    const char *agent = getenv("SSH_AUTH_SOCK"), *runtime = getenv("XDG_RUNTIME_DIR");
    if (options->ssh_agent && agent != NULL && agent[0] == '/')
        plan_add(plan, STEP_LIVE, agent, "");
    if (!options->x11)
        return;
    plan_add(plan, STEP_LIVE, "/tmp/.X11-unix", "");
    const char *authority = getenv("XAUTHORITY"), *wayland = getenv("WAYLAND_DISPLAY");
    if (authority != NULL && authority[0] == '/')
        plan_add(plan, STEP_LIVE, authority, "");
    char path[4096];
    if (wayland != NULL && runtime != NULL && snprintf(path, sizeof path, "%s/%s", runtime, wayland) < (int)sizeof path && path[0] == '/')
        plan_add(plan, STEP_LIVE, path, "");
}

/* Is the working directory still the environment of that name? `sdee env remove` and `reset` hold the lock while they take it away. */
static bool is_current(const char *directory)
{
    struct stat named, here;
    return stat(directory, &named) == 0 && stat(".", &here) == 0 && named.st_ino == here.st_ino && named.st_dev == here.st_dev;
}

/* Connect to the holder, started when need be; two terminals that come at once start one. */
static int connect_or_start(const struct enter_options *options, struct steps *plan, struct error *error)
{
    const int lock = open("lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if ((lock < 0 && errno != ENOENT) || (lock >= 0 && flock(lock, LOCK_EX) != 0)) {
        fail(error, EXIT_OUTPUT, NULL, "cannot lock the environment: %s", strerror(errno));
        return -1;
    }
    if (lock < 0 || (options->directory[0] == '/' && !is_current(options->directory))) {
        fail(error, EXIT_INPUT, "`sdee env list` shows all", "environment %s was removed or reset just now", options->name);
        close(lock);
        return -1;
    }
    int socket = holder_connect();
    if (socket < 0) {
        add_on_request(options, plan);
        if (holder_start(plan, error) && (socket = holder_connect()) < 0)
            fail(error, EXIT_INTERNAL, NULL, "the environment's holder does not answer");
    }
    close(lock);
    return socket;
}

static void unset_unless(bool kept, const char *name)
{
    if (!kept)
        unsetenv(name);
}

/* PATH of any length with root's directories in it: dpkg refuses to work without ldconfig and start-stop-daemon. And /usr/local/bin, where
 * pip and `make install` put programs: cron(8) and sshd(8) start people's commands without it. */
static void complete_path(void)
{
    static const char *const needed[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/sbin"};
    const char *path = getenv("PATH");
    if (path == NULL || path[0] == '\0')
        path = "/usr/local/bin:/usr/bin:/bin";
    const size_t room = strlen(path) + 64;
    char *text = malloc(room), *colons = malloc(room + 2);
    if (text == NULL || colons == NULL)
        return;
    strcpy(text, path);
    for (unsigned i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        char wanted[64];
        sprintf(colons, ":%s:", text);
        sprintf(wanted, ":%s:", needed[i]);
        if (strstr(colons, wanted) == NULL)
            strcat(strcat(text, ":"), needed[i]);
    }
    setenv("PATH", text, 1);
    free(text);
    free(colons);
}

static void set_environment(const struct enter_options *options)
{
    char text[512];
    complete_path();
    setenv("SDEE_ENVIRONMENT", options->name, 1);
    /* The shells' files are made by configure.py. Any sh reads $ENV when it is interactive; PROMPT_COMMAND serves bash where it reads
     * no start-up file of the system, and the user's own comes first. */
    setenv("ENV", "/etc/sdee/shell.sh", 0);
    snprintf(text, sizeof text, "case $PS1 in *'(%s)'*) ;; *debian_chroot*) ;; *) PS1=\"(%s) $PS1\" ;; esac", options->name, options->name);
    setenv("PROMPT_COMMAND", text, 0);
    /* PMIx (Open MPI's start) proves by munge(7) who a rank is, where that is there: the user, and not root. It has other proofs.
     * Jobs do not get it: runtime/native/front/real.c */
    setenv("PMIX_MCA_psec", "^munge", 0);
    setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 0); /* this root may what the user may */
    setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 0);
    unset_unless(options->ssh_agent, "SSH_AUTH_SOCK");
    unset_unless(options->x11, "DISPLAY");
    unset_unless(options->x11, "WAYLAND_DISPLAY");
    unset_unless(options->x11, "XAUTHORITY");
    unset_unless(options->x11, "XDG_RUNTIME_DIR"); /* the host's /run/user is not here */
    unsetenv("DBUS_SESSION_BUS_ADDRESS");
    const char *temporary = getenv("TMPDIR");
    struct stat there;
    if (temporary != NULL && stat(temporary, &there) != 0)
        unsetenv("TMPDIR");
}

static void go_to(const char *directory)
{
    if (directory[0] != '\0' && chdir(directory) == 0)
        return;
    const char *home = getenv("HOME");
    if (home == NULL || chdir(home) != 0)
        home = chdir("/") == 0 ? "/" : "nowhere";
    note("%s is not in the environment, which has its own /tmp and /run: starting in %s", directory[0] != '\0' ? directory : "the working directory", home);
}

/* Say so where another command has taken the environment away, or ended it, while we entered; else `error` stays what it is. Returns -1. */
static int lost(const struct enter_options *options, int socket, struct error *error)
{
    struct pollfd holder = {socket, POLLIN, 0};
    if (options->directory[0] == '/' && !is_current(options->directory))
        fail(error, EXIT_INPUT, "`sdee env list` shows all", "environment %s was removed or reset just now", options->name);
    else if (socket >= 0 && poll(&holder, 1, 50) == 1 && (holder.revents & POLLHUP) != 0)
        fail(error, EXIT_INPUT, "enter it again", "environment %s ended just now", options->name);
    return -1;
}

static void run_inside(const struct enter_options *options, bool emulate, int socket, const char *directory)
{
    struct error error = {0};
    char byte;
    set_environment(options);
    go_to(directory);
    const char *agent = getenv("SSH_AUTH_SOCK");
    if (options->ssh_agent && (agent == NULL || access(agent, F_OK) != 0))
        note("cannot show an ssh-agent: %s", agent == NULL ? "there is none" : "the environment was started without --ssh-agent (sdee env stop ends it)");
    const int listener = filter_install(emulate);
    if (listener < 0)
        fail(&error, EXIT_KERNEL, "leave the tracer, container or supervisor that already watches this session by seccomp",
             "cannot supervise the command: seccomp: %s", strerror(errno));
    else if (!send_fd(socket, listener) || read(socket, &byte, 1) != 1) {
        fail(&error, EXIT_RESOURCES, NULL, "the environment's holder cannot take another terminal");
        lost(options, socket, &error);
    }
    if (error.code != 0) {
        error_print(&error);
        _exit((int)error.code);
    }
    close(listener);
    restore_signals();
    const char *shell = getenv("SHELL");
    char *const interactive[] = {(char *)(uintptr_t)(shell != NULL && access(shell, X_OK) == 0 ? shell : "/bin/sh"), NULL};
    char *const *command = options->command[0] != NULL ? options->command : interactive;
    execvp(command[0], command);
    fail(&error, errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, NULL, "cannot run %s in the environment: %s", command[0], strerror(errno));
    error_print(&error);
    _exit((int)error.code);
}

/* Wait as a shell's job should: stop with the command, go on with it. Returns how it ended, wait(2). */
static int wait_for(pid_t pid)
{
    int status = 0;
    for (;;) {
        if (waitpid(pid, &status, WUNTRACED) < 0) {
            if (errno == EINTR)
                continue;
            return EXIT_INTERNAL << 8;
        }
        if (!WIFSTOPPED(status))
            break;
        raise(SIGSTOP);
        kill(pid, SIGCONT);
    }
    if (isatty(STDIN_FILENO)) { /* an interactive shell inside has taken the terminal, and knows our group by no number */
        signal(SIGTTOU, SIG_IGN);
        tcsetpgrp(STDIN_FILENO, getpgrp());
    }
    return status;
}

/* Killed with the environment, and not alone: the holder's end of our socket is closed at most a moment after PID 1 is killed. */
static void tell_of_the_end(const struct enter_options *options, int socket, int status)
{
    struct pollfd holder = {socket, POLLIN, 0};
    const int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    if ((number == SIGKILL || number == SIGTERM || number == SIGHUP) && poll(&holder, 1, number == SIGKILL ? 500 : 50) == 1 && (holder.revents & POLLHUP) != 0)
        note("environment %s ended while the command ran; `sdee env stop`, `reset --force` and `remove --force` end it", options->name);
}

static bool in_directory(const char *directory, struct error *error)
{
    struct stat state;
    if (chdir(directory) != 0 || stat(".", &state) != 0)
        return fail(error, EXIT_INPUT, "`sdee env list` shows all; `sdee env create NAME` makes one", "there is no environment at %s: %s",
                    directory, strerror(errno));
    if (state.st_uid != geteuid() || (state.st_mode & 077) != 0)
        return fail(error, EXIT_INPUT, "only its owner may enter it; its mode must be 0700", "the environment at %s is open to other users", directory);
    return true;
}

int enter(const struct enter_options *options, struct error *error)
{
    static char before[4096];
    if (getcwd(before, sizeof before) == NULL)
        before[0] = '\0';
    if (!in_directory(options->directory, error))
        return -1;
    struct steps plan;
    if (!plan_read("plan", &plan, error))
        return lost(options, -1, error);
    int socket = -1, init = -1;
    for (int again = 0; init < 0 && again < 2; again++) { /* again: that one was about to end (`sdee env stop`) */
        socket = connect_or_start(options, &plan, error);
        if (socket < 0)
            return lost(options, -1, error);
        init = receive_fd(socket);
    }
    if (init < 0 || setns(init, JOINED) != 0) {
        fail(error, EXIT_KERNEL, NULL, "cannot join the environment's namespaces: %s", strerror(errno));
        return lost(options, socket, error);
    }
    close(init);
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &mask); /* what comes before `child` is known would be lost */
    relay_signals();
    child = fork();
    if (child == 0)
        run_inside(options, plan.uids.count == 0, socket, before);
    if (child < 0) {
        fail(error, EXIT_RESOURCES, "raise `ulimit -u`", "cannot fork: %s", strerror(errno));
        return -1;
    }
    sigprocmask(SIG_SETMASK, &mask, NULL);
    const int status = wait_for(child);
    tell_of_the_end(options, socket, status);
    end_as(status); /* by a signal, too: a shell's loop ends at Ctrl-C only then */
}

int as_root(const char *directory, char **command, struct error *error)
{
    struct steps plan = {0};
    int go[2], made[2];
    char byte;
    if (directory[0] != '\0') {
        char file[4096];
        snprintf(file, sizeof file, "%s/plan", directory);
        if (access(file, F_OK) == 0 && !plan_read(file, &plan, error))
            return -1;
    }
    if (pipe2(go, O_CLOEXEC) != 0 || pipe2(made, O_CLOEXEC) != 0) {
        fail(error, EXIT_RESOURCES, NULL, "cannot make a pipe: %s", strerror(errno));
        return -1;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        byte = unshare_namespaces(CLONE_NEWUSER) == 0 ? 0 : (char)errno;
        if (write(made[1], &byte, 1) != 1 || byte != 0 || read(go[0], &byte, 1) != 1)
            _exit(EXIT_KERNEL);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a change of credentials takes it away: after unshare(2) */
        execvp(command[0], command);
        _exit(EXIT_NOT_FOUND);
    }
    close(made[1]);
    errno = read(made[0], &byte, 1) == 1 ? byte : ECHILD;
    bool good = pid > 0 && (errno == 0 || fail_to_unshare(error, "a user namespace", CLONE_NEWUSER, "`sdee doctor` names the setting that is missing"));
    good = good && map_ids(pid, &plan, error) && write(go[1], "g", 1) == 1;
    close(go[1]);
    int status = 0;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return !good ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
