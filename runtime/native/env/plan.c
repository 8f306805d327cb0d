#include "env/plan.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/arena.h"
#include "lib/mounts.h"

static const char *const NAMES[] = {"dir", "link", "overlay", "own", "bind", "live", "tmp", "tmpfs", "proc", "mqueue", "hide"};

void plan_add(struct steps *plan, enum step_kind kind, const char *path, const char *argument)
{
    plan->items = reallocate(plan->items, plan->count + 1, sizeof *plan->items);
    plan->items[plan->count++] = (struct step){.kind = kind, .path = strdup(path), .argument = strdup(argument), .work = "", .lower = ""};
}

static bool read_line(struct steps *plan, char *line)
{
    char *field[5] = {line, "", "", "", ""};
    for (int i = 1; i < 5 && (line = strchr(line, '\t')) != NULL; i++) {
        *line++ = '\0';
        field[i] = line;
    }
    unsigned long long a, b, c, d;
    if (strcmp(field[0], "range") == 0) {
        if (sscanf(field[1], "%llu %llu %llu %llu", &a, &b, &c, &d) != 4)
            return false;
        plan->uids = (struct range){a, b};
        plan->gids = (struct range){c, d};
        return true;
    }
    for (unsigned kind = 0; kind < sizeof NAMES / sizeof NAMES[0]; kind++)
        if (strcmp(field[0], NAMES[kind]) == 0) {
            plan_add(plan, kind, field[1], field[2]);
            plan->items[plan->count - 1].work = strdup(field[3]);
            plan->items[plan->count - 1].lower = strdup(field[4]);
            return field[1][0] == '/';
        }
    return false;
}

bool plan_read(const char *file, struct steps *plan, struct error *error)
{
    *plan = (struct steps){0};
    FILE *stream = fopen(file, "re");
    if (stream == NULL)
        return fail(error, EXIT_INPUT, "remove it and create it again: sdee env remove NAME; sdee env create NAME", "the environment has no mount plan: %s",
                    strerror(errno));
    char *line = NULL;
    size_t room = 0, number = 0;
    bool good = true;
    ssize_t length;
    while (good && (length = getline(&line, &room, stream)) > 0) {
        number++;
        if (line[length - 1] == '\n')
            line[length - 1] = '\0';
        good = number == 1 ? strcmp(line, "sdee-env 1") == 0 : read_line(plan, line);
    }
    free(line);
    fclose(stream);
    return (good && number > 1) ||
           fail(error, EXIT_INPUT, "a newer sdee made it, or it is damaged: remove the environment and create it again",
                "line %zu of its mount plan is unknown to this sdee", number);
}

/* mkdir -p of the directories above the last component of `path`. */
static void make_parents(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
}

static bool make_target(char *target, mode_t kind)
{
    make_parents(target);
    if (S_ISDIR(kind))
        return mkdir(target, 0755) == 0 || errno == EEXIST;
    struct stat there;
    if (lstat(target, &there) == 0)
        return true;
    const int fd = open(target, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0)
        close(fd);
    return fd >= 0 || errno == EEXIST;
}

static bool overlay_options(char *text, size_t size, const struct step *step)
{
    struct arena arena = {NULL};
    const char *lower = overlay_escaped(&arena, step->lower[0] != '\0' ? step->lower : step->path);
    const int used = snprintf(text, size, "userxattr,lowerdir=%s,upperdir=%s,workdir=%s", lower, overlay_escaped(&arena, step->argument),
                              overlay_escaped(&arena, step->work));
    arena_free(&arena);
    mkdir(step->work, 0700);
    return used > 0 && (size_t)used < size; /* the kernel takes a page of options */
}

static bool mounted(struct error *error, const struct step *step, int result)
{
    return result == 0 || fail(error, EXIT_KERNEL, "the machine may have changed since `sdee env create`; `sdee doctor` says what is missing",
                               "cannot mount %s (%s): %s", step->path, NAMES[step->kind], strerror(errno));
}

static bool carry_out(struct step *step, struct error *error)
{
    char target[4096], source[4096];
    snprintf(target, sizeof target, "root%s", step->path);
    struct stat host;
    switch (step->kind) {
    case STEP_DIR:
        return make_target(target, S_IFDIR) || mounted(error, step, -1);
    case STEP_LINK:
        make_parents(target);
        return symlink(step->argument, target) == 0 || mounted(error, step, -1);
    case STEP_BIND:
    case STEP_LIVE:
        /* What has gone since, or may not be looked at, is left empty: so it looks to the user outside as well. */
        if (stat(step->path, &host) != 0)
            return step->kind == STEP_LIVE || make_target(target, S_IFDIR) || mounted(error, step, -1);
        return make_target(target, host.st_mode) ? mounted(error, step, sys_bind(step->path, target))
                                                 : mounted(error, step, -1);
    default:
        break;
    }
    if (!make_target(target, S_IFDIR))
        return mounted(error, step, -1);
    switch (step->kind) {
    case STEP_OVERLAY:
        if (!overlay_options(source, sizeof source, step))
            return fail(error, EXIT_KERNEL, NULL, "the name %s is too long for overlayfs", step->path);
        return mounted(error, step, mount("sdee", target, "overlay", MS_NODEV, source));
    case STEP_OWN:
        return mounted(error, step, mount(step->argument, target, NULL, MS_BIND, NULL));
    case STEP_TMP:
        return mounted(error, step, mount("tmp", target, NULL, MS_BIND, NULL));
    case STEP_TMPFS:
        return mounted(error, step, sys_mount_tmpfs(target, step->argument));
    case STEP_HIDE:
        return mounted(error, step, mount("sdee", target, "tmpfs", MS_NOSUID | MS_NODEV | MS_RDONLY, "mode=0700,size=4k"));
    case STEP_MQUEUE: /* only /dev/mqueue of the own IPC namespace; programs live without */
        mount("sdee", target, "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
        return true;
    case STEP_PROC: /* where a container hides parts of /proc the kernel refuses a new one: the outer one serves */
        if (mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0)
            return true;
        return mounted(error, step, sys_bind("/proc", target));
    default:
        return true;
    }
}

bool plan_carry_out(struct steps *plan, struct error *error)
{
    if (sys_make_slave() != 0)
        return fail(error, EXIT_KERNEL, NULL, "cannot make mounts private: %s", strerror(errno));
    if (mount("sdee", "root", "tmpfs", MS_NODEV, "mode=0755") != 0)
        return fail(error, EXIT_KERNEL, NULL, "cannot mount a tmpfs for the root: %s", strerror(errno));
    mount(NULL, "root", NULL, MS_UNBINDABLE, NULL); /* it may lie below what is bound into it: the user's home */
    for (unsigned i = 0; i < plan->count; i++)
        if (!carry_out(&plan->items[i], error))
            return false;
    if (sys_enter_root("root") != 0)
        return fail(error, EXIT_KERNEL, "in a chroot the kernel refuses it", "cannot enter the root: pivot_root: %s", strerror(errno));
    mount(NULL, "/", NULL, MS_PRIVATE, NULL);
    return true;
}
