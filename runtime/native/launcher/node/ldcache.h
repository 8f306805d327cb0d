/* The node's ld.so.cache: where its own loader finds libraries. Format: glibc's sysdeps/generic/dl-cache.h. */
#ifndef SDEE_LAUNCHER_NODE_LDCACHE_H
#define SDEE_LAUNCHER_NODE_LDCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ldcache {
    const char *path;
    const uint8_t *map;
    size_t size;
    uint64_t start; /* of the new format's header: string offsets count from here */
    uint32_t count;
};

/* False when there is none that can be read: `count` is 0 then. */
bool ldcache_open(struct ldcache *cache, const char *path);
void ldcache_close(struct ldcache *cache);

/* The next entry for this machine's 64-bit ABI: `index` begins at 0 and is moved on. False at the end. */
bool ldcache_next(const struct ldcache *cache, uint32_t *index, const char **soname, const char **path);

#endif
