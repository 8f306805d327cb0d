/* The table's entries: the rules that keep a hostile bundle inside of its root. Heads, offsets and the payload's size are made to fit, and
 * SHAS as long as ENTR, so that the rules themselves are reached.
 * Input: u16 size of STRS, u16 number of entries, u16 number of frames; STRS, ENTR, FRAM; CONF is what is left. */
#include <sys/stat.h>

#include "footer.h"
#include "lib/paths.h"

enum { PAYLOAD_MOST = 1 << 20 };

/* What is written through its path is written below the root: each name is one component, and all above it are directories of the bundle. */
static void check_entry(const struct bundle *bundle, uint32_t index)
{
    const struct entry *entry = &bundle->entries[index];
    MUST(bundle_find(bundle, entry->path) == index);
    MUST(path_is_normal(entry->path));
    MUST((entry->mode & 07000) == 0 || S_ISDIR(entry->mode));
    MUST(entry->size <= bundle->stream_size);
    for (uint32_t parent = entry->parent, depth = 0; parent != NO_ENTRY; parent = bundle->entries[parent].parent) {
        MUST(S_ISDIR(bundle->entries[parent].mode));
        MUST(depth++ < 4096);
    }
    if (entry->target != NO_ENTRY) {
        MUST(entry->target < bundle->entry_count && S_ISREG(bundle->entries[entry->target].mode));
        MUST(bundle->entries[entry->target].target == NO_ENTRY && entry->size == 0);
    }
}

/* Each entry is the child of one directory, in order. */
static void check_tree(const struct bundle *bundle)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i <= bundle->entry_count; i++) {
        const uint32_t directory = i < bundle->entry_count ? i : NO_ENTRY;
        for (uint32_t child = bundle_children(bundle, directory), last = NO_ENTRY; child != NO_ENTRY; child = bundle->entries[child].next_sibling) {
            MUST(last == NO_ENTRY || child > last);
            MUST(bundle->entries[child].parent == directory);
            MUST(seen++ < bundle->entry_count);
            last = child;
        }
    }
    MUST(seen == bundle->entry_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t none[PAYLOAD_MOST];
    static uint8_t digests[1 << 21]; /* all alike: hard links are then judged by all else */
    struct input input = {data, size};
    size_t sizes[6] = {take2(&input), 48 * (size_t)take2(&input), 0, 16 * (size_t)take2(&input), 0, 0};
    const uint8_t *sections[6] = {0};
    sections[0] = take_bytes(&input, &sizes[0]);
    sections[1] = take_bytes(&input, &sizes[1]);
    sizes[2] = sizes[1] / 48 * 32;
    sections[2] = digests;
    sections[3] = take_bytes(&input, &sizes[3]);
    sizes[4] = input.left;
    sections[4] = input.left > 0 ? input.at : (const uint8_t *)LEAST_CONF;
    if (input.left == 0)
        sizes[4] = sizeof LEAST_CONF;
    uint64_t payload = 0;
    for (size_t i = 0; i + 16 <= sizes[3] && payload <= PAYLOAD_MOST; i += 16)
        payload += read_u64(sections[3] + i) % (PAYLOAD_MOST + 1);
    size_t table_size, whole;
    uint8_t *table = with_heads(sections, sizes, &table_size);
    uint8_t *file = with_footer(none, payload <= PAYLOAD_MOST ? payload : 0, table, table_size, &whole);
    free(table);
    struct bundle bundle;
    struct error error = {0};
    if (bundle_parse(&bundle, "fuzz", file, whole, false, &error)) {
        if (bundle_read_entries(&bundle, &error)) {
            for (uint32_t i = 0; i < bundle.entry_count; i++)
                check_entry(&bundle, i);
            check_tree(&bundle);
        }
        bundle_close(&bundle);
    }
    free(file);
    return 0;
}
