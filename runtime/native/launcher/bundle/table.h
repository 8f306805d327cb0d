/* A bundle once it is read, and its table of contents. */
#ifndef SDEE_LAUNCHER_BUNDLE_TABLE_H
#define SDEE_LAUNCHER_BUNDLE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "launcher/bundle/rules.h"
#include "lib/error.h"

#define NO_ENTRY UINT32_MAX /* as a parent it means the root directory */

struct entry {
    const char *path; /* absolute, normalised */
    const char *link; /* symbolic link: target; hard link: path of a regular file's entry; else "" */
    uint64_t size;    /* bytes */
    uint64_t offset;  /* of the content in the decompressed tar stream */
    int64_t mtime;    /* seconds */
    uint32_t nsec;
    uint32_t mode;   /* st_mode */
    uint32_t target; /* hard link: index of the linked entry; else NO_ENTRY */
    uint32_t parent; /* index of the parent directory, NO_ENTRY for / */
    uint32_t first_child, next_sibling; /* in order of path */
    bool needed; /* a directory that must be there even if it is empty */
};

struct frame {
    uint64_t at;         /* offset in the file */
    uint64_t compressed; /* bytes */
    uint64_t offset;     /* of its content in the tar stream */
    uint64_t size;       /* of its content */
};

struct content {
    uint64_t offset;
    uint32_t entry;
};

struct bundle {
    const char *name; /* as the user gave it */
    const uint8_t *map;
    size_t map_size;
    bool mapped; /* munmap(2) it at the end */
    int fd;      /* of the file, as given to bundle_open() and still the caller's */
    struct timespec mtime; /* of the file then */
    uint64_t launcher_size, payload_size, table_at, table_size;
    struct entry *entries; /* sorted by path */
    uint32_t entry_count;
    uint32_t first_top; /* first child of / */
    struct frame *frames;
    uint32_t frame_count;
    struct content *contents; /* regular files that have content, sorted by offset */
    uint32_t content_count;
    uint64_t stream_size;  /* of the decompressed tar stream */
    const char *conf;
    size_t conf_size;
    uint8_t identity[32];
};

/* A section of the table, as it is in the file. */
struct span {
    const uint8_t *data;
    uint64_t size;
};

/* Fill entries, frames and contents from the sections, once all rules hold. */
bool table_read(struct bundle *bundle, const struct span sections[SECTION_COUNT], struct error *error);

/* Add entries, of paths that the table lacks and whose parents it has then. `target`s are indices of before. */
void table_add(struct bundle *bundle, struct entry *extra, uint32_t count);

/* Index of the entry with this path, or NO_ENTRY. */
uint32_t bundle_find(const struct bundle *bundle, const char *path);

/* Size of a regular file's content, also of a hard link. */
uint64_t entry_size(const struct bundle *bundle, const struct entry *entry);

/* First child of a directory entry or, for NO_ENTRY, of /. */
uint32_t bundle_children(const struct bundle *bundle, uint32_t directory);

#endif
