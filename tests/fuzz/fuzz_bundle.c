/* A whole bundle: footer, table, CONF, entries. What bundle_parse() accepts must unpack below one directory or fail cleanly.
 * Input: a whole file, and u32 size of the payload, payload, table (fixtures/launcher/make_corpus.py). */
#include <ftw.h>
#include <sys/stat.h>

#include "footer.h"
#include "launcher/bundle/unpack.h"

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static void unpack_somewhere(const struct bundle *bundle)
{
    char directory[] = "/dev/shm/sdee-fuzz.XXXXXX";
    struct error error = {0};
    if (unpack_memory(bundle, NULL) > 64u << 20 || mkdtemp(directory) == NULL)
        return;
    const int root = open(directory, O_PATH | O_DIRECTORY);
    unpack(bundle, root, NULL, 2, &error);
    close(root);
    nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void run(const uint8_t *data, size_t size)
{
    struct bundle bundle;
    struct error error = {0};
    if (!bundle_parse(&bundle, "fuzz", data, size, true, &error))
        return;
    if (bundle_read_entries(&bundle, &error)) {
        for (uint32_t i = 0; i < bundle.entry_count; i++)
            MUST(bundle_find(&bundle, bundle.entries[i].path) == i);
        unpack_somewhere(&bundle);
    }
    bundle_close(&bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    umask(0);
    run(data, size);
    if (size < 4)
        return 0;
    uint64_t payload = read_u32(data);
    if (payload > size - 4)
        payload = size - 4;
    size_t whole;
    uint8_t *file = with_footer(data + 4, payload, data + 4 + payload, size - 4 - payload, &whole);
    run(file, whole);
    free(file);
    return 0;
}
