#include "launcher/bundle/bundle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "launcher/bundle/sha256.h"
#include "lib/bytes.h"

static const char COPY_AGAIN[] = "copy or make the bundle again; `sdee check` shows whether it is complete";

static bool looks_like_footer(const uint8_t footer[FOOTER_SIZE])
{
    return memcmp(footer + FOOTER_AT_NAME, FOOTER_NAME, sizeof FOOTER_NAME - 1) == 0;
}

bool bundle_has_footer(int fd)
{
    uint8_t footer[FOOTER_SIZE];
    struct stat status;
    return fstat(fd, &status) == 0 && status.st_size >= FOOTER_SIZE &&
           pread(fd, footer, sizeof footer, status.st_size - FOOTER_SIZE) == FOOTER_SIZE && looks_like_footer(footer);
}

/* Where the table begins, with the head of its frame, as the footer says now; the footer for what is no bundle. */
static uint64_t table_begin(const uint8_t *map, size_t size)
{
    const uint8_t *footer = map + size - FOOTER_SIZE;
    const uint64_t table = read_u64(footer + FOOTER_AT_TABLE);
    return looks_like_footer(footer) && table >= 8 && table <= size - FOOTER_SIZE ? table - 8 : size - FOOTER_SIZE;
}

/* Put a copy of the table and the footer in place of the mapped ones, before anything of them is checked: what was checked is then what is
 * used, whatever the file's owner does to it. Its pages are replaced in place (mremap(2), MREMAP_FIXED). `first`: what is copied begins there. */
static bool copy_table(uint8_t *map, size_t size, const char *name, size_t *first, struct error *error)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    *first = size < FOOTER_SIZE ? 0 : (size_t)table_begin(map, size) / page * page;
    const size_t length = size - *first;
    uint8_t *copy = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (copy == MAP_FAILED)
        return fail(error, EXIT_RESOURCES, "ask for a job with more memory", "no memory left for the table of %s", name);
    memcpy(copy, map + *first, length);
    if (mremap(copy, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, map + *first) == MAP_FAILED)
        return fail(error, EXIT_RESOURCES, NULL, "cannot keep the table of %s: %s", name, strerror(errno));
    return true;
}

