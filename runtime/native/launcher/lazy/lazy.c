#include "launcher/lazy/lazy.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/lazy/answer.h"
#include "launcher/lazy/push.h"
#include "lib/fds.h"
#include "lib/sys.h"

static const char EAGER[] = "--unpack eager (SDEE_UNPACK=eager) needs no FUSE";

struct lazy {
    struct bundle bundle; /* as the server sees it: its descriptor has another number */
    struct state state;
    struct worker workers[SERVERS];
    struct decoder pusher;
    int socket; /* to the server */
    pid_t server;
};

uint64_t lazy_memory(const struct bundle *bundle)
{
    return cache_memory(bundle, SERVERS + 1) + (SERVERS + 1) * (decoder_memory(bundle) + (256 << 10)) + SERVERS * (uint64_t)(READ_MOST + REQUEST_ROOM) +
           bundle->entry_count * sizeof(uint32_t);
}

struct lazy *lazy_make(const struct bundle *bundle, const bool *wanted, struct error *error)
{
    struct lazy *lazy = calloc(1, sizeof *lazy);
    bool good = lazy != NULL;
    if (good) {
        lazy->socket = lazy->state.device = lazy->state.told = -1;
        lazy->bundle = *bundle;
        lazy->state.bundle = bundle = &lazy->bundle;
        lazy->state.queue_lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
        lazy->state.queued = (pthread_cond_t)PTHREAD_COND_INITIALIZER;
        good = tree_make(&lazy->state.tree, bundle, wanted, geteuid(), getegid()) && cache_make(&lazy->state.cache, bundle, SERVERS + 1) &&
               decoder_make(&lazy->pusher, bundle);
    }
    for (unsigned i = 0; good && i < SERVERS; i++)
        good = worker_make(&lazy->workers[i], &lazy->state);
    if (good)
        return lazy;
    lazy_free(lazy);
    fail(error, EXIT_RESOURCES, "ask for a job with more memory, or raise `ulimit -v`", "no memory left for reading the bundle");
    return NULL;
}

void lazy_end(struct lazy *lazy)
{
    if (lazy->socket >= 0)
        close(lazy->socket);
    if (lazy->state.device >= 0)
        close(lazy->state.device);
    lazy->socket = lazy->state.device = -1;
}

void lazy_wait(const struct lazy *lazy, int milliseconds)
{
    const struct timespec pause = {0, 500000};
    for (int i = 0; lazy->server > 0 && i < 2 * milliseconds && waitpid(lazy->server, NULL, WNOHANG) == 0; i++)
        nanosleep(&pause, NULL);
}

void lazy_free(struct lazy *lazy)
{
    if (lazy == NULL)
        return;
    lazy_end(lazy);
    tree_free(&lazy->state.tree);
    cache_free(&lazy->state.cache);
    decoder_free(&lazy->pusher);
    for (unsigned i = 0; i < SERVERS; i++)
        worker_free(&lazy->workers[i]);
    free(lazy);
}

void state_failed(struct state *state, const char *path, const struct error *error)
{
    if (atomic_flag_test_and_set(&state->has_failed))
        return;
    struct error whole = {.code = EXIT_INTERNAL};
    fail(&whole, error->code, error->hint[0] != '\0' ? error->hint : "copy or make the bundle again; `sdee check` tells whether it is whole",
         "the job got an input/output error (EIO) from %.900s: %.900s", path, error->message);
    if (state->told >= 0)
        (void)!pwrite(state->told, &whole, sizeof whole, 0);
}

/* To the end of the file system, or of what has become of the device: then the whole process ends. */
static void *serve(void *argument)
{
    struct worker *worker = argument;
    for (;;) {
        const ssize_t size = read(worker->state->device, worker->request, REQUEST_ROOM);
        if (size < 0 && (errno == EINTR || errno == EAGAIN || errno == ENOENT)) /* ENOENT: given up before it was read */
            continue;
        if (size < 0)
            _exit(0); /* ENODEV: unmounted */
        answer(worker, (size_t)size);
    }
}

static void *push_all(void *argument)
{
    struct lazy *lazy = argument;
    push(&lazy->state, &lazy->pusher);
    return NULL;
}

/* Have what is needed under the first numbers, and close all else: pipes that others wait for the end of, and locks. */
static void settle(struct lazy *lazy)
{
    enum { DEVICE = 3, SOCKET, BUNDLE, REST };
    const int kept[] = {lazy->state.device, lazy->socket, lazy->bundle.fd};
    int high[3];
    for (int i = 0; i < 3; i++) /* above all targets first, so that none is overwritten */
        high[i] = kept[i] >= 0 ? fcntl(kept[i], F_DUPFD_CLOEXEC, (int)REST) : -1;
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < 3; i++)
        (void)!(null >= 0 ? dup2(null, i) : close(i));
    for (int i = 0; i < 3; i++)
        (void)!(high[i] >= 0 ? dup3(high[i], DEVICE + i, O_CLOEXEC) : close(DEVICE + i));
    close_from(REST);
    lazy->state.device = DEVICE;
    lazy->socket = SOCKET;
    lazy->bundle.fd = BUNDLE;
}

