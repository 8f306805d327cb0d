#include "supervise.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "calls.h"

#ifndef SECCOMP_IOCTL_NOTIF_SET_FLAGS
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS SECCOMP_IOW(4, __u64)
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (1UL << 0)
#endif

enum { THREADS = 8, STACK = 512 << 10, HIGHEST = 512 };

struct group {
    struct session *session;
    int listener;
    atomic_bool ended;
    atomic_int left;
    unsigned count;
    pthread_t threads[THREADS];
    struct group *next;
};

static struct group *groups; /* only the holder's main thread looks at the list */
static unsigned char rule_of[HIGHEST]; /* 1 + the index in RULES */

static void answer_one(const struct group *group, const struct seccomp_notif *call)
{
    struct stop stop = {.session = group->session, .listener = group->listener, .id = call->id, .tid = (pid_t)call->pid, .nr = call->data.nr};
    memcpy(stop.arg, call->data.args, sizeof stop.arg);
    const unsigned rule = stop.nr >= 0 && stop.nr < HIGHEST ? rule_of[stop.nr] : 0;
    const struct answer answer = rule > 0 ? RULES[rule - 1].handle(&stop) : GO_ON;
    if (answer.sent)
        return;
    struct seccomp_notif_resp response = {.id = call->id};
    if (answer.go_on)
        response.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    else if (answer.value < 0)
        response.error = (int)answer.value;
    else
        response.val = answer.value;
    ioctl(group->listener, SECCOMP_IOCTL_NOTIF_SEND, &response); /* fails where the process was killed meanwhile */
}

/* Each thread has an epoll of its own on the listener, with EPOLLEXCLUSIVE: a call wakes one that is idle, the first in the
 * row where several are, so that one process is served by one warm thread and a thousand by all. */
static void *serve(void *argument)
{
    struct group *group = argument;
    const int waiting = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLEXCLUSIVE};
    epoll_ctl(waiting, EPOLL_CTL_ADD, group->listener, &event);
    while (!atomic_load(&group->ended)) {
        if (epoll_wait(waiting, &event, 1, -1) != 1)
            continue;
        if ((event.events & EPOLLIN) == 0)
            break;
        struct seccomp_notif call = {0};
        if (ioctl(group->listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0)
            answer_one(group, &call);
    }
    close(waiting);
    atomic_fetch_sub(&group->left, 1);
    return NULL;
}

static void wake_up(int number)
{
    (void)number;
}

bool supervise(struct session *session, int listener)
{
    struct sigaction action = {.sa_handler = wake_up}; /* no SA_RESTART: it ends an ioctl that waits */
    sigaction(SIGUSR1, &action, NULL);
    for (unsigned i = 0; i < RULE_COUNT; i++)
        rule_of[RULES[i].nr] = (unsigned char)(i + 1);
    ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP); /* Linux 6.6; slower without */
    struct group *group = allocate(1, sizeof *group);
    *group = (struct group){.session = session, .listener = listener, .next = groups};
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    const unsigned wanted = processors < 2 ? 2 : processors > THREADS ? THREADS : (unsigned)processors;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    for (; group->count < wanted; group->count++) {
        atomic_fetch_add(&group->left, 1);
        if (pthread_create(&group->threads[group->count], &attributes, serve, group) != 0) {
            atomic_fetch_sub(&group->left, 1);
            break;
        }
    }
    pthread_attr_destroy(&attributes);
    groups = group;
    return group->count > 0;
}

void supervise_end(int listener)
{
    for (struct group **at = &groups; *at != NULL; at = &(*at)->next) {
        struct group *group = *at;
        if (group->listener != listener)
            continue;
        atomic_store(&group->ended, true);
        while (atomic_load(&group->left) > 0) { /* one may be about to wait: tell them until they have heard */
            for (unsigned i = 0; i < group->count; i++)
                pthread_kill(group->threads[i], SIGUSR1);
            usleep(200);
        }
        for (unsigned i = 0; i < group->count; i++)
            pthread_join(group->threads[i], NULL);
        *at = group->next;
        free(group);
        return;
    }
}
