/* Reader of docs/bundle-format.md. Treats the file as hostile: what bundle_open() accepts can be used without further checks. */
#ifndef SDEE_BUNDLE_H
#define SDEE_BUNDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "error.h"

#define FOOTER_SIZE 128
#define NO_ENTRY UINT32_MAX /* also stands for the root directory where a parent is meant */
#define FRAME_MAX (16u << 20)

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

/* True when the file ends in something that claims to be a footer (so: a bundle, intact or not). */
bool bundle_has_footer(int fd);

/* Map the file, copy its table, so that the file may change from then on, and check its footer, the table's SHA-256 and CONF. `check_launcher`: its SHA-256 too. A rank that joins another needs no more:
 * entries are read by bundle_read_entries(), contents are checked by unpack(). Errors: EXIT_BUNDLE; EXIT_RESOURCES when it cannot be mapped. */
bool bundle_open(struct bundle *bundle, const char *name, int fd, bool check_launcher, struct error *error);

/* The same on memory, which must stay; for the fuzzer too. */
bool bundle_parse(struct bundle *bundle, const char *name, const uint8_t *data, size_t size, bool check_launcher, struct error *error);

/* Read and check entries and frames, once. Errors: EXIT_BUNDLE. */
bool bundle_read_entries(struct bundle *bundle, struct error *error);

void bundle_close(struct bundle *bundle);

/* Index of the entry with this path, or NO_ENTRY. */
uint32_t bundle_find(const struct bundle *bundle, const char *path);

/* Size of a regular file's content, also of a hard link. */
uint64_t entry_size(const struct bundle *bundle, const struct entry *entry);

/* First child of a directory entry or, for NO_ENTRY, of /. */
uint32_t bundle_children(const struct bundle *bundle, uint32_t directory);

/* CONF: the value of the first pair with this key, or NULL; and iteration: start with *cursor = NULL. */
const char *conf_get(const struct bundle *bundle, const char *key);
const char *conf_next(const struct bundle *bundle, const char *key, const char **cursor);

/* Absolute, no empty, "." or ".." component, no trailing slash, not "/", components and whole within the kernel's limits. */
bool path_is_normal(const char *path);

/* table.c: fill entries, frames and contents from the sections. */
struct span {
    const uint8_t *data;
    uint64_t size;
};
uint32_t read_u32(const uint8_t *bytes);
uint64_t read_u64(const uint8_t *bytes);
bool table_read(struct bundle *bundle, const struct span sections[6], struct error *error);

#endif
