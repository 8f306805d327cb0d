#include "env/supervisor/threads.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "env/supervisor/rules.h"
#include "env/supervisor/waiting.h"
#include "lib/arena.h"
#include "lib/notify.h"

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

enum { THREADS = 8, STACK = 512 << 10, HIGHEST = 512, PATIENCE = 500 /* ms */, ROW = 16, SEATS = 256, DOUBTS = 4, AT_ONCE = 2000 /* ns */ };
enum { SLICE = 100000 /* ns: the least that the kernel takes */ };

/* A thread of the environment, and the processor on which its last call was answered. */
struct seat {
    pid_t tid;
    short processor, doubts;
};

struct group {
    struct session *session;
    int listener;
    bool receives;          /* RECV waits by itself, and its wake-up keeps caller and leader on one processor: Linux 6.6 */
    pthread_mutex_t lock;
    pthread_cond_t free;
    bool led;               /* under the lock */
    atomic_ulong term;      /* of the leader: counts up */
    atomic_long busy_since; /* when the leader's call began, now(); 0 for none */
    atomic_bool wakes_here;     /* SYNC_WAKE_UP is set */
    _Atomic struct seat seats[SEATS];
    atomic_bool ended;
    bool watched;           /* under the lock: somebody looks whether the leader hangs */
    unsigned idle, wanted;  /* under the lock: threads that wait for the lead, and how many of them are kept */
    atomic_int left;        /* threads, and the holder's main thread */
    struct group *next;
};

static struct group *groups; /* only the holder's main thread looks at the list */
static unsigned char rule_of[HIGHEST]; /* 1 + the index in RULES */
static pthread_attr_t attributes; /* of all threads */
static pthread_once_t prepared = PTHREAD_ONCE_INIT;

/* From now on a file may be served by a process that waits for us: what looks at it must not be what answers that one. */
static void expect_fuse(const struct stop *stop)
{
    char type[64]; /* fuse, fuse.sshfs, fuseblk; move_mount(2) says nothing of it */
    const bool named = stop->nr == SYS_mount && stop->arg[2] != 0 && read_string(stop, stop->arg[2], type, sizeof type);
    if (stop->nr == SYS_move_mount || (named && strncmp(type, "fuse", 4) == 0))
        atomic_store(&stop->session->serves_itself, true);
}

static void answer_one(const struct group *group, const struct seccomp_notif *call)
{
    struct stop stop = {.session = group->session, .listener = group->listener, .id = call->id, .tid = (pid_t)call->pid, .nr = call->data.nr};
    memcpy(stop.arg, call->data.args, sizeof stop.arg);
    if (!atomic_load_explicit(&stop.session->serves_itself, memory_order_relaxed))
        expect_fuse(&stop);
    const unsigned rule = stop.nr >= 0 && stop.nr < HIGHEST ? rule_of[stop.nr] : 0;
    const struct answer answer = rule > 0 ? RULES[rule - 1].handle(&stop) : GO_ON;
    if (answer.sent)
        return;
    if (answer.go_on) {
        notify_continue(group->listener, call->id);
        return;
    }
    struct seccomp_notif_resp response = {.id = call->id};
    if (answer.value < 0)
        response.error = (int)answer.value;
    else
        response.val = answer.value;
    notify_ioctl(group->listener, SECCOMP_IOCTL_NOTIF_SEND, &response); /* as notify_continue() */
}

/* Shall the answer wake the caller on our own processor? That is half the cost of a stop where the caller's call woke us on its
 * own (SYNC_WAKE_UP does both). But a call that came while we were at another's, or just going to sleep, has left its processor
 * idle: taken away from there to ours, two processes share one, and the scheduler, which sees each of them wake and sleep all the
 * time, may leave it so for 50 ms (seen with perf sched in `make -j2`). So we note where each was woken last. */
static void choose_wakeup(struct group *group, pid_t tid, bool woken)
{
    _Atomic struct seat *const place = &group->seats[(unsigned)tid % SEATS];
    struct seat seat = atomic_load_explicit(place, memory_order_relaxed);
    const short here = (short)sched_getcpu();
    bool stays = true;
    if (seat.tid != tid)
        stays = woken; /* new here */
    else if (seat.processor != here)
        stays = woken && ++seat.doubts > DOUBTS; /* the scheduler has moved it */
    if (stays || seat.tid != tid)
        seat = (struct seat){tid, here, 0};
    if (stays || woken)
        atomic_store_explicit(place, seat, memory_order_relaxed);
    if (atomic_exchange(&group->wakes_here, stays) != stays)
        ioctl(group->listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, stays ? SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP : 0UL); /* Linux 6.6 */
}

static int64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

/* Receive a call. Did it have to wake us? Then that took longer than where one is there. */
static bool wait_for_call(const struct group *group, struct seccomp_notif *call, bool *woken)
{
    struct pollfd waiting = {group->listener, POLLIN, 0};
    const int64_t before = now();
    const bool pending = group->receives || (poll(&waiting, 1, -1) == 1 && (waiting.revents & POLLIN) != 0);
    const bool received = pending && notify_ioctl(group->listener, SECCOMP_IOCTL_NOTIF_RECV, call) == 0;
    *woken = now() - before > AT_ONCE;
    return received;
}

/* The last one that leaves closes the descriptor: before, its number could become another's. */
static void leave(struct group *group)
{
    if (atomic_fetch_sub(&group->left, 1) != 1)
        return;
    close(group->listener);
    free(group);
}

static void *serve(void *argument);

