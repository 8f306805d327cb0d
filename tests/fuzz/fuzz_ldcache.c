/* The node's ld.so.cache. Input: the file. */
#include "fuzz.h"
#include "launcher/node/ldcache.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ldcache cache;
    const char *soname, *path;
    size_t sum = 0;
    if (ldcache_open(&cache, fuzz_file(data, size)))
        for (uint32_t index = 0; ldcache_next(&cache, &index, &soname, &path);)
            sum += strlen(soname) + strlen(path);
    MUST(sum <= (uint64_t)size * size);
    ldcache_close(&cache);
    return 0;
}
