#include "launcher/lazy/push.h"

#include <sys/uio.h>
#include <unistd.h>

enum { PAGE = 4096, MOST = 1 << 20 /* bytes at once */ };

void push_later(struct state *state, uint32_t frame)
{
    pthread_mutex_lock(&state->queue_lock);
    if (state->count < QUEUE)
        state->queue[(state->first + state->count++) % QUEUE] = frame;
    pthread_cond_signal(&state->queued);
    pthread_mutex_unlock(&state->queue_lock);
}

static uint32_t next_frame(struct state *state)
{
    pthread_mutex_lock(&state->queue_lock);
    while (state->count == 0)
        pthread_cond_wait(&state->queued, &state->queue_lock);
    const uint32_t frame = state->queue[state->first];
    state->first = (state->first + 1) % QUEUE;
    state->count--;
    pthread_mutex_unlock(&state->queue_lock);
    return frame;
}

/* Bytes [from, to) of an entry's content. False where the kernel does not know the file any more, or is unmounting. */
static bool store(const struct state *state, uint32_t entry, uint64_t from, uint64_t to, const uint8_t *content)
{
    for (uint64_t at = from; at < to;) {
        const uint64_t size = to - at < MOST ? to - at : MOST;
        struct fuse_notify_store_out what = {.nodeid = entry + (uint64_t)2, .offset = at, .size = (uint32_t)size};
        struct fuse_out_header head = {.len = (uint32_t)(sizeof head + sizeof what + size), .error = FUSE_NOTIFY_STORE};
        const struct iovec parts[] = {{&head, sizeof head}, {&what, sizeof what}, {(void *)(uintptr_t)(content + (at - from)), size}};
        if (writev(state->device, parts, 3) < 0)
            return false;
        at += size;
    }
    return true;
}

/* Whole pages of each file that the frame has of: of a part the kernel keeps nothing, but at the file's end. */
static void push_frame(const struct state *state, uint32_t index, const uint8_t *content)
{
    const struct bundle *bundle = state->bundle;
    const struct frame *frame = &bundle->frames[index];
    const uint64_t end = frame->offset + frame->size;
    for (uint32_t i = content_behind(bundle, frame->offset); i < bundle->content_count && bundle->contents[i].offset < end; i++) {
        const struct content *part = &bundle->contents[i];
        const uint64_t size = bundle->entries[part->entry].size;
        const uint64_t begin = part->offset > frame->offset ? 0 : frame->offset - part->offset;
        const uint64_t stop = part->offset + size < end ? size : end - part->offset;
        const uint64_t from = (begin + PAGE - 1) / PAGE * PAGE, to = stop == size ? size : stop / PAGE * PAGE;
        if (from < to)
            store(state, part->entry, from, to, content + (part->offset + from - frame->offset));
    }
}

void push(struct state *state, const struct decoder *decoder)
{
    for (;;) {
        struct error error = {.code = EXIT_INTERNAL};
        const uint32_t frame = next_frame(state);
        const uint8_t *content = cache_take(&state->cache, decoder, frame, &error);
        if (content == NULL)
            continue; /* who asks for it gets the error */
        push_frame(state, frame, content);
        cache_give_back(&state->cache, frame);
    }
}
