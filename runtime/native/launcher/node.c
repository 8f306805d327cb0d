#include "launcher/node.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "launcher/conf.h"
#include "launcher/elf.h"
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

/* First number in a file, or `otherwise`. cgroup v2 writes "max" for no limit. */
static uint64_t number_in(const char *path, uint64_t otherwise)
{
    char text[64] = "";
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return otherwise;
    const ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    return size > 0 && text[0] >= '0' && text[0] <= '9' ? strtoull(text, NULL, 10) : otherwise;
}

/* Page cache that the kernel gives back before it refuses memory: memory.stat's *_file. */
static uint64_t reclaimable(const char *directory)
{
    char path[4500], line[256];
    uint64_t sum = 0, value;
    snprintf(path, sizeof path, "%s/memory.stat", directory);
    FILE *file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "inactive_file %llu", (unsigned long long *)&value) == 1 ||
            sscanf(line, "active_file %llu", (unsigned long long *)&value) == 1)
            sum += value;
    if (file != NULL)
        fclose(file);
    return sum;
}

/* Walk from this process' group up to the root, cgroups(7). */
static void limit_by_group(const char *mount, char *group, const char *limit_file, const char *usage_file, uint64_t *available, char *which,
                           size_t which_size)
{
    for (;;) {
        char directory[4200], path[4500];
        snprintf(directory, sizeof directory, "%s%s", mount, strcmp(group, "/") == 0 ? "" : group);
        snprintf(path, sizeof path, "%s/%s", directory, limit_file);
        const uint64_t limit = number_in(path, UINT64_MAX);
        if (limit < UINT64_MAX / 4) { /* v1 writes a huge number for no limit */
            char usage_path[4500];
            snprintf(usage_path, sizeof usage_path, "%s/%s", directory, usage_file);
            const uint64_t used = number_in(usage_path, 0), cache = reclaimable(directory);
            const uint64_t held = used > cache ? used - cache : 0;
            const uint64_t left = limit > held ? limit - held : 0;
            if (left < *available) {
                *available = left;
                snprintf(which, which_size, "%s", path);
            }
        }
        char *slash = strrchr(group, '/');
        if (slash == NULL || strcmp(group, "/") == 0)
            return;
        slash[slash == group] = '\0';
    }
}

uint64_t node_memory_available(char *limit, size_t limit_size)
{
    uint64_t available = UINT64_MAX, kilobytes;
    char line[4200];
    snprintf(limit, limit_size, "MemAvailable");
    FILE *file = fopen("/proc/meminfo", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "MemAvailable: %llu", (unsigned long long *)&kilobytes) == 1)
            available = kilobytes * 1024;
    if (file != NULL)
        fclose(file);
    file = fopen("/proc/self/cgroup", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
        if (group == NULL)
            continue;
        *group++ = '\0';
        controllers++;
        if (controllers[0] == '\0') {
            limit_by_group("/sys/fs/cgroup", group, "memory.max", "memory.current", &available, limit, limit_size);
        } else if (strcmp(controllers, "memory") == 0) {
            limit_by_group("/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", "memory.usage_in_bytes", &available, limit, limit_size);
        }
    }
    if (file != NULL)
        fclose(file);
    return available;
}

bool node_check_memory(uint64_t bytes, const char *bundle, struct error *error)
{
    char limit[4500];
    const uint64_t available = node_memory_available(limit, sizeof limit);
    if (bytes <= available)
        return true;
    char hint[1024];
    snprintf(hint, sizeof hint,
             "ask for a job with more memory, or unpack it on a local disk of the node before: export SDEE_DEPLOY_DIR=/local/disk; SDEE_DEPLOY=1 %.300s; "
             "then run it; `sdee bundle --minimal` makes smaller bundles",
             bundle);
    return fail(error, EXIT_RESOURCES, hint,
                "the closure in %s needs %llu MB of memory and %llu MB are available (%s)", bundle, (unsigned long long)(bytes >> 20) + 1,
                (unsigned long long)(available >> 20), limit);
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
