#include "launcher/bundle/unpack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/frame.h"
#include "launcher/memory.h"
#include "lib/arena.h"

struct work {
    const struct bundle *bundle;
    int root;
    size_t skip; /* bytes of its path in the bundle */
    const bool *wanted;
    uint32_t *stand_ins; /* for each entry that is not wanted: a wanted hard link to it, which gets its content, or NO_ENTRY */
    _Atomic uint32_t next_frame;
    _Atomic uint64_t *missing; /* for each content: bytes not yet written */
    atomic_bool failed;
    pthread_mutex_t lock; /* of error */
    struct error *error;
};

static bool unpack_failed(const struct bundle *bundle, const char *path, struct error *error)
{
    if (errno == EFBIG)
        return fail(error, EXIT_RESOURCES, "raise `ulimit -f`", "cannot unpack %s of %s: File too large for this shell's limit", path, bundle->name);
    if (errno == ENOSPC || errno == ENOMEM || errno == EDQUOT)
        return fail(error, EXIT_RESOURCES, "ask for a job with more memory", "no memory left while unpacking %s of %s", path,
                    bundle->name);
    return fail(error, EXIT_INTERNAL, NULL, "cannot unpack %s of %s: %s", path, bundle->name, strerror(errno));
}

static void times_of(const struct entry *entry, struct timespec times[2])
{
    times[0] = times[1] = (struct timespec){.tv_sec = entry->mtime, .tv_nsec = entry->nsec};
}

/* The name of an entry below the directory that is filled. */
static const char *name_below(const struct work *work, const struct entry *entry)
{
    return entry->path + work->skip + 1;
}

static bool is_wanted(const bool *wanted, uint32_t index)
{
    return wanted == NULL || wanted[index];
}

/* Where the node has one name of a file already, another may still be needed: the content goes to the first name that is wanted. */
static uint32_t *find_stand_ins(const struct bundle *bundle, const bool *wanted)
{
    uint32_t *stand_ins = allocate(bundle->entry_count, sizeof *stand_ins);
    for (uint32_t i = 0; i < bundle->entry_count; i++)
        stand_ins[i] = NO_ENTRY;
    for (uint32_t i = 0; i < bundle->entry_count; i++) {
        const uint32_t target = bundle->entries[i].target;
        if (target != NO_ENTRY && is_wanted(wanted, i) && !is_wanted(wanted, target) && stand_ins[target] == NO_ENTRY)
            stand_ins[target] = i;
    }
    return stand_ins;
}

/* The name that gets an entry's content; NO_ENTRY: none is wanted. */
static uint32_t name_of(const struct work *work, uint32_t entry)
{
    return is_wanted(work->wanted, entry) ? entry : work->stand_ins[entry];
}

uint64_t unpack_memory(const struct bundle *bundle, const bool *wanted)
{
    struct work work = {.bundle = bundle, .wanted = wanted, .stand_ins = find_stand_ins(bundle, wanted)};
    uint64_t sum = 0; /* contents do not overlap, and each counts once: less than 2^57 in all */
    for (uint32_t i = 0; i < bundle->entry_count; i++) {
        const struct entry *entry = &bundle->entries[i];
        const bool gets_content = entry->target == NO_ENTRY || name_of(&work, entry->target) == i;
        if (is_wanted(wanted, i))
            sum += 1024 + (gets_content ? (entry_size(bundle, entry) + 4095) / 4096 * 4096 : 0); /* inode and directory entry; pages */
    }
    free(work.stand_ins);
    return sum;
}

uint64_t unpack_worker_memory(const struct bundle *bundle)
{
    return frame_largest(bundle) + decoder_memory(bundle) + (256 << 10) /* its stack */;
}

