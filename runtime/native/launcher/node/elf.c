#include "launcher/node/elf.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/bytes.h"

static bool is_wide(const struct elf *elf)
{
    return elf->map[EI_CLASS] == ELFCLASS64;
}

static uint64_t word_at(const uint8_t *head, bool wide, unsigned at_wide, unsigned at_narrow)
{
    return wide ? read_u64(head + at_wide) : read_u32(head + at_narrow);
}

static const uint8_t *segment_head(const struct elf *elf, unsigned index)
{
    const bool wide = is_wide(elf);
    const uint64_t table = word_at(elf->map, wide, 32, 28), step = wide ? 56 : 32;
    const unsigned count = read_u32(elf->map + (wide ? 56 : 44)) & 0xffff;
    return index < count && table <= elf->size && (index + 1) * step <= elf->size - table ? elf->map + table + index * step : NULL;
}

bool elf_segment(const struct elf *elf, uint32_t type, unsigned *index, const uint8_t **content, uint64_t *size)
{
    for (const uint8_t *head; (head = segment_head(elf, (*index)++)) != NULL;) {
        const uint64_t at = word_at(head, is_wide(elf), 8, 4), length = word_at(head, is_wide(elf), 32, 16);
        if (read_u32(head) != type || at > elf->size || length > elf->size - at)
            continue;
        *content = elf->map + at;
        *size = length;
        return true;
    }
    return false;
}

/* From an address to the file: the loaded segment that holds it. NULL when fewer than `least` bytes are there. */
static const uint8_t *at_address(const struct elf *elf, uint64_t address, uint64_t least)
{
    unsigned i = 0;
    for (const uint8_t *head; (head = segment_head(elf, i++)) != NULL;) {
        const uint64_t at = read_u64(head + 8), from = read_u64(head + 16), length = read_u64(head + 32);
        if (read_u32(head) != PT_LOAD || at > elf->size || length > elf->size - at || address < from || address - from >= length)
            continue;
        return least <= length - (address - from) ? elf->map + at + (address - from) : NULL;
    }
    return NULL;
}

static bool dynamic_value(const struct elf *elf, int64_t tag, unsigned nth, uint64_t *value)
{
    for (uint64_t at = 0; at + 16 <= elf->dynamic_size; at += 16) {
        const int64_t here = (int64_t)read_u64(elf->dynamic + at);
        if (here == DT_NULL)
            break;
        if (here == tag && nth-- == 0) {
            *value = read_u64(elf->dynamic + at + 8);
            return true;
        }
    }
    return false;
}

static void read_dynamic(struct elf *elf)
{
    uint64_t address, size;
    unsigned index = 0;
    if (!is_wide(elf) || !elf_segment(elf, PT_DYNAMIC, &index, &elf->dynamic, &elf->dynamic_size) ||
        !dynamic_value(elf, DT_STRTAB, 0, &address) || !dynamic_value(elf, DT_STRSZ, 0, &size) || size == 0)
        return;
    elf->strings = (const char *)at_address(elf, address, size);
    elf->strings_size = elf->strings != NULL && elf->strings[size - 1] == '\0' ? size : 0;
}

bool elf_open(struct elf *elf, const char *path)
{
    struct stat status;
    memset(elf, 0, sizeof *elf);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return false;
    const bool regular = fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size >= (off_t)sizeof(Elf64_Ehdr);
    void *map = regular ? mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
    close(fd);
    if (map == MAP_FAILED)
        return false;
    elf->map = map;
    elf->size = (uint64_t)status.st_size;
    if (memcmp(elf->map, ELFMAG, SELFMAG) != 0 || elf->map[EI_DATA] != ELFDATA2LSB) {
        elf_close(elf);
        return false;
    }
    read_dynamic(elf);
    return true;
}

void elf_close(struct elf *elf)
{
    if (elf->map != NULL)
        munmap((void *)(uintptr_t)elf->map, elf->size);
    elf->map = NULL;
}

static const char *string_at(const struct elf *elf, uint64_t offset)
{
    return offset < elf->strings_size ? elf->strings + offset : NULL;
}

const char *elf_string(const struct elf *elf, int64_t tag, unsigned *index)
{
    for (uint64_t offset; dynamic_value(elf, tag, *index, &offset);) {
        ++*index;
        const char *text = string_at(elf, offset);
        if (text != NULL)
            return text;
    }
    return NULL;
}

