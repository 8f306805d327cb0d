#include "launcher/memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

uint64_t memory_available(char *limit, size_t limit_size)
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

bool memory_check(uint64_t bytes, const char *bundle, struct error *error)
{
    char limit[4500];
    const uint64_t available = memory_available(limit, sizeof limit);
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
