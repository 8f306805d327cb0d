/* Requests of FUSE to the server of a closure that is read lazily: its parser, its search of the table, and what it gives out. The bundle is always
 * the same but for the size of its frames and a byte that is changed; no answer has other content than the files', whatever is asked for.
 * Input: u8 which frame size, u16 where a byte of the payload is changed, u8 by what (0: nothing); for each request u16 length, then its bytes, of
 * which the first four are made its length. */
#include <errno.h>
#include <linux/fuse.h>
#include <sys/stat.h>
#include <zstd.h>

#include "footer.h"
#include "launcher/lazy/answer.h"
#include "launcher/lazy/push.c"

enum { SIZES = 3, STREAM = 80000, ENTRIES = 7, REQUESTS = 64, FRAMES = STREAM / 100 + 1, PAYLOAD = 4 * STREAM };

static uint8_t stream[STREAM];

static struct row {
    const char *path, *link;
    uint64_t size, offset;
    uint32_t mode, flags;
} const ROWS[ENTRIES] = {
    {"/a", "", 5000, 0, S_IFREG | 0644, 0}, {"/big", "", 70000, 5120, S_IFREG | 0755, 0}, {"/d", "", 0, 0, S_IFDIR | 0755, 0},
    {"/d/again", "/a", 0, 0, S_IFREG | 0644, 1}, {"/d/empty", "", 0, 0, S_IFREG | 0400, 0}, {"/d/sub", "", 0, 0, S_IFDIR | 0700, 0},
    {"/l", "d/again", 0, 0, S_IFLNK | 0777, 0},
};

/* A bundle with frames of this size, in a file as in memory. */
static void make(struct bundle *bundle, unsigned frame_size)
{
    static uint8_t payload[PAYLOAD], strings[256], entries[48 * ENTRIES], digests[32 * ENTRIES], frames[16 * FRAMES];
    struct error error = {0};
    size_t text = 1, used = 0, count = 0, table_size, whole;
    ZSTD_CCtx *context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    for (unsigned i = 0; i < ENTRIES; i++) {
        put_number(entries + 48 * i, text, 4);
        text += (size_t)sprintf((char *)strings + text, "%s", ROWS[i].path) + 1;
        put_number(entries + 48 * i + 4, ROWS[i].link[0] != '\0' ? text : 0, 4);
        text += ROWS[i].link[0] != '\0' ? (size_t)sprintf((char *)strings + text, "%s", ROWS[i].link) + 1 : 0;
        put_number(entries + 48 * i + 8, ROWS[i].size, 8);
        put_number(entries + 48 * i + 16, ROWS[i].offset, 8);
        put_number(entries + 48 * i + 36, ROWS[i].mode, 4);
        put_number(entries + 48 * i + 40, ROWS[i].flags, 4);
    }
    for (size_t at = 0; at < STREAM; at += frame_size, count++) {
        const size_t length = STREAM - at < frame_size ? STREAM - at : frame_size;
        const size_t written = ZSTD_compress2(context, payload + used, sizeof payload - used, stream + at, length);
        MUST(!ZSTD_isError(written));
        put_number(frames + 16 * count, written, 8);
        put_number(frames + 16 * count + 8, length, 8);
        used += written;
    }
    ZSTD_freeCCtx(context);
    const uint8_t *sections[6] = {strings, entries, digests, frames, (const uint8_t *)LEAST_CONF, NULL};
    const size_t sizes[6] = {text, sizeof entries, sizeof digests, 16 * count, sizeof LEAST_CONF, 0};
    uint8_t *table = with_heads(sections, sizes, &table_size), *file = with_footer(payload, used, table, table_size, &whole);
    const int fd = memfd_create("bundle", MFD_CLOEXEC);
    MUST(write(fd, file, whole) == (ssize_t)whole);
    MUST(bundle_open(bundle, "fuzz", fd, false, &error) && bundle_read_entries(bundle, &error));
    free(table);
    free(file);
}

static uint64_t at_nodes(uint64_t node)
{
    return node == 3 + 2 ? 0 : node - 2; /* the hard link's is its target's */
}

