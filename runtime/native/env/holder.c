#include "env/holder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "env/plan.h"
#include "env/stand_ins.h"
#include "env/supervisor/owners.h"
#include "env/supervisor/session.h"
#include "env/supervisor/threads.h"
#include "lib/fds.h"
#include "lib/remove.h"
#include "lib/unshare.h"

enum { GRACE = 5 /* s; `sdee env stop` waits for twice that */ };
enum { NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS };

/* "./socket": the directory may be deeper than the 108 bytes of sun_path allow. */
static const struct sockaddr_un ADDRESS = {.sun_family = AF_UNIX, .sun_path = "socket"};

int holder_connect(void)
{
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    struct ucred peer;
    socklen_t size = sizeof peer;
    if (fd < 0)
        return -1;
    if (connect(fd, (const struct sockaddr *)&ADDRESS, sizeof ADDRESS) == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
        peer.uid == geteuid())
        return fd;
    close(fd);
    return -1;
}

/* newuidmap(1), newgidmap(1): set-user-ID programs of the site that check /etc/subuid. */
static bool run_newmap(const char *program, pid_t pid, unsigned own, const struct range *range, struct error *error)
{
    char id[16], mine[16], start[24], count[24];
    snprintf(id, sizeof id, "%d", pid);
    snprintf(mine, sizeof mine, "%u", own);
    snprintf(start, sizeof start, "%llu", (unsigned long long)range->start);
    snprintf(count, sizeof count, "%llu", (unsigned long long)range->count);
    const pid_t child = fork();
    if (child == 0) {
        execlp(program, program, id, "0", mine, "1", "1", start, count, (char *)NULL);
        _exit(127);
    }
    int status = -1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return status == 0 || fail(error, EXIT_KERNEL, "check /etc/subuid and /etc/subgid: the environment needs the ids that it was made with",
                               "%s cannot map %llu ids from %llu (status %d)", program, (unsigned long long)range->count,
                               (unsigned long long)range->start, WEXITSTATUS(status));
}

bool map_ids(pid_t pid, const struct steps *plan, struct error *error)
{
    if (plan->uids.count > 0)
        return run_newmap("newuidmap", pid, geteuid(), &plan->uids, error) && run_newmap("newgidmap", pid, getegid(), &plan->gids, error);
    return idmap_write(pid, (struct id_pair){0, geteuid()}, &(struct id_pair){0, getegid()}) == NULL ||
           fail(error, EXIT_KERNEL, "`sdee doctor` names the setting that is missing", "cannot map the user's ids in a user namespace: %s", strerror(errno));
}

