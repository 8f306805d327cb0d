#include "launcher/doctor.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/lazy/lazy.h"
#include "launcher/memory.h"
#include "launcher/root/root.h"
#include "lib/mounts.h"

struct finding {
    bool ok;
    char detail[1024], remedy[1024];
};

/* The way that is taken here, or NULL. */
static const struct root_way *way;

/* Go to where the root would be made. */
static bool go_apart(struct finding *finding)
{
    struct error error = {.code = EXIT_INTERNAL};
    struct root root = {.way = way};
    if (way != NULL && way->apart != NULL && way->apart(&root, &error))
        return true;
    snprintf(finding->detail, sizeof finding->detail, "%.1000s", way == NULL ? "no way to make a root is allowed here" : error.message);
    snprintf(finding->remedy, sizeof finding->remedy, "%.1000s", way == NULL ? "see above" : error.hint);
    return false;
}

static const char *mount_somewhere(void)
{
    static const char *const candidates[] = {"/tmp", "/dev/shm", "/run", "/var/tmp", "/mnt", "/home"};
    for (size_t i = 0; i < sizeof candidates / sizeof *candidates; i++)
        if (sys_mount_tmpfs(candidates[i], "mode=0755") == 0 && chdir(candidates[i]) == 0)
            return candidates[i];
    return NULL;
}

static void probe_tmpfs(struct finding *finding)
{
    if (way != NULL && way->apart == NULL) {
        finding->ok = true; /* it made one a moment ago */
        snprintf(finding->detail, sizeof finding->detail, "%s", way->how);
        return;
    }
    if (!go_apart(finding))
        return;
    const char *place = mount_somewhere();
    finding->ok = place != NULL && mkdir("old", 0755) == 0 && sys_pivot_root(".", "old") == 0;
    if (finding->ok) {
        snprintf(finding->detail, sizeof finding->detail, "tmpfs on %s, pivot_root into it", place);
        return;
    }
    snprintf(finding->detail, sizeof finding->detail, "%s: %s", place != NULL ? "pivot_root" : "mount a tmpfs", strerror(errno));
    snprintf(finding->remedy, sizeof finding->remedy, "a security module forbids mounts, or the root is an initramfs: ask the administrator");
}

static void probe_overlay(struct finding *finding)
{
    if (way != NULL && way->apart == NULL) {
        snprintf(finding->detail, sizeof finding->detail, "bwrap mounts no overlayfs");
        snprintf(finding->remedy, sizeof finding->remedy, "none needed: --root closed is used");
        return;
    }
    if (!go_apart(finding))
        return;
    if (mount_somewhere() == NULL || mkdir("a", 0755) != 0 || mkdir("b", 0755) != 0 || mkdir("u", 0755) != 0 || mkdir("w", 0755) != 0 ||
        mkdir("m", 0755) != 0) {
        snprintf(finding->detail, sizeof finding->detail, "no tmpfs to try it on: %s", strerror(errno));
        return;
    }
    if (sys_mount_overlay("m", "lowerdir=a:b,upperdir=u,workdir=w,userxattr") == 0 && mkdir("m/x", 0755) == 0) {
        finding->ok = true;
        snprintf(finding->detail, sizeof finding->detail, "writable, upper layer on a tmpfs");
        return;
    }
    const int number = errno;
    umount2("m", MNT_DETACH);
    finding->ok = sys_mount_overlay("m", "lowerdir=a:b,userxattr") == 0 || sys_mount_overlay("m", "lowerdir=a:b") == 0;
    snprintf(finding->detail, sizeof finding->detail, "%s: %s", finding->ok ? "read-only; a writable one on tmpfs" : "overlayfs", strerror(number));
    snprintf(finding->remedy, sizeof finding->remedy, "%s",
             finding->ok ? "none needed; Linux 6.6 makes it writable" : "none needed: --root closed is used; a newer kernel (5.11) has it");
}

static void probe_lazy(struct finding *finding)
{
    struct error error = {.code = EXIT_INTERNAL};
    finding->ok = lazy_is_possible(&error);
    snprintf(finding->detail, sizeof finding->detail, "%.1000s", finding->ok ? "an overlay over FUSE" : error.message);
    if (!finding->ok)
        snprintf(finding->remedy, sizeof finding->remedy, "none needed: closures are unpacked. For --unpack lazy, let users open /dev/fuse (chmod 666)");
}

static void probe_memory(struct finding *finding)
{
    char limit[4500];
    const uint64_t available = memory_available(limit, sizeof limit);
    finding->ok = available >= 256u << 20;
    snprintf(finding->detail, sizeof finding->detail, "%llu MB for unpacked closures (%.900s)", (unsigned long long)(available >> 20), limit);
    if (!finding->ok)
        snprintf(finding->remedy, sizeof finding->remedy, "ask for a job with more memory");
}

static void probe_proc(struct finding *finding)
{
    finding->ok = access("/proc/self/mountinfo", R_OK) == 0;
    snprintf(finding->detail, sizeof finding->detail, "/proc/self/mountinfo%s%s", finding->ok ? "" : ": ", finding->ok ? "" : strerror(errno));
    if (!finding->ok)
        snprintf(finding->remedy, sizeof finding->remedy, "mount -t proc proc /proc");
}

/* In a child, since namespaces cannot be left again; the finding comes back through a pipe. */
static void print_finding(const char *check, void (*probe)(struct finding *))
{
    struct finding finding = {0};
    int ends[2];
    if (pipe(ends) != 0)
        return;
    const pid_t pid = fork();
    if (pid == 0) {
        probe(&finding);
        _exit(write(ends[1], &finding, sizeof finding) != sizeof finding);
    }
    close(ends[1]);
    if (pid < 0 || read(ends[0], &finding, sizeof finding) != sizeof finding)
        snprintf(finding.detail, sizeof finding.detail, "the probe ended early");
    close(ends[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    printf("%s\t%s\t%s\t%s\n", check, finding.ok ? "ok" : "no", finding.detail, finding.remedy);
    fflush(stdout);
}

/* Each way up to the first that is usable. */
static void print_ways(void)
{
    const struct root_way *ways[ROOT_WAYS];
    struct refusal refusal;
    root_order(ways);
    for (size_t i = 0; way == NULL && i < ROOT_WAYS; i++) {
        const bool good = root_try(ways[i], &refusal);
        if (good)
            way = ways[i];
        printf("way %s\t%s\t%s\t%s\n", way_name(ways[i]->kind), good ? "ok" : "no", good ? ways[i]->how : refusal.why, good ? "" : refusal.remedy);
    }
    fflush(stdout);
}

int doctor(void)
{
    print_finding("/proc", probe_proc);
    print_ways();
    print_finding("private root", probe_tmpfs);
    print_finding("overlayfs (merged root)", probe_overlay);
    print_finding("FUSE (--unpack lazy)", probe_lazy);
    print_finding("memory", probe_memory);
    return 0;
}
