/* libFuzzer harness: parse a bundle and unpack it below a temporary directory. What bundle_parse() accepts must unpack or fail
 * cleanly. The table's SHA-256 and the frames' sums would stop nearly every input at the first step, so the input is the table
 * and the payload alone, and the footer is made to fit. */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/bundle.h"
#include "launcher/bundle/sha256.h"
#include "launcher/bundle/unpack.h"
#include "lib/bytes.h"

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk)
{
    (void)status, (void)kind, (void)walk;
    return remove(path);
}

static void put(uint8_t *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
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

/* Is it a whole file (ends in a footer), or u32 size of the payload, payload, table? */
static void run(const uint8_t *data, size_t size)
{
    struct bundle bundle;
    struct error error = {0};
    if (!bundle_parse(&bundle, "fuzz", data, size, true, &error))
        return;
    if (bundle_read_entries(&bundle, &error)) {
        for (uint32_t i = 0; i < bundle.entry_count; i++)
            if (bundle_find(&bundle, bundle.entries[i].path) != i)
                abort();
        unpack_somewhere(&bundle);
    }
    bundle_close(&bundle);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    umask(0);
    run(data, size);
    if (size < 4)
        return 0;
    uint64_t payload = read_u32(data);
    if (payload > size - 4)
        payload = size - 4;
    const uint64_t table = size - 4 - payload, whole = payload + 8 + table + FOOTER_SIZE;
    uint8_t *file = calloc(1, whole), *footer = file + whole - FOOTER_SIZE;
    memcpy(file, data + 4, payload);
    put(file + payload, 0x184D2A50, 4);
    put(file + payload + 4, table, 4);
    memcpy(file + payload + 8, data + 4 + payload, table);
    put(footer, 0x184D2A5D, 4);
    put(footer + 4, 120, 4);
    memcpy(footer + 8, "SDEEBNDL", 8);
    put(footer + 16, 1, 4);
    put(footer + 32, payload, 8);
    put(footer + 40, payload + 8, 8);
    put(footer + 48, table, 8);
    put(footer + 56, whole, 8);
    sha256(file + payload + 8, table, footer + 64);
    sha256(file, 0, footer + 96);
    run(file, whole);
    free(file);
    return 0;
}