static bool start_thread(struct group *group)
{
    pthread_t thread;
    atomic_fetch_add(&group->left, 1);
    if (pthread_create(&thread, &attributes, serve, group) == 0)
        return true;
    atomic_fetch_sub(&group->left, 1);
    return false;
}

/* Become the leader: when there is none, or when its call takes so long (a file server that does not answer) that others wait. Another
 * thread waits always, so however many hang, calls are answered. Returns 0 where enough of them wait already. */
static uint64_t lead(struct group *group)
{
    pthread_mutex_lock(&group->lock);
    if (group->idle >= group->wanted) {
        pthread_mutex_unlock(&group->lock);
        return 0;
    }
    group->idle++;
    while (group->led && !atomic_load(&group->ended)) {
        if (group->watched) {
            pthread_cond_wait(&group->free, &group->lock);
            continue;
        }
        struct timespec limit;
        clock_gettime(CLOCK_MONOTONIC, &limit);
        limit.tv_sec += 1;
        group->watched = true; /* one is enough: an idle session should not wake up for all */
        pthread_cond_timedwait(&group->free, &group->lock, &limit);
        group->watched = false;
        const int64_t since = atomic_load(&group->busy_since);
        if (since != 0 && now() - since > PATIENCE * 1000000LL)
            break;
    }
    group->led = true;
    group->idle--;
    if (group->idle == 0 && !atomic_load(&group->ended))
        start_thread(group);
    pthread_cond_signal(&group->free); /* the next one watches */
    atomic_store(&group->busy_since, 0);
    const uint64_t term = atomic_fetch_add(&group->term, 1) + 1;
    pthread_mutex_unlock(&group->lock);
    return term;
}

static void resign(struct group *group, uint64_t term)
{
    pthread_mutex_lock(&group->lock);
    if (atomic_load(&group->term) == term) {
        group->led = false;
        pthread_cond_signal(&group->free);
    }
    pthread_mutex_unlock(&group->lock);
}

/* sched_setattr(2): from Linux 6.12 the time slice that a thread asks for decides how soon it runs when it wakes up. Each
 * stop waits for us, and we work for microseconds. Earlier kernels take no notice. */
static void ask_for_short_slices(void)
{
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } wanted = {.size = sizeof wanted, .nice = getpriority(PRIO_PROCESS, 0), .runtime = SLICE};
    syscall(SYS_sched_setattr, 0, &wanted, 0);
}

/* One thread, the leader, waits for calls and answers them; it gives the lead away when calls wait already time and again. So
 * a few processes are served by one warm thread, which costs less than waking another, and a large parallel build by all. Not
 * epoll(7), which does not hand on that the wake-up is to keep process and leader on one CPU (SYNC_WAKE_UP): that halves the cost
 * of a stop. Not all threads in RECV: each call wakes all that wait there. */
static void *serve(void *argument)
{
    struct group *group = argument;
    unsigned row = 0; /* calls in a row at which the next one waited already */
    ask_for_short_slices();
    while (!atomic_load(&group->ended)) {
        const uint64_t term = lead(group);
        if (term == 0)
            break;
        while (!atomic_load(&group->ended) && atomic_load(&group->term) == term) {
            struct seccomp_notif call = {0};
            bool woken;
            if (!wait_for_call(group, &call, &woken))
                continue; /* ENOENT: that process was killed meanwhile */
            row = woken ? 0 : row + 1;
            choose_wakeup(group, (pid_t)call.pid, woken);
            if (row > ROW || atomic_load_explicit(&group->session->serves_itself, memory_order_relaxed)) {
                row = 0;
                resign(group, term);
                answer_one(group, &call);
                break;
            }
            atomic_store(&group->busy_since, now());
            answer_one(group, &call);
            if (atomic_load(&group->term) == term)
                atomic_store(&group->busy_since, 0);
        }
    }
    leave(group);
    return NULL;
}

static void prepare(void)
{
    for (unsigned i = 0; i < RULE_COUNT; i++)
        rule_of[RULES[i].nr] = (unsigned char)(i + 1);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
}

bool supervise(struct session *session, int listener)
{
    struct group *group = allocate(1, sizeof *group);
    *group = (struct group){.session = session, .listener = listener, .next = groups};
    group->receives = ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP) == 0;
    atomic_store(&group->wakes_here, group->receives);
    pthread_mutex_init(&group->lock, NULL);
    pthread_condattr_t clock; /* not the one that may be set back while somebody waits */
    pthread_condattr_init(&clock);
    pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
    pthread_cond_init(&group->free, &clock);
    pthread_condattr_destroy(&clock);
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    group->wanted = processors < 2 ? 2 : processors > THREADS ? THREADS : (unsigned)processors;
    pthread_once(&prepared, prepare);
    groups = group;
    atomic_store(&group->left, 1); /* ours, until supervise_end() */
    unsigned started = 0;
    while (started < group->wanted && start_thread(group))
        started++;
    if (started > 0)
        return true;
    groups = group->next;
    leave(group);
    return false;
}

/* Each thread hears of it: those that lead by poll(2), those that wait within a second, one that hangs in a call whenever that
 * ends. So nothing here waits for them. */
void supervise_end(int listener)
{
    for (struct group **at = &groups; *at != NULL; at = &(*at)->next)
        if ((*at)->listener == listener) {
            struct group *group = *at;
            *at = group->next;
            pthread_mutex_lock(&group->lock);
            atomic_store(&group->ended, true);
            pthread_cond_broadcast(&group->free);
            pthread_mutex_unlock(&group->lock);
            leave(group);
            return;
        }
}
