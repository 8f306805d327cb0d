/* Credentials: set*id(2) by the rules of credentials(7), where the kernel would say EINVAL because an id is not mapped. */
#include "env/supervisor/calls_credentials.h"

#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "env/supervisor/credentials.h"
#include "env/supervisor/waiting.h"

enum { UNCHANGED = 0xffffffff };

static bool about_groups(const struct stop *stop)
{
    switch (stop->nr) {
    case SYS_getgid:
    case SYS_getegid:
    case SYS_getresgid:
    case SYS_setgid:
    case SYS_setregid:
    case SYS_setresgid:
    case SYS_setfsgid:
        return true;
    default:
        return false;
    }
}

static uint32_t *ids_of(const struct stop *stop, struct creds *creds)
{
    return about_groups(stop) ? creds->gid : creds->uid;
}

static bool privileged(const struct creds *creds)
{
    return creds->effective != 0;
}

/* capabilities(7), "Effect of user ID changes on capabilities". */
static void change_capabilities(const struct creds *before, struct creds *after)
{
    const bool had = before->uid[REAL] == 0 || before->uid[EFFECTIVE] == 0 || before->uid[SAVED] == 0;
    const bool has = after->uid[REAL] == 0 || after->uid[EFFECTIVE] == 0 || after->uid[SAVED] == 0;
    if (had && !has && before->keep_capabilities == 0)
        after->permitted = after->effective = 0;
    if (before->uid[EFFECTIVE] == 0 && after->uid[EFFECTIVE] != 0)
        after->effective = 0;
    if (before->uid[EFFECTIVE] != 0 && after->uid[EFFECTIVE] == 0)
        after->effective = after->permitted;
}

static struct answer apply(const struct stop *stop, const struct creds *before, struct creds *after)
{
    change_capabilities(before, after);
    if (memcmp(before, after, sizeof *before) == 0)
        return RESULT(0);
    return RESULT(creds_set(stop, after));
}

struct answer on_getid(const struct stop *stop)
{
    struct creds creds;
    if (creds_of(stop, &creds) != CREDS_OTHERS)
        return GO_ON;
    return RESULT(ids_of(stop, &creds)[stop->nr == SYS_geteuid || stop->nr == SYS_getegid ? EFFECTIVE : REAL]);
}

struct answer on_getresid(const struct stop *stop)
{
    struct creds creds;
    if (creds_of(stop, &creds) != CREDS_OTHERS)
        return GO_ON;
    for (int i = 0; i < 3; i++)
        if (!write_memory(stop, stop->arg[i], &ids_of(stop, &creds)[i], sizeof(uint32_t)))
            return RESULT(-EFAULT);
    return RESULT(0);
}

/* The user's supplementary groups keep working; here they have their numbers, which the kernel shows as 65534. */
struct answer on_getgroups(const struct stop *stop)
{
    struct creds creds;
    if (creds_of(stop, &creds) == CREDS_GONE)
        return GO_ON;
    const bool own = creds.group_count < 0;
    const int count = own ? stop->session->group_count : creds.group_count, room = (int)stop->arg[0];
    if (room == 0)
        return RESULT(count);
    if (room < count)
        return RESULT(-EINVAL);
    const void *groups = own ? (const void *)stop->session->groups : creds.groups;
    if (count > 0 && !write_memory(stop, stop->arg[1], groups, (size_t)count * sizeof(uint32_t)))
        return RESULT(-EFAULT);
    return RESULT(count);
}

struct answer on_setgroups(const struct stop *stop)
{
    struct creds before, after;
    if (creds_of(stop, &before) == CREDS_GONE)
        return GO_ON;
    after = before;
    if (!privileged(&before))
        return RESULT(-EPERM);
    if (stop->arg[0] > CREDS_GROUPS)
        return RESULT(-EINVAL);
    after.group_count = (int)stop->arg[0];
    memset(after.groups, 0, sizeof after.groups);
    if (stop->arg[0] > 0 && !read_memory(stop, stop->arg[1], after.groups, stop->arg[0] * sizeof(uint32_t)))
        return RESULT(-EFAULT);
    return apply(stop, &before, &after);
}

struct answer on_setid(const struct stop *stop)
{
    struct creds before, after;
    if (creds_of(stop, &before) == CREDS_GONE)
        return GO_ON;
    after = before;
    uint32_t *ids = ids_of(stop, &after);
    const uint32_t id = (uint32_t)stop->arg[0];
    if (id == UNCHANGED)
        return RESULT(-EINVAL);
    if (privileged(&before))
        ids[REAL] = ids[SAVED] = id;
    else if (id != ids[REAL] && id != ids[SAVED])
        return RESULT(-EPERM);
    ids[EFFECTIVE] = ids[FILESYSTEM] = id;
    return apply(stop, &before, &after);
}