/* Verneed and Verdef are lists of lists (LSB Core, symbol versioning); offsets count from the record that holds them. */
bool elf_next_needed_version(const struct elf *elf, struct elf_version *version)
{
    uint64_t table;
    if (!dynamic_value(elf, DT_VERNEED, 0, &table))
        return false;
    while (!version->ended) {
        const uint8_t *record = at_address(elf, table + version->at, 16);
        const uint8_t *item = record != NULL ? at_address(elf, table + version->at + read_u32(record + 8) + version->auxiliary, 16) : NULL;
        if (item == NULL)
            break;
        version->file = string_at(elf, read_u32(record + 4));
        version->name = string_at(elf, read_u32(item + 8));
        const uint32_t next_item = read_u32(item + 12), next_record = read_u32(record + 12);
        version->auxiliary = next_item != 0 ? version->auxiliary + next_item : 0;
        version->at += next_item == 0 ? next_record : 0;
        version->ended = next_item == 0 && next_record == 0;
        if (version->file != NULL && version->name != NULL && (read_u32(item + 4) & VER_FLG_WEAK) == 0)
            return true;
    }
    return false;
}

bool elf_next_defined_version(const struct elf *elf, struct elf_version *version)
{
    uint64_t table;
    if (!dynamic_value(elf, DT_VERDEF, 0, &table))
        return false;
    while (!version->ended) {
        const uint8_t *record = at_address(elf, table + version->at, 20);
        const uint8_t *item = record != NULL ? at_address(elf, table + version->at + read_u32(record + 12), 8) : NULL;
        if (item == NULL)
            break;
        version->name = string_at(elf, read_u32(item));
        version->at += read_u32(record + 16);
        version->ended = read_u32(record + 16) == 0;
        if (version->name != NULL)
            return true;
    }
    return false;
}

/* The GNU hash table: buckets of chains, each chain's hashes parallel to the symbols' (glibc elf/dl-lookup.c does the same). */
bool elf_defines(const struct elf *elf, const char *symbol)
{
    uint64_t table, symbols;
    uint32_t hash = 5381;
    if (!dynamic_value(elf, DT_GNU_HASH, 0, &table) || !dynamic_value(elf, DT_SYMTAB, 0, &symbols))
        return false;
    for (const char *at = symbol; *at != '\0'; at++)
        hash = hash * 33 + (uint8_t)*at;
    const uint8_t *head = at_address(elf, table, 16);
    const uint32_t buckets = head != NULL ? read_u32(head) : 0;
    if (buckets == 0)
        return false;
    const uint64_t first_bucket = table + 16 + (uint64_t)read_u32(head + 8) * 8, chains = first_bucket + (uint64_t)buckets * 4;
    const uint32_t first_symbol = read_u32(head + 4);
    const uint8_t *bucket = at_address(elf, first_bucket + (uint64_t)(hash % buckets) * 4, 4);
    uint32_t index = bucket != NULL ? read_u32(bucket) : 0;
    while (index >= first_symbol && index != 0) {
        const uint8_t *chain = at_address(elf, chains + (uint64_t)(index - first_symbol) * 4, 4);
        const uint8_t *entry = at_address(elf, symbols + (uint64_t)index * sizeof(Elf64_Sym), sizeof(Elf64_Sym));
        if (chain == NULL || entry == NULL)
            return false;
        const char *name = string_at(elf, read_u32(entry));
        const unsigned section = read_u32(entry + 4) >> 16; /* st_shndx */
        if ((read_u32(chain) | 1) == (hash | 1) && section != SHN_UNDEF && name != NULL && strcmp(name, symbol) == 0)
            return true;
        if ((read_u32(chain) & 1) != 0)
            return false;
        index++;
    }
    return false;
}

bool elf_build_id(const char *path, char *hex, size_t hex_size)
{
    struct elf elf;
    const uint8_t *note;
    uint64_t size;
    bool found = false;
    if (!elf_open(&elf, path))
        return false;
    for (unsigned index = 0; !found && elf_segment(&elf, PT_NOTE, &index, &note, &size);)
        for (uint64_t at = 0; size - at >= 16 && !found;) {
            const uint64_t name = read_u32(note + at), description = read_u32(note + at + 4);
            const uint64_t whole = 12 + (name + 3) / 4 * 4 + (description + 3) / 4 * 4;
            if (whole > size - at)
                break;
            if (read_u32(note + at + 8) == NT_GNU_BUILD_ID && name == 4 && memcmp(note + at + 12, "GNU", 4) == 0 && description * 2 < hex_size) {
                for (uint64_t k = 0; k < description; k++)
                    snprintf(hex + 2 * k, 3, "%02x", note[at + 16 + k]);
                found = true;
            }
            at += whole;
        }
    elf_close(&elf);
    return found;
}
