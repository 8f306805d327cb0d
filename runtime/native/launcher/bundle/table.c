/* The table's entries and frames: every rule of docs/bundle-format.md that keeps a hostile bundle inside its root. */
#include "launcher/bundle/table.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/arena.h"
#include "lib/bytes.h"
#include "lib/paths.h"

#define FLAG_HARD_LINK 1u

static bool damaged(const struct bundle *bundle, struct error *error, const char *path, const char *why)
{
    return fail(error, EXIT_BUNDLE, NULL, "%s is damaged or hostile: entry %.200s %s", bundle->name, path, why);
}

uint32_t bundle_find(const struct bundle *bundle, const char *path)
{
    uint32_t low = 0, high = bundle->entry_count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        const int order = strcmp(bundle->entries[middle].path, path);
        if (order == 0)
            return middle;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NO_ENTRY;
}

uint64_t entry_size(const struct bundle *bundle, const struct entry *entry)
{
    return entry->target != NO_ENTRY ? bundle->entries[entry->target].size : entry->size;
}

uint32_t bundle_children(const struct bundle *bundle, uint32_t directory)
{
    return directory == NO_ENTRY ? bundle->first_top : bundle->entries[directory].first_child;
}

static bool read_frames(struct bundle *bundle, const struct span *section, struct error *error)
{
    if (section->size % 16 != 0 || section->size / 16 >= UINT32_MAX)
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: section FRAM has an odd size", bundle->name);
    bundle->frame_count = (uint32_t)(section->size / 16);
    bundle->frames = allocate(bundle->frame_count, sizeof *bundle->frames);
    uint64_t at = 0, offset = 0;
    for (uint32_t i = 0; i < bundle->frame_count; i++) {
        struct frame *frame = &bundle->frames[i];
        *frame = (struct frame){bundle->launcher_size + at, read_u64(section->data + 16 * (size_t)i), offset,
                                read_u64(section->data + 16 * (size_t)i + 8)};
        if (frame->size > FRAME_MAX)
            return fail(error, EXIT_BUNDLE, NULL, "%s is damaged or hostile: frame %u claims %llu bytes, at most %u are allowed",
                        bundle->name, i, (unsigned long long)frame->size, FRAME_MAX);
        if (frame->compressed == 0 || frame->size == 0)
            return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: frame %u is empty", bundle->name, i);
        if (frame->compressed > bundle->payload_size - at)
            return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: frame %u reaches beyond the payload", bundle->name, i);
        at += frame->compressed;
        offset += frame->size; /* no overflow: 2^32 frames of 2^24 bytes */
    }
    if (at != bundle->payload_size)
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: its frames do not add up to its payload", bundle->name);
    bundle->stream_size = offset;
    return true;
}

