/* The payload's frames: decoded by zstd, cut into files. Frames are made of the input by zstd itself, and then damaged here and there, so that
 * decoders are reached behind their checks.
 * Input: u8 number of files, u8 number of frames; for each frame u16 size, u16 where a byte is changed, u8 by what (0: nothing), u8 claim (added
 * to the size that the table tells, signed), u8 level and flags; then the contents. */
#include <ftw.h>
#include <sys/stat.h>
#include <zstd.h>

#include "footer.h"
#include "launcher/bundle/unpack.h"

enum { FRAMES = 6, FILES = 8, MOST = 1 << 16 };

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind;
    return walk->level == 0 ? 0 : remove(path);
}

/* Files that share the stream evenly: /0, /1, ... */
static size_t make_entries(unsigned files, uint64_t stream, uint8_t *strings, uint8_t *entries)
{
    size_t used = 1;
    strings[0] = '\0';
    for (unsigned i = 0; i < files; i++) {
        uint8_t *entry = entries + 48 * i;
        const uint64_t share = stream / files;
        put_number(entry, used, 4);
        used += (size_t)sprintf((char *)strings + used, "/%u", i) + 1;
        put_number(entry + 8, share, 8);
        put_number(entry + 16, share > 0 ? share * i : 0, 8);
        put_number(entry + 36, S_IFREG | 0644, 4);
    }
    return used;
}

static void unpack_all(const struct bundle *bundle)
{
    struct error error = {0};
    const int root = open(fuzz_directory(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    const bool good = unpack(bundle, root, NULL, 2, &error);
    for (uint32_t i = 0; good && i < bundle->entry_count; i++) {
        struct stat status;
        MUST(fstatat(root, bundle->entries[i].path + 1, &status, AT_SYMLINK_NOFOLLOW) == 0);
        MUST((uint64_t)status.st_size == bundle->entries[i].size && S_ISREG(status.st_mode));
    }
    close(root);
    nftw(fuzz_directory(), remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t payload[FRAMES * (ZSTD_COMPRESSBOUND(MOST) + 64)], strings[256], entries[48 * FILES], digests[32 * FILES], frames[16 * FRAMES];
    static ZSTD_CCtx *context;
    struct input input = {data, size}, heads;
    const unsigned files = take(&input) % FILES + 1, count = take(&input) % FRAMES + 1;
    size_t head_size = 7 * (size_t)count, used = 0;
    heads.at = take_bytes(&input, &head_size);
    heads.left = head_size;
    uint64_t stream = 0;
    umask(0);
    if (context == NULL)
        context = ZSTD_createCCtx();
    for (unsigned i = 0; i < count; i++) {
        size_t length = take2(&heads);
        const unsigned where = take2(&heads), by = take(&heads);
        const int claim = (int8_t)take(&heads);
        const unsigned flags = take(&heads);
        const uint8_t *content = take_bytes(&input, &length);
        size_t written = length;
        ZSTD_CCtx_reset(context, ZSTD_reset_session_and_parameters);
        ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, (int)(flags & 7) + 1);
        ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, (flags & 8) == 0);
        ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, (flags & 16) == 0);
        if ((flags & 32) != 0 && length > 0)
            memcpy(payload + used, content, length); /* a frame of the input's own */
        else
            written = ZSTD_compress2(context, payload + used, sizeof payload - used, content, length);
        if (ZSTD_isError(written))
            return 0;
        if (written > 0)
            payload[used + where % written] ^= (uint8_t)by;
        put_number(frames + 16 * i, written, 8);
        put_number(frames + 16 * i + 8, (uint64_t)((int64_t)length + claim), 8);
        stream += (uint64_t)((int64_t)length + claim);
        used += written;
    }
    const size_t text = make_entries(files, stream < MOST * FRAMES ? stream : 0, strings, entries);
    const uint8_t *sections[6] = {strings, entries, digests, frames, (const uint8_t *)LEAST_CONF, NULL};
    const size_t sizes[6] = {text, 48 * (size_t)files, 32 * (size_t)files, 16 * (size_t)count, sizeof LEAST_CONF, 0};
    size_t table_size, whole;
    uint8_t *table = with_heads(sections, sizes, &table_size), *file = with_footer(payload, used, table, table_size, &whole);
    free(table);
    struct bundle bundle;
    struct error error = {0};
    if (bundle_parse(&bundle, "fuzz", file, whole, false, &error)) {
        if (bundle_read_entries(&bundle, &error))
            unpack_all(&bundle);
        bundle_close(&bundle);
    }
    free(file);
    return 0;
}