/* The answer in the device's place: whole, to this request, and of READ and STORE nothing but content. */
static void check(const struct worker *worker, int device, bool damaged)
{
    static uint8_t room[2 << 20];
    const ssize_t size = pread(device, room, sizeof room, 0);
    struct fuse_in_header in;
    struct fuse_out_header out;
    memcpy(&in, worker->request, sizeof in);
    if (size == 0)
        return; /* no answer is due, or the request is none */
    memcpy(&out, room, sizeof out);
    MUST((size_t)size >= sizeof out && out.len == (size_t)size && out.unique == in.unique && out.error <= 0 && out.error > -4096);
    MUST(out.error == 0 || (size_t)size == sizeof out);
    MUST(damaged || out.error != -EIO);
    if (in.opcode != FUSE_READ || out.error != 0)
        return;
    struct fuse_read_in read;
    memcpy(&read, worker->request + sizeof in, sizeof read);
    const struct row *row = &ROWS[at_nodes(in.nodeid)];
    const uint64_t left = read.offset < row->size ? row->size - read.offset : 0, due = read.size < left ? read.size : left;
    MUST((size_t)size - sizeof out == due);
    MUST(due == 0 || memcmp(room + sizeof out, stream + row->offset + read.offset, due) == 0);
}

static void check_pushes(struct state *state, struct worker *worker)
{
    struct error error = {0};
    for (; state->count > 0; state->count--) {
        const uint32_t frame = state->queue[(state->first + state->count - 1) % QUEUE];
        const uint8_t *content = cache_take(&state->cache, &worker->decoder, frame, &error);
        if (content == NULL)
            continue;
        MUST(memcmp(content, stream + state->bundle->frames[frame].offset, state->bundle->frames[frame].size) == 0);
        push_frame(state, frame, content);
        cache_give_back(&state->cache, frame);
    }
    for (uint32_t i = 0; i < state->cache.slot_count; i++)
        MUST(state->cache.slots[i].users == 0 && !state->cache.slots[i].decoding);
}

void state_failed(struct state *state, const char *path, const struct error *error)
{
    (void)state;
    MUST(path[0] == '/' && error->code == EXIT_BUNDLE && error->message[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const unsigned frame_sizes[SIZES] = {100, 4096, 65536};
    static struct bundle bundles[SIZES];
    static const bool wanted[ENTRIES] = {true, true, true, true, true, true, true};
    static int device = -1;
    struct input input = {data, size};
    if (device < 0) {
        for (unsigned i = 0; i < STREAM; i++)
            stream[i] = (uint8_t)(i * 2654435761u >> 13);
        for (unsigned i = 0; i < SIZES; i++)
            make(&bundles[i], frame_sizes[i]);
        device = memfd_create("device", MFD_CLOEXEC);
    }
    const struct bundle *bundle = &bundles[take(&input) % SIZES];
    const off_t where = (off_t)bundle->launcher_size + (off_t)(take2(&input) * (uint64_t)bundle->payload_size >> 16);
    const uint8_t by = (uint8_t)take(&input), old = bundle->map[where], changed = old ^ by;
    MUST(pwrite(bundle->fd, &changed, 1, where) == 1);
    struct state state = {.bundle = bundle, .device = device, .told = -1, .queue_lock = PTHREAD_MUTEX_INITIALIZER, .queued = PTHREAD_COND_INITIALIZER};
    static struct worker workers[SIZES];
    struct worker worker = workers[bundle - bundles];
    MUST(tree_make(&state.tree, bundle, wanted, 1, 1) && cache_make(&state.cache, bundle, 2) && (worker.state != NULL || worker_make(&worker, &state)));
    workers[bundle - bundles] = worker; /* its room is allocated once */
    worker.state = &state;
    for (unsigned i = 0; i < REQUESTS && input.left > 0; i++) {
        size_t length = take2(&input);
        const uint8_t *bytes = take_bytes(&input, &length);
        if (length > REQUEST_ROOM)
            length = REQUEST_ROOM;
        if (length > 0)
            memcpy(worker.request, bytes, length);
        if (length >= 4)
            put_number(worker.request, length, 4);
        MUST(ftruncate(device, 0) == 0 && lseek(device, 0, SEEK_SET) == 0);
        if (answer(&worker, length))
            check(&worker, device, by != 0);
    }
    check_pushes(&state, &worker);
    MUST(pwrite(bundle->fd, &old, 1, where) == 1);
    cache_free(&state.cache);
    tree_free(&state.tree);
    return 0;
}