/* Signals to the job's group are not meant for it: it ends with the file system. musl keeps three for itself, blocks them in no thread and lets
 * nobody ignore them; to a program of glibc one of them is SIGRTMIN. */
static void hear_no_signal(void)
{
    enum { FIRST_OF_MUSL = 32, LAST_OF_MUSL = 34 };
    const struct {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
    } ignored = {.handler = SIG_IGN}; /* the kernel's own, sigaction(2) */
    sigset_t all;
    memset(&all, 0xff, sizeof all); /* sigfillset(3) leaves these out */
    sigprocmask(SIG_BLOCK, &all, NULL);
    for (int number = FIRST_OF_MUSL; number <= LAST_OF_MUSL; number++)
        syscall(SYS_rt_sigaction, number, &ignored, NULL, sizeof ignored.mask);
}

__attribute__((noreturn)) static void become_server(struct lazy *lazy)
{
    pthread_t thread;
    hear_no_signal();
    prctl(PR_SET_NAME, "sdee-lazy", 0, 0, 0);
    settle(lazy);
    (void)!chdir("/");
    lazy->state.told = receive_fd(lazy->socket);
    close(lazy->socket);
    if (lazy->state.told < 0)
        _exit(0); /* not mounted: the launcher has gone another way, or is no more */
    sys_drop_all();
    for (unsigned i = 1; i < SERVERS; i++)
        pthread_create(&thread, NULL, serve, &lazy->workers[i]); /* fewer threads are slower, not wrong */
    pthread_create(&thread, NULL, push_all, lazy);
    serve(&lazy->workers[0]);
    _exit(0);
}

bool lazy_start(void *argument, struct error *error)
{
    struct lazy *lazy = argument;
    int ends[2];
    lazy_end(lazy); /* a second time, in a user namespace: the first server ends */
    lazy->state.device = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (lazy->state.device < 0)
        return fail(error, EXIT_KERNEL, EAGER, "cannot open /dev/fuse: %s", strerror(errno));
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return fail(error, EXIT_RESOURCES, "raise `ulimit -n`", "cannot make a socket: %s", strerror(errno));
    lazy->socket = ends[0];
    lazy->server = fork();
    if (lazy->server == 0) {
        close(ends[0]); /* else the end of the launcher would not be seen */
        lazy->socket = ends[1];
        become_server(lazy);
    }
    close(ends[1]);
    return lazy->server > 0 || fail(error, EXIT_RESOURCES, "raise `ulimit -u`", "cannot make a process that reads the closure: %s", strerror(errno));
}

bool lazy_mount(struct lazy *lazy, const char *directory, const char *told, struct error *error)
{
    char options[160];
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=%u,group_id=%u,allow_other,default_permissions", lazy->state.device,
             (unsigned)geteuid(), (unsigned)getegid());
    if (mkdir(directory, 0755) != 0 && errno != EEXIST)
        return fail(error, EXIT_KERNEL, EAGER, "cannot make a mount point: %s", strerror(errno));
    if (mount("sdee", directory, "fuse", MS_NOSUID | MS_NODEV | MS_RDONLY, options) != 0)
        return fail(error, EXIT_KERNEL, EAGER, "the kernel refuses to mount FUSE: %s", strerror(errno));
    close(lazy->state.device);
    lazy->state.device = -1;
    const int fd = open(told, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    const bool good = fd >= 0 && flock(fd, LOCK_EX) == 0 && send_fd(lazy->socket, fd); /* the lock is the server's then, to its end */
    const int number = errno;
    if (fd >= 0)
        close(fd);
    if (good)
        lazy_end(lazy);
    errno = number;
    return good || fail(error, EXIT_KERNEL, EAGER, "the process that reads the closure has ended: %s", strerror(errno));
}

bool lazy_explain(const char *told, struct error *error)
{
    struct error found;
    const int fd = open(told, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return true;
    const bool failed = pread(fd, &found, sizeof found, 0) == sizeof found, ended = flock(fd, LOCK_SH | LOCK_NB) == 0;
    close(fd);
    if (failed)
        *error = found;
    else if (ended)
        fail(error, EXIT_RESOURCES, EAGER, "the process that reads the closure (sdee-lazy) ended while the job ran: it was killed, perhaps for lack of memory");
    return !failed && !ended;
}