/* What is in /tmp. */
static void empty_tmp(void)
{
    const int tmp = open("tmp", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    const int listed = tmp >= 0 ? openat(tmp, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    DIR *stream = listed >= 0 ? fdopendir(listed) : NULL;
    for (const struct dirent *item; stream != NULL && (item = readdir(stream)) != NULL;)
        if (strcmp(item->d_name, ".") != 0 && strcmp(item->d_name, "..") != 0)
            remove_one(tmp, item->d_name, true);
    if (stream != NULL)
        closedir(stream);
    else if (listed >= 0)
        close(listed);
    if (tmp >= 0)
        close(tmp);
}

/* PID 1 has been asked to end the environment: who is there shall write what they have not written (databases, editors, archives by
 * FUSE). Interactive shells take no notice of SIGTERM, but of SIGHUP. What is left then the holder's end kills. */
static void end_all(sigset_t *awaited)
{
    const struct timespec patience = {0, 300000000};
    kill(-1, SIGTERM);
    kill(-1, SIGCONT); /* a stopped one hears nothing */
    sigdelset(awaited, SIGTERM);
    sigset_t none;
    sigemptyset(&none);
    sigtimedwait(&none, NULL, &patience);
    kill(-1, SIGHUP);
}

/* PID 1 of the environment: takes in orphans until it is killed, which ends all others. */
static void be_init(struct steps *plan, int go, int result)
{
    struct error error = {0};
    char byte;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (read(go, &byte, 1) != 1)
        _exit(1);
    prctl(PR_SET_NAME, "sdee-env-init");
    empty_tmp();
    umask(0);
    if (plan_carry_out(plan, &error))
        fronts_mount();
    umask(022);
    prctl(PR_SET_DUMPABLE, 1); /* or /proc/PID/ns would be closed to the terminals that join */
    if (write(result, &error, sizeof error) != sizeof error || error.code != 0)
        _exit(1);
    close(go);
    close(result);
    sigset_t awaited;
    sigemptyset(&awaited);
    sigaddset(&awaited, SIGCHLD);
    sigaddset(&awaited, SIGTERM);
    sigprocmask(SIG_BLOCK, &awaited, NULL);
    for (;;) {
        while (waitpid(-1, NULL, WNOHANG) > 0)
            ;
        int number;
        if (sigwait(&awaited, &number) == 0 && number == SIGTERM)
            end_all(&awaited);
    }
}

/* Make the namespaces and all in them. The pid of their PID 1, or -1. */
static pid_t make_namespaces(struct steps *plan, struct error *error)
{
    int go[2], result[2];
    if (pipe2(go, O_CLOEXEC) != 0 || pipe2(result, O_CLOEXEC) != 0) {
        fail(error, EXIT_RESOURCES, NULL, "cannot make a pipe: %s", strerror(errno));
        return -1;
    }
    const pid_t pid = clone_into_namespaces(NAMESPACES);
    if (pid < 0) {
        fail_to_unshare(error, "the namespaces of an environment", NAMESPACES, "`sdee doctor` names the setting that is missing");
        return -1;
    }
    if (pid == 0) {
        close(go[1]);
        close(result[0]);
        be_init(plan, go[0], result[1]);
    }
    close(go[0]);
    close(result[1]);
    bool good = map_ids(pid, plan, error);
    good = good && write(go[1], "g", 1) == 1;
    if (good && read(result[0], error, sizeof *error) != (ssize_t)sizeof *error)
        good = fail(error, EXIT_KERNEL, NULL, "the environment's first process ended early");
    close(go[1]);
    close(result[0]);
    if (good && error->code == 0)
        return pid;
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return -1;
}

/* What the holder polls: the listening socket, PID 1, then its members: terminals, and listeners as seccomp(2) calls them. Some descriptors
 * are left to the supervisor: without one for a file it would let the kernel show that file's owner. */
enum { MOST = 16384, SPARE = 64 };
static struct pollfd polled[MOST];
static enum member { NEW, SERVED, LISTENER } members[MOST];
static unsigned polled_count, promised /* to listeners of new terminals */, most = MOST;

static void look_at(int fd, short events, enum member member)
{
    members[polled_count] = member;
    polled[polled_count++] = (struct pollfd){fd, events, 0};
    promised += member == NEW;
}

/* A terminal sends the listener of its command, or has gone; a listener's last process has ended. False: it is looked at no more. */
static bool hear(struct session *session, unsigned i)
{
    if (members[i] == LISTENER) {
        supervise_end(polled[i].fd); /* and its threads close it */
        return false;
    }
    const bool first = members[i] == NEW;
    const int listener = (polled[i].revents & POLLIN) != 0 ? receive_fd(polled[i].fd) : -1;
    members[i] = SERVED;
    promised -= first;
    if (listener >= 0 && first && supervise(session, listener)) { /* which closes it else */
        look_at(listener, 0, LISTENER);
        if (write(polled[i].fd, "k", 1) != 1)
            note("a terminal disconnected");
        return true;
    }
    if (listener >= 0 && !first)
        close(listener);
    close(polled[i].fd);
    return false;
}

/* False where there are too many descriptors: those who join wait until one is closed. */
static bool accept_terminal(int listening, int init)
{
    const int terminal = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    if (terminal < 0)
        return errno != EMFILE && errno != ENFILE && errno != ENOMEM && errno != ENOBUFS;
    struct ucred peer;
    socklen_t size = sizeof peer; /* the directory is closed to others, but its mode is the user's to change: what they send would be supervised */
    const bool own = getsockopt(terminal, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
    if (own && send_fd(terminal, init))
        look_at(terminal, POLLIN, NEW);
    else
        close(terminal); /* another user's, or it has gone again */
    return true;
}

static volatile sig_atomic_t ending; /* `sdee env stop`, or the machine goes down */

static void note_end(int number)
{
    (void)number;
    ending = 1;
}

/* They see by this that their commands do not end by themselves. */
static void leave_terminals(void)
{
    for (unsigned i = polled_count; i-- > 2;)
        if (members[i] != LISTENER) {
            promised -= members[i] == NEW;
            close(polled[i].fd);
            polled[i] = polled[--polled_count];
            members[i] = members[polled_count];
        }
}

/* SIGALRM ends us, and with us all that is left. */
static void end_gently(pid_t init)
{
    leave_terminals();
    kill(init, SIGTERM);
    alarm(GRACE);
}

static void serve(struct session *session, int listening, int init, pid_t init_pid)
{
    const struct timespec first = {10, 0};
    bool used = false, full = false, asked = false;
    sigset_t none, term; /* SIGTERM comes while we wait only, and to none of the threads */
    sigemptyset(&none);
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    signal(SIGTERM, note_end);
    look_at(listening, POLLIN, SERVED);
    look_at(init, POLLIN, SERVED);
    while ((!used && !ending) || polled_count > 2) {
        polled[0].fd = ending || full || polled_count + promised + 2 > most ? -1 : listening;
        /* A terminal that was killed before it came would leave us here forever. */
        const int ready = ppoll(polled, polled_count, used ? NULL : &first, &none);
        if (ending && !asked) {
            asked = true;
            end_gently(init_pid);
            continue;
        }
        if (ready == 0 || (ready < 0 && errno != EINTR) || polled[1].revents != 0)
            return;
        if (ready < 0)
            continue;
        const bool joined = polled[0].revents != 0;
        for (unsigned i = polled_count; i-- > 2;)
            if (polled[i].revents != 0 && !hear(session, i)) {
                polled[i] = polled[--polled_count];
                members[i] = members[polled_count];
                full = false;
            }
        if (joined) {
            full = !accept_terminal(listening, init);
            used = used || polled_count > 2;
        }
    }
}

static void settle(int keep)
{
    setsid();
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    const int log = open("log", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(null, STDIN_FILENO);
    dup2(null, STDOUT_FILENO);
    dup2(log >= 0 ? log : null, STDERR_FILENO);
    dup2(keep, 3);
    fcntl(3, F_SETFD, FD_CLOEXEC);
    syscall(SYS_close_range, 4U, ~0U, 0U); /* of whoever started us: a pipe that they wait for the end of */
    struct rlimit files; /* two for each terminal */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
        if (files.rlim_max < MOST + SPARE)
            most = files.rlim_max > 2 * SPARE ? (unsigned)files.rlim_max - SPARE : SPARE;
    }
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_DFL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(0);
}

static void be_holder(struct steps *plan, int ready)
{
    static struct session session;
    static struct error error;
    settle(ready);
    ready = 3;
    session = (struct session){.steps = *plan, .uid = geteuid(), .gid = getegid(), .emulate = plan->uids.count == 0};
    session.group_count = getgroups(sizeof session.groups / sizeof session.groups[0], session.groups);
    if (session.group_count < 0)
        session.group_count = 0;
    const pid_t init = make_namespaces(plan, &error);
    char root[64];
    snprintf(root, sizeof root, "/proc/%d/root", init);
    session.root = init > 0 ? open(root, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
    const int init_fd = init > 0 ? (int)syscall(SYS_pidfd_open, init, 0) : -1;
    session.init = init_fd;
    const int listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    unlink(ADDRESS.sun_path); /* of a holder that was killed */
    const bool good = session.root >= 0 && init_fd >= 0 && bind(listening, (const struct sockaddr *)&ADDRESS, sizeof ADDRESS) == 0 &&
                      listen(listening, 64) == 0;
    if (!good && error.code == 0)
        fail(&error, EXIT_KERNEL, NULL, "cannot hold the environment: %s", strerror(errno));
    steps_identify(&session.steps, session.root);
    owners_load(AT_FDCWD);
    prctl(PR_SET_NAME, "sdee-env-hold");
    if (write(ready, &error, sizeof error) != sizeof error || !good)
        _exit(1);
    close(ready);
    serve(&session, listening, init_fd, init);
    kill(init, SIGKILL);
    while (waitpid(init, NULL, 0) < 0 && errno == EINTR)
        ;
    unlink(ADDRESS.sun_path); /* who connects in between is let go with our end, and tries again */
    _exit(0);
}

bool holder_start(struct steps *plan, struct error *error)
{
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0)
        return fail(error, EXIT_RESOURCES, NULL, "cannot make a pipe: %s", strerror(errno));
    const pid_t first = fork();
    if (first < 0)
        return fail(error, EXIT_RESOURCES, "raise `ulimit -u`", "cannot fork: %s", strerror(errno));
    if (first == 0) { /* twice, so that the terminal has no child that it does not know */
        if (fork() == 0)
            be_holder(plan, ready[1]);
        _exit(0);
    }
    close(ready[1]);
    while (waitpid(first, NULL, 0) < 0 && errno == EINTR)
        ;
    const bool told = read(ready[0], error, sizeof *error) == (ssize_t)sizeof *error;
    close(ready[0]);
    if (!told)
        return fail(error, EXIT_INTERNAL, "read the file `log` of the environment", "the environment's holder ended early");
    return error->code == 0;
}