bool bundle_open(struct bundle *bundle, const char *name, int fd, bool check_launcher, struct error *error)
{
    struct stat status;
    memset(bundle, 0, sizeof *bundle);
    if (fstat(fd, &status) != 0)
        return fail(error, EXIT_BUNDLE, NULL, "cannot read %s: %s", name, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return fail(error, EXIT_BUNDLE, NULL, "%s is not a bundle: it is not a regular file", name);
    if (status.st_size == 0)
        return fail(error, EXIT_BUNDLE, NULL, "%s is not a bundle: it is empty", name);
    void *map = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return fail(error, EXIT_RESOURCES, "raise `ulimit -v`", "cannot map %s: %s", name, strerror(errno));
    size_t first;
    bool good = copy_table(map, (size_t)status.st_size, name, &first, error) &&
                bundle_parse(bundle, name, map, (size_t)status.st_size, check_launcher, error);
    if (good && bundle->table_at - 8 < first)
        good = fail(error, EXIT_BUNDLE, "run it again", "%s was changed while it was opened", name);
    if (!good) {
        munmap(map, (size_t)status.st_size);
        return false;
    }
    bundle->mapped = true;
    bundle->fd = fd;
    bundle->mtime = status.st_mtim;
    return true;
}

/* An ELF note (elf(5)), because the linker puts notes on the first page: it tells what a file was that was cut after it. */
#define MARK "SDEE launcher of a bundle"
static const struct {
    uint32_t name_size, size, type;
    char name[8], mark[28];
} note_of_launcher __attribute__((section(".note.sdee"), used, aligned(4))) = {5, 28, 1, "SDEE", MARK};

/* Has the file been a bundle whose end is lost? */
static bool was_bundle(const uint8_t *data, size_t size)
{
    static const uint8_t elf[] = {0x7f, 'E', 'L', 'F'};
    return size > sizeof elf && memcmp(data, elf, sizeof elf) == 0 &&
           memmem(data, size < 4096 ? size : 4096, MARK, sizeof MARK - 1) != NULL;
}

static bool read_footer(struct bundle *bundle, bool check_launcher, struct error *error)
{
    const uint8_t *data = bundle->map;
    const size_t size = bundle->map_size;
    const char *name = bundle->name;
    const uint8_t *footer = data + (size < FOOTER_SIZE ? 0 : size - FOOTER_SIZE);
    if (size < FOOTER_SIZE || !looks_like_footer(footer)) {
        if (was_bundle(data, size))
            return fail(error, EXIT_BUNDLE, COPY_AGAIN, "%s is truncated: it begins as a bundle, and its end is missing", name);
        const bool trace = size > 10 && memcmp(data, "{\"t\":\"head", 10) == 0;
        return fail(error, EXIT_BUNDLE, trace ? "it is a trace: `sdee bundle` makes a bundle of it" : "make one with `sdee bundle`",
                    "%s is not a bundle", name);
    }
    if (read_u32(footer + FOOTER_AT_VERSION) > FORMAT_VERSION)
        return fail(error, EXIT_BUNDLE, "use a newer sdee", "%s was made by a newer sdee: format %u, this one reads up to %u", name,
                    read_u32(footer + FOOTER_AT_VERSION), FORMAT_VERSION);
    const uint64_t launcher = read_u64(footer + FOOTER_AT_LAUNCHER), payload = read_u64(footer + FOOTER_AT_PAYLOAD);
    const uint64_t table_at = read_u64(footer + FOOTER_AT_TABLE);
    const uint64_t table = read_u64(footer + FOOTER_AT_TABLE_SIZE), whole = read_u64(footer + FOOTER_AT_WHOLE);
    if (whole > size)
        return fail(error, EXIT_BUNDLE, COPY_AGAIN, "%s is truncated: %zu bytes of %llu", name, size, (unsigned long long)whole);
    /* Each part is at most the whole, so no sum below can overflow. */
    if (read_u32(footer + FOOTER_AT_MAGIC) != MAGIC_FOOTER || read_u32(footer + FOOTER_AT_SIZE) != FOOTER_SIZE - 8 ||
        read_u32(footer + FOOTER_AT_VERSION) != FORMAT_VERSION || read_u32(footer + FOOTER_AT_ZERO) != 0 || whole != size ||
        launcher == 0 || launcher > whole || payload > whole || table > whole ||
        launcher + payload + 8 != table_at || table_at + table + FOOTER_SIZE != whole)
        return fail(error, EXIT_BUNDLE, COPY_AGAIN, "%s is damaged: its footer contradicts itself", name);
    if (read_u32(data + table_at - 8) != MAGIC_TABLE || read_u32(data + table_at - 4) != table)
        return fail(error, EXIT_BUNDLE, COPY_AGAIN, "%s is damaged: no table of contents where the footer says", name);
    uint8_t digest[32];
    sha256(data + table_at, table, digest);
    if (memcmp(digest, footer + FOOTER_AT_TABLE_DIGEST, sizeof digest) != 0)
        return fail(error, EXIT_BUNDLE, COPY_AGAIN, "%s is damaged: SHA-256 of the table differs", name);
    memcpy(bundle->identity, digest, sizeof digest);
    if (check_launcher) {
        sha256(data, launcher, digest);
        if (memcmp(digest, footer + FOOTER_AT_LAUNCHER_DIGEST, sizeof digest) != 0)
            return fail(error, EXIT_BUNDLE, COPY_AGAIN, "%s is damaged: SHA-256 of its launcher differs", name);
    }
    bundle->launcher_size = launcher;
    bundle->payload_size = payload;
    bundle->table_at = table_at;
    bundle->table_size = table;
    return true;
}

/* What rounding up to 8 leaves between sections. */
static bool are_zero(const uint8_t *data, uint64_t from, uint64_t to)
{
    while (from < to && data[from] == 0)
        from++;
    return from == to;
}

static bool read_sections(const struct bundle *bundle, struct span sections[SECTION_COUNT], struct error *error)
{
    static const char tags[SECTION_COUNT][5] = {SECTION_TAGS};
    const uint8_t *table = bundle->map + bundle->table_at;
    const uint64_t size = bundle->table_size;
    const uint32_t count = size < 16 ? 0 : read_u32(table + 8);
    uint64_t end = 16 + 24 * (uint64_t)count;
    if (count < SECTION_COUNT || count > SECTIONS_MAX || size < end || memcmp(table, TABLE_NAME, sizeof TABLE_NAME - 1) != 0 ||
        read_u32(table + 12) != 0)
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: its table of contents has no valid head", bundle->name);
    for (uint32_t i = 0; i < count; i++) { /* those behind the ones we know are of a newer sdee */
        const uint8_t *head = table + 16 + 24 * i;
        const uint64_t at = read_u64(head + 8), length = read_u64(head + 16);
        if ((i < SECTION_COUNT && memcmp(head, tags[i], 4) != 0) || read_u32(head + 4) != 0 || at != (end + 7) / 8 * 8 || at > size ||
            length > size - at || !are_zero(table, end, at))
            return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: section %s of its table is out of place", bundle->name,
                        i < SECTION_COUNT ? tags[i] : "behind META");
        if (i < SECTION_COUNT)
            sections[i] = (struct span){table + at, length};
        end = at + length;
    }
    if (end != size)
        return fail(error, EXIT_BUNDLE, NULL, "%s is damaged: its table is longer than its sections", bundle->name);
    return true;
}

bool bundle_parse(struct bundle *bundle, const char *name, const uint8_t *data, size_t size, bool check_launcher, struct error *error)
{
    struct span sections[SECTION_COUNT];
    memset(bundle, 0, sizeof *bundle);
    bundle->name = name;
    bundle->map = data;
    bundle->map_size = size;
    if (!read_footer(bundle, check_launcher, error) || !read_sections(bundle, sections, error))
        return false;
    bundle->conf = (const char *)sections[SECTION_CONF].data;
    bundle->conf_size = sections[SECTION_CONF].size;
    return conf_check(bundle, error);
}

bool bundle_read_entries(struct bundle *bundle, struct error *error)
{
    struct span sections[SECTION_COUNT];
    return bundle->entries != NULL || (read_sections(bundle, sections, error) && table_read(bundle, sections, error));
}

void bundle_close(struct bundle *bundle)
{
    free(bundle->entries);
    free(bundle->frames);
    free(bundle->contents);
    bundle->entries = NULL;
    bundle->frames = NULL;
    bundle->contents = NULL;
    if (bundle->mapped)
        munmap((void *)(uintptr_t)bundle->map, bundle->map_size);
    bundle->mapped = false;
}
