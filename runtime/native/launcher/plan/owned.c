/* Files whose owner a program checks. In a user namespace that maps this user alone, root's files look like nobody's (uid 65534,
 * user_namespaces(7)), and ssh refuses a file of an Include line that is neither root's nor its user's: "Bad owner or permissions"
 * (ssh_config(5); readconf.c, SSHCONF_CHECKPERM). In the closed root all copies are this user's; in the merged one copies are bound over
 * those files of root's, with the closure's ssh as with the node's.
 *
 * Rejected: copies of all of /etc (2,000 files at each start); a layer of an overlay, which a kernel may refuse; newuidmap: root itself is
 * in nobody's /etc/subuid. */
#include "launcher/plan/owned.h"

#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/layout.h"
#include "launcher/plan/plan.h"
#include "lib/paths.h"

enum { MOST = 256 /* files */, DEPTH = 16 /* of Include, as in readconf.c */, LARGEST = 1 << 20 };

struct file {
    const char *path, *text, *directory; /* the last: of relative names in it */
    int depth;                           /* 0: ssh does not ask for its owner, or it is the user's */
};

/* Configuration files to read for Include lines, each of which adds more. */
struct includes {
    struct planner *planner;
    struct file files[MOST];
    size_t count;
};

static const char *read_text(struct planner *planner, const char *path, const struct stat *status)
{
    const int fd = status->st_size <= LARGEST ? open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY) : -1;
    char *text = allocate((size_t)status->st_size + 1, 1);
    const ssize_t size = fd >= 0 ? read(fd, text, (size_t)status->st_size) : -1;
    if (fd >= 0)
        close(fd);
    const char *copy = size >= 0 ? arena_format(planner->plan->arena, "%.*s", (int)size, text) : NULL;
    free(text);
    return copy;
}

/* Does the new root show the node's file there? Then a copy covers it; a link is followed first, since the program asks what it has opened. */
static void cover(struct planner *planner, const char *path)
{
    const struct bundle *bundle = planner->bundle;
    const char *target = path_is_normal(path) ? plan_resolve(planner, path) : NULL;
    char *real = target != NULL ? realpath(target, NULL) : NULL;
    struct stat status;
    if (real != NULL && stat(real, &status) == 0 && S_ISREG(status.st_mode) && status.st_uid == 0 && plan_is_system(planner, real)) {
        const uint32_t entry = bundle_find(bundle, real);
        target = plan_resolve(planner, real);
        if (target != NULL && strcmp(target, real) == 0 && (entry == NO_ENTRY || (S_ISREG(bundle->entries[entry].mode) && !planner->plan->wanted[entry]))) {
            struct op *op = plan_add(planner, OP_OWN, target, "the node's file as this user's: a program asks whose it is");
            op->source = arena_format(planner->plan->arena, OLDROOT "%s", target);
            op->data = arena_format(planner->plan->arena, "/owned-%zu", planner->plan->count);
            op->mode = status.st_mode & 0777;
            op->optional = true;
        }
    }
    free(real);
}

/* A file that ssh would read: see to its owner, and remember it for its own Include lines. */
static void visit(struct includes *includes, const char *path, const char *directory, int depth)
{
    struct planner *planner = includes->planner;
    struct stat status;
    for (size_t i = 0; i < includes->count; i++)
        if (strcmp(includes->files[i].path, path) == 0)
            return;
    if (includes->count == MOST || depth > DEPTH || stat(path, &status) != 0 || !S_ISREG(status.st_mode))
        return;
    const char *text = read_text(planner, path, &status);
    if (text == NULL)
        return;
    if (depth > 0)
        cover(planner, path);
    includes->files[includes->count++] = (struct file){arena_format(planner->plan->arena, "%s", path), text, directory, depth};
}

static void visit_pattern(struct includes *includes, const char *pattern, const char *directory, int depth)
{
    glob_t found;
    if (glob(pattern, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++)
            visit(includes, found.gl_pathv[i], directory, depth);
        globfree(&found);
    }
}

/* One line of ssh_config(5): `Include PATTERN ...`, with "=" and quotes allowed. */
static void read_line(struct includes *includes, const char *line, size_t length, const struct file *file)
{
    char text[4096], pattern[PATH_MAX + sizeof text];
    if (length >= sizeof text)
        return;
    snprintf(text, sizeof text, "%.*s", (int)length, line);
    char *rest = text + strspn(text, " \t\r\f");
    if (strncasecmp(rest, "include", 7) != 0 || strcspn(rest, " \t=\"") != 7)
        return;
    for (rest += 7; *(rest += strspn(rest, " \t\r=\"")) != '\0' && *rest != '#';) {
        const int size = (int)strcspn(rest, " \t\r\"");
        snprintf(pattern, sizeof pattern, "%s%s%.*s", rest[0] == '/' ? "" : file->directory, rest[0] == '/' ? "" : "/", size, rest);
        if (rest[0] != '~') /* the user's home, the user's files */
            visit_pattern(includes, pattern, file->directory, file->depth + 1);
        rest += size;
    }
}

void plan_own_files(struct planner *planner)
{
    const char *home = getenv("HOME");
    struct includes *includes = allocate(1, sizeof *includes);
    includes->planner = planner;
    if (geteuid() != 0) {
        visit(includes, "/etc/ssh/ssh_config", "/etc/ssh", 0);
        visit_pattern(includes, "/etc/ssh/ssh_config.d/*.conf", "/etc/ssh", 1); /* also of an ssh_config in the closure */
        if (home != NULL && home[0] == '/')
            visit(includes, arena_format(planner->plan->arena, "%s/.ssh/config", home), arena_format(planner->plan->arena, "%s/.ssh", home), 0);
    }
    for (size_t i = 0; i < includes->count; i++) /* grows meanwhile */
        for (const char *line = includes->files[i].text; *line != '\0'; line += line[0] == '\n') {
            const size_t length = strcspn(line, "\n");
            read_line(includes, line, length, &includes->files[i]);
            line += length;
        }
    free(includes);
}
