#include "env/supervisor/owners.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "env/supervisor/as_root.h"
#include "lib/arena.h"
#include "lib/error.h"

/* Files of which the attribute cannot tell, by inode. The birth time tells an inode number that is used again. */
struct entry {
    uint64_t device, inode;
    int64_t born;
    struct owner owner;
};
enum { LINE = 128 };
static struct entry *entries;
static size_t entry_count, entry_room;
static uint32_t *slots; /* a hash table of 1 + index, twice as large as `entries` can hold */
static int log_fd = -1;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

static bool mapped(const struct range *range, uint32_t own, uint32_t id, uint32_t *shown)
{
    if (id == own) {
        *shown = 0;
        return true;
    }
    if (id < range->start || id >= range->start + range->count) {
        *shown = id; /* the host's own number: the login node's accounts are the environment's */
        return false;
    }
    *shown = (uint32_t)(id - range->start) + 1;
    return true;
}

bool is_foreign(const struct session *session, const struct statx *file)
{
    uint32_t shown;
    return !mapped(&session->steps.uids, session->uid, file->stx_uid, &shown) || !mapped(&session->steps.gids, session->gid, file->stx_gid, &shown);
}

bool is_anothers(const struct session *session, const struct statx *file)
{
    uint32_t shown;
    return !mapped(&session->steps.uids, session->uid, file->stx_uid, &shown);
}

static bool is_ours(const struct session *session, const struct statx *file, bool *marked)
{
    const struct step *step = step_of(&session->steps, file);
    *marked = step != NULL && step->kind != STEP_BIND && step->kind != STEP_LIVE && step->kind != STEP_PROC;
    return step != NULL && step->kind == STEP_OVERLAY;
}

static struct entry key_of(const struct session *session, const struct statx *file)
{
    bool marked;
    is_ours(session, file, &marked); /* the device number of an overlay is another one at each mount */
    return (struct entry){.device = marked ? 0 : (uint64_t)file->stx_dev_major << 32 | file->stx_dev_minor,
                          .inode = file->stx_ino,
                          .born = (file->stx_mask & STATX_BTIME) != 0 ? file->stx_btime.tv_sec * 1000000000LL + file->stx_btime.tv_nsec : 0};
}

static uint32_t *slot_of(const struct entry *key)
{
    const size_t room = entry_room * 2;
    size_t at = (key->inode * 0x9E3779B97F4A7C15ULL >> 20) % room;
    while (slots[at] != 0) {
        const struct entry *entry = &entries[slots[at] - 1];
        if (entry->inode == key->inode && entry->device == key->device && entry->born == key->born)
            break;
        at = at + 1 < room ? at + 1 : 0;
    }
    return &slots[at];
}

static struct entry *find(const struct entry *key)
{
    const uint32_t index = entry_room > 0 ? *slot_of(key) : 0;
    return index > 0 ? &entries[index - 1] : NULL;
}

static void remember(const struct entry *entry)
{
    struct entry *known = find(entry);
    if (known != NULL) {
        *known = *entry;
        return;
    }
    if (entry_count == entry_room) {
        entry_room = entry_room * 2 + 64;
        entries = reallocate(entries, entry_room, sizeof *entries);
        free(slots);
        slots = allocate(entry_room * 2, sizeof *slots);
        for (size_t i = 0; i < entry_count; i++)
            *slot_of(&entries[i]) = (uint32_t)(i + 1);
    }
    entries[entry_count] = *entry;
    *slot_of(&entries[entry_count]) = (uint32_t)(entry_count + 1);
    entry_count++;
}

