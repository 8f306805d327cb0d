/* Text files of the node and of its kernel: mountinfo, os-release, meminfo, cgroup, passwd, group. Input: one text for each file that is
 * opened, in the order in which they are, separated by NULs. The linker puts fopen_input() in the place of fopen(3) (Makefile). */
#include "footer.h"
#include "launcher/memory.h"
#include "launcher/node/node.h"
#include "launcher/plan/accounts.h"

static struct input texts;

FILE *__wrap_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode)
{
    (void)path, (void)mode;
    static char text[1 << 16];
    size_t size = texts.left > 0 ? strnlen((const char *)texts.at, texts.left) : 0;
    const uint8_t *from = take_bytes(&texts, &size);
    take(&texts);
    if (size == 0 || size > sizeof text)
        return NULL; /* a file that is not there */
    memcpy(text, from, size);
    return fmemopen(text, size, "r");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct node node;
    struct arena arena = {NULL};
    struct error error = {0};
    struct bundle bundle = {.name = "fuzz", .conf = "os\0debian 12\0", .conf_size = 13};
    char limit[4500], why[4500];
    texts = (struct input){data, size};
    if (node_read(&node, &arena, &error)) {
        for (size_t i = 0; i < node.mount_count; i++)
            MUST(strlen(node.mounts[i]) < size);
        node_same_system(&node, &bundle, why, sizeof why);
        free(node.mounts);
    }
    memory_available(limit, sizeof limit);
    passwd_with_user(&arena);
    group_with_user(&arena);
    arena_free(&arena);
    texts = (struct input){NULL, 0};
    return 0;
}
