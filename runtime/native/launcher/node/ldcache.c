#include "launcher/node/ldcache.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/bytes.h"

static const char OLD[] = "ld.so-1.7.0", NEW[] = "glibc-ld.so.cache1.1";
enum { OLD_HEADER = 16, OLD_ENTRY = 12, HEADER = 48, ENTRY = 24 };
#if defined __x86_64__
enum { FLAGS = 0x0303 };
#elif defined __aarch64__
enum { FLAGS = 0x0a03 };
#else
enum { FLAGS = 0x0003 };
#endif

bool ldcache_open(struct ldcache *cache, const char *path)
{
    struct stat status;
    memset(cache, 0, sizeof *cache);
    cache->path = path;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    void *map = fstat(fd, &status) == 0 && status.st_size > HEADER ? mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (map == MAP_FAILED)
        return false;
    cache->map = map;
    cache->size = (size_t)status.st_size;
    if (memcmp(cache->map, OLD, sizeof OLD - 1) == 0)
        cache->start = (OLD_HEADER + (uint64_t)read_u32(cache->map + 12) * OLD_ENTRY + 7) / 8 * 8;
    if (cache->start > cache->size - HEADER || memcmp(cache->map + cache->start, NEW, sizeof NEW - 1) != 0)
        return false;
    const uint64_t count = read_u32(cache->map + cache->start + 20);
    if (count * ENTRY <= cache->size - cache->start - HEADER)
        cache->count = (uint32_t)count;
    return cache->count > 0;
}

void ldcache_close(struct ldcache *cache)
{
    if (cache->map != NULL)
        munmap((void *)(uintptr_t)cache->map, cache->size);
    cache->map = NULL;
    cache->count = 0;
}

static const char *string_at(const struct ldcache *cache, uint32_t offset)
{
    const uint64_t at = cache->start + offset;
    return at < cache->size && memchr(cache->map + at, '\0', cache->size - at) != NULL ? (const char *)cache->map + at : NULL;
}

bool ldcache_next(const struct ldcache *cache, uint32_t *index, const char **soname, const char **path)
{
    while (*index < cache->count) {
        const uint8_t *entry = cache->map + cache->start + HEADER + (uint64_t)(*index)++ * ENTRY;
        *soname = string_at(cache, read_u32(entry + 4));
        *path = string_at(cache, read_u32(entry + 8));
        /* a hardware capability: a variant for some CPUs, beside one for all */
        if (read_u32(entry) == FLAGS && read_u64(entry + 16) == 0 && *soname != NULL && *path != NULL && (*path)[0] == '/')
            return true;
    }
    return false;
}