static bool decode(const struct bundle *bundle, const struct span sections[SECTION_COUNT], uint32_t index, struct error *error)
{
    static const uint8_t no_digest[32];
    const uint8_t *raw = sections[SECTION_ENTR].data + (size_t)index * ENTRY_SIZE;
    const char *strings = (const char *)sections[SECTION_STRS].data;
    const uint32_t path = read_u32(raw + ENTRY_AT_PATH), link = read_u32(raw + ENTRY_AT_LINK), flags = read_u32(raw + ENTRY_AT_FLAGS);
    if (path >= sections[SECTION_STRS].size || link >= sections[SECTION_STRS].size)
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: entry %u names a string outside STRS", bundle->name, index);
    struct entry *entry = &bundle->entries[index];
    *entry = (struct entry){
        .path = strings + path,
        .link = strings + link,
        .size = read_u64(raw + ENTRY_AT_SIZE),
        .offset = read_u64(raw + ENTRY_AT_OFFSET),
        .mtime = (int64_t)read_u64(raw + ENTRY_AT_MTIME),
        .nsec = read_u32(raw + ENTRY_AT_NSEC),
        .mode = read_u32(raw + ENTRY_AT_MODE),
        .target = NO_ENTRY,
        .parent = NO_ENTRY,
        .first_child = NO_ENTRY,
        .next_sibling = NO_ENTRY,
    };
    if (!path_is_normal(entry->path))
        return damaged(bundle, error, entry->path, "is not an absolute normalised path");
    if (index > 0 && strcmp(entry[-1].path, entry->path) >= 0)
        return damaged(bundle, error, entry->path, "is out of order or there twice");
    const bool regular = S_ISREG(entry->mode), directory = S_ISDIR(entry->mode), symbolic = S_ISLNK(entry->mode);
    const bool hard = flags == FLAG_HARD_LINK;
    if ((!regular && !directory && !symbolic) || (entry->mode & ~(uint32_t)(S_IFMT | (directory ? S_ISVTX : 0) | 0777)) != 0)
        return damaged(bundle, error, entry->path, "has a mode that is not allowed");
    if ((flags & ~FLAG_HARD_LINK) != 0 || read_u32(raw + ENTRY_AT_ZERO) != 0 || entry->nsec >= 1000000000 || (hard && !regular))
        return damaged(bundle, error, entry->path, "has unknown flags");
    if ((!regular || hard) && entry->size != 0)
        return damaged(bundle, error, entry->path, "has a size and is not a regular file");
    if (entry->size == 0 ? entry->offset != 0 : entry->offset > bundle->stream_size || entry->size > bundle->stream_size - entry->offset)
        return damaged(bundle, error, entry->path, "has its content outside the payload");
    if ((symbolic || hard) != (entry->link[0] != '\0') || strlen(entry->link) > LINK_MAX_BYTES)
        return damaged(bundle, error, entry->path, "has no valid link target");
    if (!regular && memcmp(sections[SECTION_SHAS].data + (size_t)index * sizeof no_digest, no_digest, sizeof no_digest) != 0)
        return damaged(bundle, error, entry->path, "has a digest and is not a regular file");
    if (hard)
        entry->target = 0; /* resolved when all entries are there */
    return true;
}

/* Consecutive entries mostly share their parent, so look there before searching. */
static uint32_t find_parent(const struct bundle *bundle, const char *path, uint32_t guess)
{
    char parent[PATH_MAX];
    const size_t length = (size_t)(strrchr(path, '/') - path);
    if (guess != NO_ENTRY && strncmp(bundle->entries[guess].path, path, length) == 0 && bundle->entries[guess].path[length] == '\0')
        return guess;
    memcpy(parent, path, length);
    parent[length] = '\0';
    return bundle_find(bundle, parent);
}

/* The target of a hard link must be a regular file with the same attributes and digest. */
static bool is_link_to(const struct bundle *bundle, const uint8_t *digests, uint32_t index, uint32_t target)
{
    const struct entry *link = &bundle->entries[index], *file = &bundle->entries[target];
    return target != NO_ENTRY && S_ISREG(file->mode) && file->target == NO_ENTRY && file->mode == link->mode && file->mtime == link->mtime &&
           file->nsec == link->nsec && memcmp(digests + 32 * (size_t)index, digests + 32 * (size_t)target, 32) == 0;
}

/* Put each entry into its parent's list; return one whose parent is no directory, or NULL. */
static const struct entry *hang_up(struct bundle *bundle)
{
    uint32_t guess = NO_ENTRY;
    bundle->first_top = NO_ENTRY;
    for (uint32_t i = bundle->entry_count; i-- > 0;) { /* backwards, so that lists of children come out in order */
        struct entry *entry = &bundle->entries[i];
        uint32_t *first = &bundle->first_top;
        if (strrchr(entry->path, '/') != entry->path) {
            guess = entry->parent = find_parent(bundle, entry->path, guess);
            if (guess == NO_ENTRY || !S_ISDIR(bundle->entries[guess].mode))
                return entry;
            first = &bundle->entries[guess].first_child;
        }
        entry->next_sibling = *first;
        *first = i;
    }
    return NULL;
}

static int by_path(const void *left, const void *right)
{
    return strcmp(((const struct entry *)left)->path, ((const struct entry *)right)->path);
}

