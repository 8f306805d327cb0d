#include "launcher/lazy/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "launcher/lazy/push.h"

enum { ANSWERED_MOST = 2 /* frames of one request that are sent from where they are */ };

bool worker_make(struct worker *worker, struct state *state)
{
    *worker = (struct worker){.state = state, .request = malloc(REQUEST_ROOM), .content = malloc(READ_MOST)};
    return decoder_make(&worker->decoder, state->bundle) && worker->request != NULL && worker->content != NULL;
}

void worker_free(struct worker *worker)
{
    decoder_free(&worker->decoder);
    free(worker->request);
    free(worker->content);
}

/* One write(2) for each answer. It fails where the request was given up meanwhile, or all is unmounted: nobody waits then. */
static void send_parts(const struct worker *worker, int error, struct iovec *parts, int count)
{
    const struct fuse_in_header *request = (const void *)worker->request;
    struct fuse_out_header head = {.len = sizeof head, .error = -error, .unique = request->unique};
    for (int i = 1; i < count; i++)
        head.len += (uint32_t)parts[i].iov_len;
    parts[0] = (struct iovec){&head, sizeof head};
    (void)!writev(worker->state->device, parts, count);
}

static void send_error(const struct worker *worker, int error)
{
    struct iovec parts[1];
    send_parts(worker, error, parts, 1);
}

static void send_data(const struct worker *worker, const void *data, size_t size)
{
    struct iovec parts[2] = {{0}, {(void *)(uintptr_t)data, size}};
    send_parts(worker, 0, parts, size > 0 ? 2 : 1);
}

/* What this kernel offers of what we can do with. Without max_pages a request is of 128 KiB. */
static void answer_init(const struct worker *worker, const struct fuse_init_in *in)
{
    const uint32_t wanted = FUSE_ASYNC_READ | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES | FUSE_CACHE_SYMLINKS | FUSE_EXPLICIT_INVAL_DATA | FUSE_DO_READDIRPLUS |
                            FUSE_NO_OPEN_SUPPORT | FUSE_NO_OPENDIR_SUPPORT;
    const struct fuse_init_out out = {
        .major = FUSE_KERNEL_VERSION,
        .minor = in->minor < FUSE_KERNEL_MINOR_VERSION ? in->minor : FUSE_KERNEL_MINOR_VERSION,
        .max_readahead = in->max_readahead,
        .flags = in->flags & wanted,
        .max_background = 64,
        .congestion_threshold = 48,
        .max_write = 4096, /* nobody writes */
        .time_gran = 1,
        .max_pages = READ_MOST / 4096,
    };
    if (in->major != FUSE_KERNEL_VERSION || in->minor < 23) { /* before Linux 3.15, which mounts nothing in a user namespace */
        send_error(worker, EPROTO);
        return;
    }
    worker->state->opens = (out.flags & FUSE_NO_OPEN_SUPPORT) == 0;
    worker->state->lists = (out.flags & FUSE_NO_OPENDIR_SUPPORT) == 0;
    send_data(worker, &out, sizeof out);
}

static void answer_open(const struct worker *worker, bool asks, uint32_t keep)
{
    const struct fuse_open_out out = {.open_flags = keep};
    if (asks)
        send_data(worker, &out, sizeof out);
    else
        send_error(worker, ENOSYS); /* so that no other open(2) is a request */
}

static void answer_statfs(const struct worker *worker)
{
    const struct fuse_statfs_out out = {.st = {.blocks = worker->state->bundle->stream_size / 4096, .bsize = 4096, .frsize = 4096, .namelen = 255,
                                               .files = worker->state->bundle->entry_count}};
    send_data(worker, &out, sizeof out);
}

/* The message names the frame, and the file it was read for: which of the two says more depends on who reads it. */
static void read_failed(const struct worker *worker, const struct entry *entry, const struct error *error)
{
    state_failed(worker->state, entry->path, error);
    send_error(worker, EIO);
}

/* From where the frames are; which is so of nearly all requests, since frames are larger. */
static void send_frames(const struct worker *worker, const struct entry *entry, uint64_t from, uint64_t end, uint32_t first)
{
    struct state *state = worker->state;
    const struct bundle *bundle = state->bundle;
    struct iovec parts[ANSWERED_MOST + 1];
    struct error error = {.code = EXIT_INTERNAL};
    uint32_t taken = 0;
    bool good = true;
    for (uint64_t at = from; good && at < end; at += good ? parts[taken].iov_len : 0) {
        const struct frame *frame = &bundle->frames[first + taken];
        const uint64_t to = frame->offset + frame->size < end ? frame->offset + frame->size : end;
        const uint8_t *content = cache_take(&state->cache, &worker->decoder, first + taken, &error);
        good = content != NULL;
        if (good)
            parts[++taken] = (struct iovec){(void *)(uintptr_t)(content + (at - frame->offset)), to - at};
    }
    if (good)
        send_parts(worker, 0, parts, (int)taken + 1);
    else
        read_failed(worker, entry, &error);
    for (uint32_t i = 0; i < taken; i++)
        cache_give_back(&state->cache, first + i);
    for (uint32_t i = 0; good && i < taken; i++)
        if (cache_was_read(&state->cache, first + i, PUSHED_AT))
            push_later(state, first + i);
}

