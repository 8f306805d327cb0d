/* CONF, as all that read it do: checks, variables, libraries of the node, the plan of both roots. Looks at this machine, changes nothing.
 * Input: pairs of NUL-terminated strings; "machine", "program" and the like are put in front unless the input brings them. Then, behind a
 * byte 0xff, paths of the closure: "f" file, "d" directory, or "l" link to /etc, and the path. */
#include <sys/stat.h>

#include "footer.h"
#include "launcher/bundle/conf.h"
#include "launcher/node/expect.h"
#include "launcher/plan/make.h"
#include "launcher/run/variables.h"

enum { ENTRIES = 64 };

struct item {
    char kind, *path;
};

static int by_path(const void *left, const void *right)
{
    return strcmp(((const struct item *)left)->path, ((const struct item *)right)->path);
}

/* STRS, ENTR and their sizes: of items, of which those that the rules refuse are for the harness `table`. */
static size_t make_entries(struct input *input, uint8_t *strings, size_t room, uint8_t *entries, size_t *used)
{
    struct item items[ENTRIES];
    size_t count = 0, kept = 0;
    while (count < ENTRIES && input->left > 0) {
        items[count].kind = (char)take(input);
        items[count++].path = take_text(input);
    }
    qsort(items, count, sizeof *items, by_path);
    memcpy(strings, "\0/etc", *used = 6);
    for (size_t i = 0; i < count; i++) {
        const size_t length = strlen(items[i].path) + 1;
        const mode_t mode = items[i].kind == 'd' ? S_IFDIR | 0755 : items[i].kind == 'l' ? S_IFLNK | 0777 : S_IFREG | 0644;
        if (*used + length < room) {
            memcpy(strings + *used, items[i].path, length);
            put_number(entries + 48 * kept, *used, 4);
            put_number(entries + 48 * kept + 4, items[i].kind == 'l', 4);
            put_number(entries + 48 * kept + 36, mode, 4);
            *used += length;
            kept++;
        }
        free(items[i].path);
    }
    return kept;
}

static void plan(const struct bundle *bundle, struct arena *arena, struct host_libraries *libraries)
{
    static struct plan plan;
    struct error error = {0};
    struct node node;
    char why[4500];
    memset(&plan, 0, sizeof plan);
    plan.arena = arena;
    if (!node_read(&node, arena, &error))
        abort();
    node_same_system(&node, bundle, why, sizeof why);
    for (enum root_kind root = ROOT_MERGED; root <= ROOT_CLOSED; root++)
        if (plan_make(&plan, root, bundle, &node, libraries, &error))
            plan_print(&plan);
    free(plan.ops);
    free(plan.nodes_own);
    free(plan.wanted);
    free(plan.synthetic);
    free(plan.held);
    free(node.mounts);
}

static void use(const struct bundle *bundle)
{
    struct arena arena = {NULL};
    struct error error = {0};
    struct host_libraries libraries;
    const struct options options = {.chdir = "/tmp"};
    char **environment = variables_make(bundle, &options, &arena);
    variables_get(environment, "PATH");
    free(environment);
    node_check_machine(conf_get(bundle, "machine"), &error);
    host_libraries_find(&libraries, bundle, true, &arena);
    expect_check(bundle, &libraries, &error);
    host_libraries_check_mpi(&libraries, &error);
    host_libraries_missing(&libraries);
    host_libraries_print(&libraries);
    expect_explain_illegal(bundle);
    plan(bundle, &arena, &libraries);
    host_libraries_free(&libraries);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t strings[1 << 16], entries[48 * ENTRIES], digests[32 * ENTRIES];
    const uint8_t *end = memchr(data, 0xff, size);
    const size_t own = end != NULL ? (size_t)(end - data) : size;
    struct input input = {data + own, size - own};
    take(&input);
    const bool whole_conf = own > 8 && memcmp(data, "machine", 8) == 0;
    size_t conf_size = own + (whole_conf ? 0 : sizeof LEAST_CONF), used;
    uint8_t *conf = malloc(conf_size + 1);
    memcpy(conf, LEAST_CONF, whole_conf ? 0 : sizeof LEAST_CONF);
    if (own > 0)
        memcpy(conf + conf_size - own, data, own);
    const size_t count = make_entries(&input, strings, sizeof strings, entries, &used);
    const uint8_t *sections[6] = {strings, entries, digests, NULL, conf, NULL};
    const size_t sizes[6] = {used, 48 * count, 32 * count, 0, conf_size, 0};
    size_t table_size, whole;
    uint8_t *table = with_heads(sections, sizes, &table_size), *file = with_footer(NULL, 0, table, table_size, &whole);
    free(conf);
    free(table);
    struct bundle bundle;
    struct error error = {0};
    if (bundle_parse(&bundle, "fuzz", file, whole, false, &error)) {
        if (bundle_read_entries(&bundle, &error))
            use(&bundle);
        bundle_close(&bundle);
    }
    free(file);
    return 0;
}
