#include "launcher/lazy/tree.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FIRST_NODE = 2, FOREVER = 1 << 30 /* s */, DOT = 1, DOTS = 2, FIRST_OFFSET = 3 };

/* The file that a name is of: a hard link's is its target's. */
static uint32_t file_of(const struct tree *tree, uint32_t entry)
{
    const uint32_t target = tree->bundle->entries[entry].target;
    return target != NO_ENTRY ? target : entry;
}

bool tree_make(struct tree *tree, const struct bundle *bundle, const bool *wanted, uid_t uid, gid_t gid)
{
    *tree = (struct tree){.bundle = bundle, .wanted = wanted, .uid = uid, .gid = gid};
    tree->names = calloc(bundle->entry_count + (size_t)1, sizeof *tree->names);
    for (uint32_t i = 0; tree->names != NULL && i < bundle->entry_count; i++)
        tree->names[file_of(tree, i)] += wanted[i];
    return tree->names != NULL;
}

void tree_free(struct tree *tree)
{
    free(tree->names);
}

bool tree_entry(const struct tree *tree, uint64_t node, uint32_t *entry)
{
    *entry = NO_ENTRY;
    if (node >= FIRST_NODE && node - FIRST_NODE < tree->bundle->entry_count)
        *entry = (uint32_t)(node - FIRST_NODE);
    return *entry != NO_ENTRY || node == FUSE_ROOT_ID;
}

uint32_t tree_find(const struct tree *tree, uint32_t directory, const char *name)
{
    char path[PATH_MAX];
    const char *above = directory == NO_ENTRY ? "" : tree->bundle->entries[directory].path;
    if (strchr(name, '/') != NULL || strlen(above) + strlen(name) + 2 > sizeof path)
        return NO_ENTRY;
    snprintf(path, sizeof path, "%s/%s", above, name);
    const uint32_t found = bundle_find(tree->bundle, path);
    return found != NO_ENTRY && tree->wanted[found] ? found : NO_ENTRY;
}

void tree_attributes(const struct tree *tree, uint32_t entry, struct fuse_attr *attributes)
{
    *attributes = (struct fuse_attr){.ino = FUSE_ROOT_ID, .mode = S_IFDIR | 0755, .nlink = 1, .uid = tree->uid, .gid = tree->gid, .blksize = 4096};
    if (entry == NO_ENTRY)
        return;
    const struct entry *is = &tree->bundle->entries[entry];
    attributes->ino = file_of(tree, entry) + (uint64_t)FIRST_NODE;
    attributes->mode = is->mode;
    attributes->size = S_ISLNK(is->mode) ? strlen(is->link) : entry_size(tree->bundle, is);
    attributes->blocks = (attributes->size + 511) / 512;
    attributes->mtime = attributes->atime = attributes->ctime = (uint64_t)is->mtime;
    attributes->mtimensec = attributes->atimensec = attributes->ctimensec = is->nsec;
    if (!S_ISDIR(is->mode)) /* 1 of a directory: not counted, as in btrfs. find(1) takes 2 for no directories in it */
        attributes->nlink = tree->names[file_of(tree, entry)];
}

void tree_answer(const struct tree *tree, uint32_t entry, struct fuse_entry_out *answer)
{
    *answer = (struct fuse_entry_out){.entry_valid = FOREVER, .attr_valid = FOREVER};
    if (entry == NO_ENTRY)
        return;
    answer->nodeid = file_of(tree, entry) + (uint64_t)FIRST_NODE;
    answer->generation = 1;
    tree_attributes(tree, entry, &answer->attr);
}

/* What follows a name in its directory; NO_ENTRY: nothing. */
static uint32_t next_wanted(const struct tree *tree, uint32_t entry)
{
    while (entry != NO_ENTRY && !tree->wanted[entry])
        entry = tree->bundle->entries[entry].next_sibling;
    return entry;
}

struct listing {
    uint8_t *room;
    size_t size, used;
};

/* One more name; false where there is no room for it. An offset is where to go on after it. Of . and .. the kernel wants to know no node. */
static bool put(struct listing *listing, const char *name, const struct fuse_entry_out *answer, uint64_t offset)
{
    const size_t length = strlen(name), size = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET_DIRENTPLUS + length);
    struct fuse_direntplus head = {.entry_out = *answer};
    if (size > listing->size - listing->used)
        return false;
    head.dirent.ino = answer->attr.ino;
    head.dirent.off = offset;
    head.dirent.namelen = (uint32_t)length;
    head.dirent.type = answer->attr.mode >> 12;
    uint8_t *at = listing->room + listing->used;
    memset(at, 0, size);
    memcpy(at, &head, FUSE_NAME_OFFSET_DIRENTPLUS);
    memcpy(at + FUSE_NAME_OFFSET_DIRENTPLUS, name, length);
    listing->used += size;
    return true;
}

static bool put_dots(const struct tree *tree, uint32_t directory, struct listing *listing, uint64_t offset)
{
    struct fuse_entry_out own = {0}, above = {0};
    tree_attributes(tree, directory, &own.attr);
    tree_attributes(tree, directory != NO_ENTRY ? tree->bundle->entries[directory].parent : NO_ENTRY, &above.attr);
    return (offset >= DOT || put(listing, ".", &own, DOT)) && (offset >= DOTS || put(listing, "..", &above, DOTS));
}

ssize_t tree_list(const struct tree *tree, uint32_t directory, uint64_t offset, uint8_t *room, size_t size)
{
    const struct bundle *bundle = tree->bundle;
    struct listing listing = {room, size, 0};
    uint32_t next = bundle_children(bundle, directory);
    if (offset >= FIRST_OFFSET) {
        const uint64_t last = offset - FIRST_OFFSET;
        if (last >= bundle->entry_count || bundle->entries[last].parent != directory)
            return -1;
        next = bundle->entries[last].next_sibling;
    }
    bool room_left = put_dots(tree, directory, &listing, offset);
    while (room_left && (next = next_wanted(tree, next)) != NO_ENTRY) {
        struct fuse_entry_out answer;
        tree_answer(tree, next, &answer);
        room_left = put(&listing, strrchr(bundle->entries[next].path, '/') + 1, &answer, next + (uint64_t)FIRST_OFFSET);
        next = bundle->entries[next].next_sibling;
    }
    return (ssize_t)listing.used;
}