void owners_load(int directory)
{
    log_fd = openat(directory, "owners", O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    FILE *stream = log_fd >= 0 ? fdopen(dup(log_fd), "r") : NULL;
    struct entry entry;
    char line[LINE];
    int end;
    while (stream != NULL && fgets(line, sizeof line, stream) != NULL)
        if (sscanf(line, "%lu %lu %ld %u %u%n", &entry.device, &entry.inode, &entry.born, &entry.owner.uid, &entry.owner.gid, &end) == 5 &&
            line[end] == '\n')
            remember(&entry);
    if (stream != NULL)
        fclose(stream);
}

/* Append a line, or nothing: half of one on a full disk would spoil the next. */
static bool note_entry(const struct entry *entry)
{
    char line[LINE];
    struct stat log;
    const int length =
        snprintf(line, sizeof line, "%lu %lu %ld %u %u\n", entry->device, entry->inode, entry->born, entry->owner.uid, entry->owner.gid);
    if (log_fd < 0 || fstat(log_fd, &log) != 0)
        return false;
    const ssize_t written = write(log_fd, line, (size_t)length);
    if (written > 0 && written != length && ftruncate(log_fd, log.st_size) != 0)
        note("the list of owners is damaged: %s", strerror(errno));
    return written == length;
}

/* A path for the calls that take no O_PATH descriptor. */
static void name_of(int fd, char *name, size_t size)
{
    snprintf(name, size, "/proc/self/fd/%d", fd);
}

static bool can_have_attributes(const struct statx *file)
{
    return S_ISREG(file->stx_mode) || S_ISDIR(file->stx_mode);
}

struct owner owner_shown(const struct session *session, int fd, const struct statx *file)
{
    char name[64];
    name_of(fd, name, sizeof name);
    return owner_shown_of(session, name, file);
}

/* Its mode may close the file to the user out here, but not to root inside. */
static int get_attribute(const void *name, char *value)
{
    const ssize_t length = getxattr(name, OWNER_ATTRIBUTE, value, INSIDE_ROOM - 1);
    return length >= 0 ? (int)length : -errno;
}

struct owner owner_shown_of(const struct session *session, const char *name, const struct statx *file)
{
    struct owner shown;
    const bool own = mapped(&session->steps.uids, session->uid, file->stx_uid, &shown.uid);
    mapped(&session->steps.gids, session->gid, file->stx_gid, &shown.gid);
    if (!own || !session->emulate)
        return shown;
    bool marked;
    is_ours(session, file, &marked);
    if (marked && can_have_attributes(file)) {
        char value[INSIDE_ROOM];
        int length = get_attribute(name, value);
        if (length == -EACCES && (file->stx_mode & S_IRUSR) == 0)
            length = as_root_inside(session, get_attribute, name, value);
        struct owner recorded;
        if (length > 0) {
            value[length] = '\0';
            if (sscanf(value, "%u %u", &recorded.uid, &recorded.gid) == 2)
                return recorded;
        }
    }
    pthread_rwlock_rdlock(&lock);
    if (entry_count > 0) {
        const struct entry key = key_of(session, file), *entry = find(&key);
        if (entry != NULL)
            shown = entry->owner;
    }
    pthread_rwlock_unlock(&lock);
    return shown;
}

/* Its owner may mark a file only where the mode lets it write; we are outside and have no capability over it. */
static int mark(int fd, const struct statx *file, struct owner owner, bool plain)
{
    char name[64], value[32];
    name_of(fd, name, sizeof name);
    const int length = snprintf(value, sizeof value, "%u %u", owner.uid, owner.gid);
    const bool writable = (file->stx_mode & S_IWUSR) != 0;
    if (!writable && chmod(name, (file->stx_mode & 07777) | S_IWUSR | S_IRUSR) != 0)
        return -errno;
    int result = plain ? removexattr(name, OWNER_ATTRIBUTE) : setxattr(name, OWNER_ATTRIBUTE, value, (size_t)length, 0);
    if (result != 0)
        result = plain && errno == ENODATA ? 0 : -errno;
    if (!writable)
        chmod(name, file->stx_mode & 07777);
    return result;
}

/* Is it of a file system by FUSE that a process of the environment has mounted? Its numbers are other files' at the next mount, so a record by
 * number would be theirs. We are outside and see the host's mounts alone: /proc/PID/mountinfo, proc(5). */
static bool is_served_inside(const struct session *session, int fd, const struct statx *file)
{
    struct statfs system;
    char name[64], line[4096];
    unsigned major, minor;
    bool outside = false;
    name_of(fd, name, sizeof name);
    if (!atomic_load(&session->serves_itself) || (statfs(name, &system) == 0 && system.f_type != FUSE_SUPER_MAGIC))
        return false; /* some servers do not answer statfs(2) */
    FILE *mounts = fopen("/proc/self/mountinfo", "re");
    while (mounts != NULL && !outside && fgets(line, sizeof line, mounts) != NULL)
        outside = sscanf(line, "%*d %*d %u:%u", &major, &minor) == 2 && major == file->stx_dev_major && minor == file->stx_dev_minor;
    if (mounts != NULL)
        fclose(mounts);
    return !outside;
}

int owner_set(const struct session *session, int fd, const struct statx *file, struct owner owner)
{
    bool marked;
    is_ours(session, file, &marked);
    struct owner unrecorded; /* not root's everywhere: see is_anothers() */
    mapped(&session->steps.uids, session->uid, file->stx_uid, &unrecorded.uid);
    mapped(&session->steps.gids, session->gid, file->stx_gid, &unrecorded.gid);
    const bool plain = owner.uid == unrecorded.uid && owner.gid == unrecorded.gid;
    if (marked && can_have_attributes(file)) {
        const int result = mark(fd, file, owner, plain);
        if (result != -EOPNOTSUPP && result != -EPERM)
            return result;
    }
    if (!plain && is_served_inside(session, fd, file))
        return -EINVAL; /* as the kernel says, where the file system is mounted for others, too (allow_other) */
    struct entry entry = key_of(session, file);
    entry.owner = owner;
    pthread_rwlock_wrlock(&lock);
    const bool needed = !plain || find(&entry) != NULL;
    if (needed)
        remember(&entry);
    const bool kept = !needed || note_entry(&entry);
    pthread_rwlock_unlock(&lock);
    return kept ? 0 : -ENOSPC;
}