/* Frames may be as small as a bundle likes: then their content is put together. */
static void send_copy(const struct worker *worker, const struct entry *entry, uint64_t from, uint64_t end, uint32_t first)
{
    struct state *state = worker->state;
    struct error error = {.code = EXIT_INTERNAL};
    for (uint64_t at = from; at < end; first++) {
        const struct frame *frame = &state->bundle->frames[first];
        const uint64_t to = frame->offset + frame->size < end ? frame->offset + frame->size : end;
        const uint8_t *content = cache_take(&state->cache, &worker->decoder, first, &error);
        if (content == NULL) {
            read_failed(worker, entry, &error);
            return;
        }
        memcpy(worker->content + (at - from), content + (at - frame->offset), to - at);
        cache_give_back(&state->cache, first);
        at = to;
    }
    send_data(worker, worker->content, end - from);
}

/* Never less than was asked for, but at the file's end: the kernel would put zeros there. */
static void answer_read(const struct worker *worker, uint32_t index, const struct fuse_read_in *in)
{
    const struct bundle *bundle = worker->state->bundle;
    if (index == NO_ENTRY || !S_ISREG(bundle->entries[index].mode) || in->size > READ_MOST) {
        send_error(worker, EINVAL);
        return;
    }
    const uint32_t target = bundle->entries[index].target;
    const struct entry *entry = &bundle->entries[target != NO_ENTRY ? target : index];
    if (in->offset >= entry->size || in->size == 0) {
        send_data(worker, NULL, 0);
        return;
    }
    const uint64_t left = entry->size - in->offset, from = entry->offset + in->offset, end = from + (in->size < left ? in->size : left);
    const uint32_t first = frame_at(bundle, from);
    const struct frame *second = &bundle->frames[first + 1 < bundle->frame_count ? first + 1 : first];
    (end <= second->offset + second->size ? send_frames : send_copy)(worker, entry, from, end, first);
}

static void answer_list(const struct worker *worker, uint32_t index, const struct fuse_read_in *in)
{
    const size_t size = in->size < READ_MOST ? in->size : READ_MOST;
    const bool directory = index == NO_ENTRY || S_ISDIR(worker->state->bundle->entries[index].mode);
    const ssize_t used = directory ? tree_list(&worker->state->tree, index, in->offset, worker->content, size) : -1;
    if (used < 0)
        send_error(worker, directory ? EINVAL : ENOTDIR);
    else
        send_data(worker, worker->content, (size_t)used);
}

static void answer_look_up(const struct worker *worker, uint32_t index, const char *name)
{
    struct fuse_entry_out out;
    tree_answer(&worker->state->tree, tree_find(&worker->state->tree, index, name), &out);
    send_data(worker, &out, sizeof out);
}

static void answer_attributes(const struct worker *worker, uint32_t index)
{
    struct fuse_attr_out out = {.attr_valid = 1 << 30};
    tree_attributes(&worker->state->tree, index, &out.attr);
    send_data(worker, &out, sizeof out);
}

static void answer_link(const struct worker *worker, uint32_t index)
{
    const struct bundle *bundle = worker->state->bundle;
    if (index != NO_ENTRY && S_ISLNK(bundle->entries[index].mode))
        send_data(worker, bundle->entries[index].link, strlen(bundle->entries[index].link));
    else
        send_error(worker, EINVAL);
}

/* Bytes that must follow a request's head. */
static size_t least_body(uint32_t opcode)
{
    return opcode == FUSE_INIT ? 4 * sizeof(uint32_t) /* up to its flags: older kernels send no more */
           : opcode == FUSE_READ || opcode == FUSE_READDIRPLUS ? sizeof(struct fuse_read_in)
           : opcode == FUSE_LOOKUP ? 1 : 0;
}

bool answer(struct worker *worker, size_t size)
{
    const struct fuse_in_header *head = (const void *)worker->request;
    const void *body = head + 1;
    uint32_t index;
    if (size < sizeof *head || head->len != size || size - sizeof *head < least_body(head->opcode) ||
        (head->opcode == FUSE_LOOKUP && worker->request[size - 1] != '\0'))
        return false;
    if (!tree_entry(&worker->state->tree, head->nodeid, &index) && head->nodeid != 0) {
        if (head->opcode != FUSE_FORGET && head->opcode != FUSE_BATCH_FORGET && head->opcode != FUSE_INTERRUPT)
            send_error(worker, ESTALE);
        return true;
    }
    switch (head->opcode) {
    case FUSE_INIT:
        answer_init(worker, body);
        break;
    case FUSE_LOOKUP:
        answer_look_up(worker, index, body);
        break;
    case FUSE_GETATTR:
        answer_attributes(worker, index);
        break;
    case FUSE_READLINK:
        answer_link(worker, index);
        break;
    case FUSE_READ:
        answer_read(worker, index, body);
        break;
    case FUSE_READDIRPLUS:
        answer_list(worker, index, body);
        break;
    case FUSE_OPEN:
        answer_open(worker, worker->state->opens, FOPEN_KEEP_CACHE);
        break;
    case FUSE_OPENDIR:
        answer_open(worker, worker->state->lists, FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR);
        break;
    case FUSE_STATFS:
        answer_statfs(worker);
        break;
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_DESTROY:
        send_error(worker, 0);
        break;
    case FUSE_FORGET: /* no answer is expected */
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: /* the answer that it is about comes in any case */
        break;
    default:
        send_error(worker, ENOSYS); /* and it is not asked for again */
    }
    return true;
}
