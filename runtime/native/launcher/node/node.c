#include "launcher/node/node.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "launcher/bundle/conf.h"
#include "launcher/node/elf.h"
#include "lib/mountinfo.h"

/* Value of KEY=value or KEY="value", os-release(5). */
static bool os_value(const char *line, const char *key, char *value, size_t size)
{
    const size_t length = strlen(key);
    if (strncmp(line, key, length) != 0 || line[length] != '=')
        return false;
    line += length + 1;
    line += *line == '"' || *line == '\'';
    snprintf(value, size, "%.*s", (int)strcspn(line, "\"'\n"), line);
    return true;
}

static void read_os(struct node *node)
{
    char line[1024], id[100] = "", version[100] = "";
    FILE *file = fopen("/etc/os-release", "re");
    if (file == NULL)
        file = fopen("/usr/lib/os-release", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (!os_value(line, "ID", id, sizeof id))
            os_value(line, "VERSION_ID", version, sizeof version);
    if (file != NULL)
        fclose(file);
    snprintf(node->os, sizeof node->os, "%s%s%s", id, version[0] != '\0' ? " " : "", version);
}

bool node_read(struct node *node, struct arena *arena, struct error *error)
{
    memset(node, 0, sizeof *node);
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (file == NULL)
        return fail_proc(error, "/proc/self/mountinfo");
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        int from = 0, to = 0;
        if (sscanf(line, "%*s %*s %*s %*s %n%*s%n", &from, &to) < 0 || to <= from)
            continue;
        node->mounts = reallocate(node->mounts, node->mount_count + 1, sizeof *node->mounts);
        node->mounts[node->mount_count] = arena_format(arena, "%.*s", to - from, line + from);
        mounted_unescape(node->mounts[node->mount_count++]);
    }
    free(line);
    fclose(file);
    read_os(node);
    return true;
}

bool node_check_machine(const char *machine, struct error *error)
{
    struct utsname name;
    uname(&name);
    const bool x86 = strcmp(name.machine, "x86_64") == 0 && machine[0] == 'i' && strcmp(machine + 2, "86") == 0;
    if (strcmp(machine, name.machine) == 0 || x86)
        return true;
    return fail(error, EXIT_NODE, "trace and bundle the job on a machine of the same type",
                "the bundle holds a job for %s and this node is %s", machine, name.machine);
}

bool node_same_system(const struct node *node, const struct bundle *bundle, char *why, size_t why_size)
{
    const char *os = conf_get(bundle, "os"), *libc = conf_get(bundle, "libc");
    if (os == NULL || strncmp(os, node->os, strlen(node->os)) != 0 || strspn(os + strlen(node->os), " ") != strlen(os + strlen(node->os)) ||
        node->os[0] == '\0') {
        snprintf(why, why_size, "the bundle was traced on '%s' and this node is '%s'", os != NULL ? os : "", node->os);
        return false;
    }
    if (libc == NULL) {
        snprintf(why, why_size, "this node is '%s' as well, and the job used no shared libc", node->os);
        return true;
    }
    char path[4096], hex[129] = "none";
    const size_t length = strcspn(libc, " ");
    snprintf(path, sizeof path, "%.*s", (int)length, libc);
    const char *expected = libc + length + (libc[length] == ' ');
    const bool same = elf_build_id(path, hex, sizeof hex) && strcmp(hex, expected) == 0;
    snprintf(why, why_size, "this node is '%s' as well, and its %s has %s build-id (%s)", node->os, path, same ? "the same" : "another", hex);
    return same;
}
