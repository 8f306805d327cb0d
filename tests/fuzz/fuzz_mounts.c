/* What stands in the node's directories and in /proc/PID/mountinfo of its processes: is it a mount point of sdee's, is it mounted?
 * Input: u8 what stands there; name of a file beside the mark; text of the mark; text of mountinfo. Separated by NULs. */
#include <sys/stat.h>

#include "fuzz.h"
#include "launcher/node/mark.h"
#include "lib/mountinfo.h"

static void make_file(int at, const char *name, const char *text, size_t size)
{
    const int fd = openat(at, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, text, size) != (ssize_t)size)
        abort();
    close(fd);
}

/* A directory with the mark, and perhaps something else in it, or a file. */
static void stands(int root, unsigned what, const char *name, const char *mark)
{
    char path[128];
    snprintf(path, sizeof path, "%s/point", fuzz_directory());
    if ((what & 1) != 0) {
        make_file(root, "point", mark, strlen(mark));
        (void)point_at(path);
        unlinkat(root, "point", 0);
        return;
    }
    mkdirat(root, "point", 0700);
    const int inside = openat(root, "point", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    make_file(inside, ".sdee-mount-point", mark, strlen(mark));
    const bool more = name[0] != '\0' && strlen(name) < 256 && strchr(name, '/') == NULL && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
                      strcmp(name, ".sdee-mount-point") != 0;
    if (more)
        make_file(inside, name, "", 0);
    const enum point_kind kind = point_at(path);
    MUST(!more || kind == POINT_NONE);
    if (more)
        unlinkat(inside, name, 0);
    unlinkat(inside, ".sdee-mount-point", 0);
    close(inside);
    unlinkat(root, "point", AT_REMOVEDIR);
}

static void is_mounted(int root, const char *text, size_t size)
{
    static const char *const paths[] = {"/a", "/a b", "/home/u/x\\y", "/tmp/.sdee\n"};
    static bool made;
    bool mounted[4] = {false};
    if (!made) {
        mkdirat(root, "proc", 0700), mkdirat(root, "proc/self", 0700), mkdirat(root, "proc/self/ns", 0700);
        mkdirat(root, "proc/7", 0700), mkdirat(root, "proc/7/ns", 0700);
        if (symlinkat("mnt:[1]", root, "proc/self/ns/mnt") != 0 || symlinkat("mnt:[2]", root, "proc/7/ns/mnt") != 0)
            abort();
        made = true;
    }
    make_file(root, "proc/7/mountinfo", text, size);
    mounted_find(fuzz_directory(), paths, mounted, 4);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    const unsigned what = take(&input);
    char *name = take_text(&input), *mark = take_text(&input);
    const int before = fuzz_descriptors(), root = open(fuzz_directory(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    stands(root, what, name, mark);
    is_mounted(root, (const char *)input.at, input.left);
    close(root);
    MUST(fuzz_descriptors() == before);
    free(name);
    free(mark);
    return 0;
}