/* Directories (still writable), symbolic links and empty files: the frame everything else hangs in. */
static bool make_tree(const struct work *work, struct error *error)
{
    const struct bundle *bundle = work->bundle;
    const int root = work->root;
    for (uint32_t i = 0; i < bundle->entry_count; i++) {
        const struct entry *entry = &bundle->entries[i];
        const char *path = is_wanted(work->wanted, i) ? name_below(work, entry) : NULL;
        struct timespec times[2];
        if (!is_wanted(work->wanted, i))
            continue;
        times_of(entry, times);
        if (S_ISDIR(entry->mode)) {
            if (mkdirat(root, path, (entry->mode & 07777) | 0700) != 0 && (errno != EEXIST || fchmodat(root, path, (entry->mode & 07777) | 0700, 0) != 0))
                return unpack_failed(bundle, entry->path, error);
        } else if (S_ISLNK(entry->mode)) {
            if (symlinkat(entry->link, root, path) != 0 || utimensat(root, path, times, AT_SYMLINK_NOFOLLOW) != 0)
                return unpack_failed(bundle, entry->path, error);
        } else if (entry_size(bundle, entry) == 0 && (entry->target == NO_ENTRY || name_of(work, entry->target) == i)) {
            const int fd = openat(root, path, O_CREAT | O_EXCL | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, entry->mode & 07777);
            if (fd < 0)
                return unpack_failed(bundle, entry->path, error);
            const bool done = futimens(fd, times) == 0;
            close(fd);
            if (!done)
                return unpack_failed(bundle, entry->path, error);
        }
    }
    return true;
}

/* What can only be done when all contents are there. */
static bool finish_tree(const struct work *work, struct error *error)
{
    const struct bundle *bundle = work->bundle;
    const int root = work->root;
    for (uint32_t i = 0; i < bundle->entry_count; i++) {
        const struct entry *entry = &bundle->entries[i];
        const uint32_t name = entry->target != NO_ENTRY && is_wanted(work->wanted, i) ? name_of(work, entry->target) : i;
        if (name != i && linkat(root, name_below(work, &bundle->entries[name]), root, name_below(work, entry), 0) != 0)
            return unpack_failed(bundle, entry->path, error);
    }
    for (uint32_t i = bundle->entry_count; i-- > 0;) {
        const struct entry *entry = &bundle->entries[i];
        struct timespec times[2];
        times_of(entry, times);
        if (!S_ISDIR(entry->mode) || !is_wanted(work->wanted, i))
            continue;
        if (((entry->mode & 0700) != 0700 && fchmodat(root, name_below(work, entry), entry->mode & 07777, 0) != 0) ||
            utimensat(root, name_below(work, entry), times, 0) != 0)
            return unpack_failed(bundle, entry->path, error);
    }
    return true;
}

/* Write the part of an entry that lies in this frame; a file that spans frames is opened once for each. */
static bool write_part(struct work *work, uint32_t content, const uint8_t *data, uint64_t from, uint64_t size, struct error *error)
{
    const struct entry *entry = &work->bundle->entries[name_of(work, work->bundle->contents[content].entry)];
    const int fd = openat(work->root, name_below(work, entry), O_CREAT | O_WRONLY | O_NOFOLLOW | O_CLOEXEC, (entry->mode & 07777) | 0200);
    if (fd < 0)
        return unpack_failed(work->bundle, entry->path, error);
    bool good = true;
    for (uint64_t done = 0; good && done < size;) {
        const ssize_t count = pwrite(fd, data + done, size - done, (off_t)(from + done));
        good = count > 0;
        done += good ? (uint64_t)count : 0;
    }
    if (good && atomic_fetch_sub(&work->missing[content], size) == size) { /* that was its last part */
        struct timespec times[2];
        times_of(entry, times);
        good = ((entry->mode & 0200) != 0 || fchmod(fd, entry->mode & 07777) == 0) && futimens(fd, times) == 0;
    }
    if (!good)
        unpack_failed(work->bundle, entry->path, error);
    close(fd);
    return good;
}

/* First content of this frame, from `content` on, that is wanted; content_count when there is none. */
static uint32_t next_wanted(const struct work *work, uint32_t content, uint64_t end)
{
    const struct bundle *bundle = work->bundle;
    while (content < bundle->content_count && bundle->contents[content].offset < end && name_of(work, bundle->contents[content].entry) == NO_ENTRY)
        content++;
    return content < bundle->content_count && bundle->contents[content].offset < end ? content : bundle->content_count;
}