void table_add(struct bundle *bundle, struct entry *extra, uint32_t count)
{
    struct entry *all = allocate((unsigned long)bundle->entry_count + count, sizeof *all);
    uint32_t *now = allocate(bundle->entry_count, sizeof *now), old = 0, new = 0;
    if (count > 0)
        qsort(extra, count, sizeof *extra, by_path);
    for (uint32_t i = 0; i < bundle->entry_count + count; i++) {
        const bool from_old = new == count || (old < bundle->entry_count && by_path(&bundle->entries[old], &extra[new]) < 0);
        if (from_old)
            now[old] = i;
        all[i] = from_old ? bundle->entries[old++] : extra[new++];
        all[i].parent = all[i].first_child = all[i].next_sibling = NO_ENTRY;
    }
    bundle->entry_count += count;
    for (uint32_t i = 0; i < bundle->entry_count; i++)
        all[i].target = all[i].target != NO_ENTRY ? now[all[i].target] : NO_ENTRY;
    for (uint32_t i = 0; i < bundle->content_count; i++)
        bundle->contents[i].entry = now[bundle->contents[i].entry];
    free(bundle->entries);
    free(now);
    bundle->entries = all;
    hang_up(bundle);
}

static bool link_up(struct bundle *bundle, const uint8_t *digests, struct error *error)
{
    const struct entry *stray = hang_up(bundle);
    if (stray != NULL)
        return damaged(bundle, error, stray->path, "has a parent that is not a directory of the bundle");
    for (uint32_t i = 0; i < bundle->entry_count; i++) {
        struct entry *entry = &bundle->entries[i];
        if (entry->target != NO_ENTRY) {
            entry->target = bundle_find(bundle, entry->link);
            if (!is_link_to(bundle, digests, i, entry->target))
                return damaged(bundle, error, entry->path, "is a hard link to what is not a file like it");
        }
    }
    return true;
}

static int by_offset(const void *left, const void *right)
{
    const uint64_t a = ((const struct content *)left)->offset, b = ((const struct content *)right)->offset;
    return (a > b) - (a < b);
}

static bool order_contents(struct bundle *bundle, struct error *error)
{
    bundle->contents = allocate(bundle->entry_count, sizeof *bundle->contents);
    for (uint32_t i = 0; i < bundle->entry_count; i++) {
        const struct entry *entry = &bundle->entries[i];
        if (entry->size > 0)
            bundle->contents[bundle->content_count++] = (struct content){entry->offset, i};
    }
    qsort(bundle->contents, bundle->content_count, sizeof *bundle->contents, by_offset);
    for (uint32_t i = 0; i < bundle->content_count; i++) {
        const struct entry *entry = &bundle->entries[bundle->contents[i].entry];
        if (i > 0) {
            const struct entry *before = &bundle->entries[bundle->contents[i - 1].entry];
            if (before->offset + before->size > entry->offset)
                return damaged(bundle, error, entry->path, "overlaps another one's content");
        }
    }
    return true;
}

bool table_read(struct bundle *bundle, const struct span sections[SECTION_COUNT], struct error *error)
{
    const struct span *strings = &sections[SECTION_STRS];
    const uint64_t count = sections[SECTION_ENTR].size / ENTRY_SIZE;
    if (strings->size == 0 || strings->data[0] != 0 || strings->data[strings->size - 1] != 0)
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: section STRS is not NUL-terminated strings", bundle->name);
    if (sections[SECTION_ENTR].size % ENTRY_SIZE != 0 || count >= NO_ENTRY || sections[SECTION_SHAS].size != count * 32)
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: sections ENTR and SHAS do not agree", bundle->name);
    if (!read_frames(bundle, &sections[SECTION_FRAM], error))
        return false;
    bundle->entry_count = (uint32_t)count;
    bundle->entries = allocate(count, sizeof *bundle->entries);
    for (uint32_t i = 0; i < bundle->entry_count; i++)
        if (!decode(bundle, sections, i, error))
            return false;
    return link_up(bundle, sections[SECTION_SHAS].data, error) && order_contents(bundle, error);
}
