/* What ld.so reads of an ELF file (elf(5)): its segments and, of a 64-bit one, its dynamic section. */
#ifndef SDEE_LAUNCHER_NODE_ELF_H
#define SDEE_LAUNCHER_NODE_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct elf {
    const uint8_t *map;
    uint64_t size;
    const uint8_t *dynamic; /* NULL: none */
    uint64_t dynamic_size;
    const char *strings;    /* DT_STRTAB; its last byte is NUL */
    uint64_t strings_size;
};

/* One version that an object needs of a file (DT_VERNEED), or one that it defines (DT_VERDEF; `file` is NULL). */
struct elf_version {
    const char *file, *name;
    uint64_t at, auxiliary; /* where the next one is; 0 at the beginning */
    bool ended;
};

/* False when it cannot be read or is no ELF file of this byte order. Damaged parts count as not there. */
bool elf_open(struct elf *elf, const char *path);
void elf_close(struct elf *elf);

/* The next segment of a type: `index` begins at 0 and is moved on. False at the end. */
bool elf_segment(const struct elf *elf, uint32_t type, unsigned *index, const uint8_t **content, uint64_t *size);

/* The next string of a tag (DT_NEEDED, DT_SONAME): `index` begins at 0 and is moved on. NULL at the end. */
const char *elf_string(const struct elf *elf, int64_t tag, unsigned *index);

bool elf_next_needed_version(const struct elf *elf, struct elf_version *version);
bool elf_next_defined_version(const struct elf *elf, struct elf_version *version);

/* Does the object define a symbol (DT_GNU_HASH)? */
bool elf_defines(const struct elf *elf, const char *symbol);

/* GNU build-id as lower-case hex. False when there is none or it is longer than `hex_size` allows. */
bool elf_build_id(const char *path, char *hex, size_t hex_size);

#endif