struct answer on_setreid(const struct stop *stop)
{
    struct creds before, after;
    if (creds_of(stop, &before) == CREDS_GONE)
        return GO_ON;
    after = before;
    const uint32_t *old = ids_of(stop, &before);
    uint32_t *ids = ids_of(stop, &after);
    const uint32_t real = (uint32_t)stop->arg[0], effective = (uint32_t)stop->arg[1];
    if (!privileged(&before) && ((real != UNCHANGED && real != old[REAL] && real != old[EFFECTIVE]) ||
                                 (effective != UNCHANGED && effective != old[REAL] && effective != old[EFFECTIVE] && effective != old[SAVED])))
        return RESULT(-EPERM);
    if (real != UNCHANGED)
        ids[REAL] = real;
    if (effective != UNCHANGED)
        ids[EFFECTIVE] = ids[FILESYSTEM] = effective;
    if (real != UNCHANGED || (effective != UNCHANGED && effective != old[REAL]))
        ids[SAVED] = ids[EFFECTIVE];
    return apply(stop, &before, &after);
}

struct answer on_setresid(const struct stop *stop)
{
    struct creds before, after;
    if (creds_of(stop, &before) == CREDS_GONE)
        return GO_ON;
    after = before;
    const uint32_t *old = ids_of(stop, &before);
    uint32_t *ids = ids_of(stop, &after);
    for (int i = 0; i < 3; i++) {
        const uint32_t id = (uint32_t)stop->arg[i];
        if (id == UNCHANGED)
            continue;
        if (!privileged(&before) && id != old[REAL] && id != old[EFFECTIVE] && id != old[SAVED])
            return RESULT(-EPERM);
        ids[i] = id;
    }
    ids[FILESYSTEM] = ids[EFFECTIVE];
    return apply(stop, &before, &after);
}

struct answer on_setfsid(const struct stop *stop)
{
    struct creds before, after;
    if (creds_of(stop, &before) == CREDS_GONE)
        return GO_ON;
    after = before;
    uint32_t *ids = ids_of(stop, &after);
    const uint32_t old = ids[FILESYSTEM], id = (uint32_t)stop->arg[0];
    if (privileged(&before) || id == ids[REAL] || id == ids[EFFECTIVE] || id == ids[SAVED])
        ids[FILESYSTEM] = id;
    apply(stop, &before, &after);
    return RESULT(old);
}

/* prctl(PR_SET_KEEPCAPS): what a program does that goes on to capset(2) after setuid(2). */
struct answer on_keepcaps(const struct stop *stop)
{
    struct creds before, after;
    if (creds_of(stop, &before) == CREDS_GONE)
        return GO_ON;
    after = before;
    after.keep_capabilities = stop->arg[1] != 0;
    apply(stop, &before, &after);
    return GO_ON;
}

struct answer on_capset(const struct stop *stop)
{
    struct creds before, after;
    struct __user_cap_data_struct data[1];
    if (creds_of(stop, &before) != CREDS_OTHERS || !read_memory(stop, stop->arg[1], data, sizeof data))
        return GO_ON;
    after = before;
    const uint32_t wanted = 1U << CAP_SETUID | 1U << CAP_SETGID;
    after.permitted = before.permitted != 0 && (data[0].permitted & wanted) != 0;
    after.effective = after.permitted != 0 && (data[0].effective & wanted) != 0;
    if (memcmp(&before, &after, sizeof before) != 0)
        creds_set(stop, &after);
    return GO_ON;
}

/* getsockopt(SO_PEERCRED), by which PostgreSQL and D-Bus know who calls them. */
struct answer on_peercred(const struct stop *stop)
{
    if (stop->arg[2] != SO_PEERCRED || !creds_used())
        return GO_ON;
    const int socket = copy_of_descriptor(stop, (int)stop->arg[0]);
    struct ucred peer; /* the number of the process is ours to read: it is in our PID namespace here */
    socklen_t size = sizeof peer;
    struct creds creds;
    const bool known = socket >= 0 && getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && creds_of_process(peer.pid, &creds);
    if (socket >= 0)
        close(socket);
    /* The number of the process that the caller should see is inside its namespace: NSpid of /proc/PID/status. */
    char name[64], line[256];
    snprintf(name, sizeof name, "/proc/%d/status", known ? peer.pid : 0);
    FILE *status = known ? fopen(name, "re") : NULL;
    int inner = 0;
    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (strncmp(line, "NSpid:", 6) == 0)
            sscanf(strrchr(line, '\t') + 1, "%d", &inner);
    if (status != NULL)
        fclose(status);
    uint32_t room;
    if (inner == 0 || !read_memory(stop, stop->arg[4], &room, sizeof room) || room < sizeof peer)
        return GO_ON;
    peer = (struct ucred){.pid = inner, .uid = creds.uid[EFFECTIVE], .gid = creds.gid[EFFECTIVE]};
    if (!write_memory(stop, stop->arg[3], &peer, sizeof peer) || !write_memory(stop, stop->arg[4], &size, sizeof size))
        return RESULT(-EFAULT);
    return RESULT(0);
}