static bool unpack_frame(struct work *work, uint32_t index, const struct decoder *decoder, uint8_t *buffer, struct error *error)
{
    const struct bundle *bundle = work->bundle;
    const struct frame *frame = &bundle->frames[index];
    const uint64_t end = frame->offset + frame->size;
    const uint32_t first = next_wanted(work, content_behind(bundle, frame->offset), end);
    if (work->wanted != NULL && first == bundle->content_count)
        return true; /* nothing of it is used: not read, and so not checked */
    if (!frame_fits(bundle, index, error))
        return false;
    memcpy(decoder->source, bundle->map + frame->at, frame->compressed); /* what is checked is what is decoded: the file may change */
    if (!frame_decode(bundle, index, decoder, buffer, error))
        return false;
    for (uint32_t i = first; i < bundle->content_count; i = next_wanted(work, i + 1, end)) {
        const struct content *content = &bundle->contents[i];
        const uint64_t length = bundle->entries[content->entry].size;
        const uint64_t from = content->offset > frame->offset ? content->offset : frame->offset;
        const uint64_t to = content->offset + length < end ? content->offset + length : end;
        if (!write_part(work, i, buffer + (from - frame->offset), from - content->offset, to - from, error))
            return false;
    }
    return true;
}

static void *unpack_frames(void *argument)
{
    struct work *work = argument;
    struct decoder decoder = {0};
    struct error error = {0};
    uint8_t *const content = malloc(frame_largest(work->bundle));
    bool good = decoder_make(&decoder, work->bundle) && content != NULL;
    if (!good)
        fail(&error, EXIT_RESOURCES, "ask for a job with more memory", "no memory left for unpacking %s", work->bundle->name);
    while (good && !work->failed) {
        const uint32_t index = atomic_fetch_add(&work->next_frame, 1);
        if (index >= work->bundle->frame_count)
            break;
        good = unpack_frame(work, index, &decoder, content, &error);
    }
    if (!good) {
        pthread_mutex_lock(&work->lock);
        if (!work->failed)
            *work->error = error;
        work->failed = true;
        pthread_mutex_unlock(&work->lock);
    }
    free(content);
    decoder_free(&decoder);
    return NULL;
}

static unsigned thread_count(const struct work *work, unsigned asked)
{
    cpu_set_t allowed;
    const struct bundle *bundle = work->bundle;
    unsigned count = asked;
    if (work->wanted != NULL && next_wanted(work, 0, UINT64_MAX) == bundle->content_count)
        return 1; /* nothing to do: a thread costs more than finding that out */
    if (count == 0)
        count = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? (unsigned)CPU_COUNT(&allowed) : 1;
    if (count > bundle->frame_count)
        count = bundle->frame_count;
    char limit[4500];
    const uint64_t available = memory_available(limit, sizeof limit), contents = unpack_memory(bundle, work->wanted);
    const uint64_t fit = available > contents ? (available - contents) / unpack_worker_memory(bundle) : 0;
    if (count > fit)
        count = fit > 0 ? (unsigned)fit : 1;
    return count > 64 ? 64 : count; /* memory bandwidth is used up long before */
}

bool unpack(const struct bundle *bundle, int root, const bool *wanted, unsigned threads, struct error *error)
{
    return unpack_below(bundle, root, 0, wanted, threads, error);
}

bool unpack_below(const struct bundle *bundle, int root, size_t skip, const bool *wanted, unsigned threads, struct error *error)
{
    struct work work = {.bundle = bundle, .root = root, .skip = skip, .wanted = wanted, .error = error, .lock = PTHREAD_MUTEX_INITIALIZER};
    work.stand_ins = find_stand_ins(bundle, wanted);
    if (!make_tree(&work, error)) {
        free(work.stand_ins);
        return false;
    }
    work.missing = allocate(bundle->content_count, sizeof *work.missing);
    for (uint32_t i = 0; i < bundle->content_count; i++)
        work.missing[i] = name_of(&work, bundle->contents[i].entry) != NO_ENTRY ? bundle->entries[bundle->contents[i].entry].size : 0;
    pthread_t others[64];
    unsigned started = 0;
    for (const unsigned count = thread_count(&work, threads); started + 1 < count; started++)
        if (pthread_create(&others[started], NULL, unpack_frames, &work) != 0)
            break; /* fewer threads are slower, not wrong */
    unpack_frames(&work);
    for (unsigned i = 0; i < started; i++)
        pthread_join(others[i], NULL);
    bool good = !work.failed;
    for (uint32_t i = 0; good && i < bundle->content_count; i++)
        if (work.missing[i] != 0)
            good = fail(error, EXIT_BUNDLE, NULL, "%s is damaged: %s is incomplete", bundle->name,
                        bundle->entries[bundle->contents[i].entry].path);
    free((void *)work.missing);
    good = good && finish_tree(&work, error);
    free(work.stand_ins);
    return good;
}
