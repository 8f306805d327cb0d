/* The launcher: it runs a bundle on a compute node. See docs/bundle-format.md, and run() for the order of steps. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "launcher/bundle/bundle.h"
#include "launcher/bundle/conf.h"
#include "launcher/doctor.h"
#include "launcher/help.h"
#include "launcher/layout.h"
#include "launcher/lazy/lazy.h"
#include "launcher/node/expect.h"
#include "launcher/node/node.h"
#include "launcher/options.h"
#include "launcher/plan/make.h"
#include "launcher/plan/plan.h"
#include "launcher/root/carry.h"
#include "launcher/root/deploy.h"
#include "launcher/root/points.h"
#include "launcher/root/unpacking.h"
#include "launcher/run/changed.h"
#include "launcher/run/diagnose.h"
#include "launcher/run/handover.h"
#include "launcher/run/inside.h"
#include "launcher/run/job.h"
#include "launcher/run/join.h"
#include "launcher/run/supervise.h"
#include "launcher/run/variables.h"
#include "launcher/run/words.h"
#include "launcher/run/workdir.h"
#include "lib/end.h"
#include "lib/paths.h"
#include "lib/trusted.h"

static void on_bus_error(int number)
{
    static const char text[] = "sdee: error: the bundle changed, or its storage failed, while it was read\n  hint: run it again\n";
    (void)number;
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(EXIT_BUNDLE);
}

static void warn(const struct bundle *bundle, const struct options *options)
{
    char names[1500] = "";
    size_t missing = 0;
    const char *reason = conf_get(bundle, "incomplete");
    if (reason != NULL)
        note("warning: the trace was incomplete, something may be missing: %s", reason);
    if (options->argument_count > 0 || options->shell || options->command != NULL)
        return; /* another command line may need other inputs */
    for (const char *cursor = NULL, *path; (path = conf_next(bundle, "shared", &cursor)) != NULL;) {
        struct stat status;
        if (lstat(path, &status) == 0 || missing++ >= 5)
            continue;
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "", path);
    }
    if (missing > 0)
        note("warning: %zu input%s of the recorded command %s not on this node: %s%s; `sdee bundle --with-data` packs %s", missing,
             missing > 1 ? "s" : "", missing > 1 ? "are" : "is", names, missing > 5 ? ", ..." : "", missing > 1 ? "them" : "it");
}

static bool choose_root(struct plan *plan, const struct options *options, const struct bundle *bundle, const struct node *node,
                        const struct host_libraries *libraries, struct error *error)
{
    enum root_kind root = options->root;
    const bool overlays = plan->apart != NULL;
    if (root == ROOT_MERGED && !overlays)
        return fail(error, EXIT_KERNEL, "use --root closed (SDEE_ROOT=closed), or another --way (SDEE_WAY)",
                    "bwrap can make no merged root, which needs overlayfs");
    snprintf(plan->root_why, sizeof plan->root_why, root == ROOT_AUTO ? "bwrap mounts no overlayfs" : "as asked for");
    if (root == ROOT_AUTO)
        root = overlays && node_same_system(node, bundle, plan->root_why, sizeof plan->root_why) ? ROOT_MERGED : ROOT_CLOSED;
    return plan_make(plan, root, bundle, node, libraries, error);
}

/* Does the node have what the bundle expects? With --force, what it lacks is only a warning. */
static bool check_node(const struct bundle *bundle, const struct options *options, const struct host_libraries *libraries, struct error *error)
{
    if (!expect_check(bundle, libraries, error)) {
        if (!options->force)
            return false;
        note("warning: %s", error->message);
        *error = (struct error){.code = EXIT_INTERNAL};
    }
    if (options->mpi_host && !host_libraries_check_mpi(libraries, error))
        return false;
    const char *missing = host_libraries_missing(libraries);
    if (missing[0] != '\0' && !options->quiet && !options->force)
        note("warning: the traced run loaded libraries of a driver that is not on this node: %s", missing);
    return true;
}

/* Plan, and make the mount points in the node's directories. Only trying shows that one cannot be made. Then its directory needs another way,
 * and all is planned again. */
static bool plan_and_hold(struct plan *plan, struct plan *closed, const struct bundle *bundle, const struct options *options, const struct node *node,
                          const struct host_libraries *libraries, struct points *points, struct error *error)
{
    for (;;) {
        plan->unfit = closed->unfit = points->unfit;
        plan->unfit_count = closed->unfit_count = points->unfit_count;
        if (!choose_root(plan, options, bundle, node, libraries, error))
            return false;
        const bool either = plan->root == ROOT_MERGED && options->root == ROOT_AUTO;
        if (either && !plan_make(closed, ROOT_CLOSED, bundle, node, libraries, error))
            return false;
        if (options->dry_run || (points_hold(points, plan) && (!either || points_hold(points, closed))))
            return true;
    }
}

/* Decide what to do, and print it on request. `closed` is the plan to fall back to. */
static bool plan_all(struct plan *plan, struct plan *closed, const struct bundle *bundle, const struct options *options, struct points *points,
                     const struct root *root, struct error *error)
{
    struct node node;
    struct host_libraries libraries;
    host_libraries_find(&libraries, bundle, options->mpi_host, plan->arena);
    const bool good = node_read(&node, plan->arena, error) && check_node(bundle, options, &libraries, error) &&
                      plan_and_hold(plan, closed, bundle, options, &node, &libraries, points, error) &&
                      unpacking_choose(plan, closed, root, bundle, options, error);
    if (good && options->dry_run)
        dup2(STDOUT_FILENO, STDERR_FILENO); /* --dry-run: the plan is the output */
    if (good && (options->debug || options->dry_run)) {
        root_print(root, options);
        host_libraries_print(&libraries);
        plan_print(plan);
        words_print(bundle, options);
    }
    host_libraries_free(&libraries);
    return good;
}

/* Files on the node that are newer than this were written while the job ran. Their times come from the coarse clock, which ticks every 1 to
 * 10 ms. Since Linux 6.13, a file that somebody looked at before has times of the fine clock. So the fine clock gives the time here, and the job
 * begins at the next tick of the coarse clock where that matters. Then times from before and after differ. */
static void set_begin(struct plan *plan)
{
    const struct timespec pause = {0, 300000};
    struct timespec now;
    bool matters = plan->synthetic_count > 0;
    for (size_t i = 0; i < plan->count; i++)
        matters = matters || plan->ops[i].back != NULL || plan->ops[i].kind == OP_POINT;
    clock_gettime(CLOCK_REALTIME, &plan->begun);
    clock_gettime(CLOCK_BOOTTIME, &plan->steady);
    do
        clock_gettime(CLOCK_REALTIME_COARSE, &now);
    while (matters && (now.tv_sec < plan->begun.tv_sec || (now.tv_sec == plan->begun.tv_sec && now.tv_nsec <= plan->begun.tv_nsec)) &&
           nanosleep(&pause, NULL) == 0);
}

/* To the user, before anything is done. */
static void say_warnings(const struct plan *plan, const struct bundle *bundle, const struct options *options, const struct workdir *workdir)
{
    static bool said; /* with another way all is planned again */
    if (said || options->quiet)
        return;
    said = true;
    warn(bundle, options);
    workdir_say(workdir, options, plan->arena);
    changed_say(workdir, bundle, options);
    for (size_t i = 0; i < plan->held_count; i++)
        note("warning: what the job writes directly in %s stays in memory until it ends, and SIGKILL loses it: %s", plan->held[i].path, plan->held[i].why);
}

/* Plan and build the root. */
static bool prepare(struct plan *plan, const struct bundle *bundle, const struct options *options, const struct workdir *workdir, struct points *points,
                    struct root *root, struct error *error)
{
    if (root->way->apart == NULL)
        plan->deployed = NULL; /* it is the layer of an overlay */
    if (plan->deployed != NULL && !deploy_is_whole(bundle, plan->deployed_fd))
        plan->deployed = NULL;
    plan->apart = root->way->apart;
    plan->maker = root;
    struct plan closed = {.arena = plan->arena, .apart = plan->apart, .maker = root, .deployed = plan->deployed, .deployed_fd = plan->deployed_fd};
    if (!plan_all(plan, &closed, bundle, options, points, root, error))
        return false;
    if (options->dry_run)
        return true;
    if (!unpacking_has_memory(plan, bundle, error))
        return false; /* before anything is done */
    say_warnings(plan, bundle, options, workdir);
    return root->way->make(root, plan, &closed, bundle, options, error);
}

/* By the next way where one turns out to be refused. */
static bool prepare_somehow(struct plan *plan, const struct bundle *bundle, const struct options *options, const struct workdir *workdir,
                            struct points *points, struct root *root, struct error *error)
{
    bool good = prepare(plan, bundle, options, workdir, points, root, error);
    while (!good && root_next(root, options, error))
        good = prepare(plan, bundle, options, workdir, points, root, error);
    return good;
}

/* From fork to the job's end. */
static bool launch(struct job *job, struct join *join, int *status, struct error *error)
{
    const pid_t launcher = getpid();
    supervise_prepare();
    points_unguard(); /* signals are blocked, and the job must not have the handlers */
    job->diagnosis = job->options->diagnose ? diagnose_begin() : NULL;
    const bool inside = job->root->helper > 0;
    const pid_t pid = inside ? inside_start(job, error) : fork();
    if (pid < 0)
        return !inside && fail(error, EXIT_RESOURCES, "raise `ulimit -u`", "cannot make a process for the job: %s", strerror(errno));
    if (pid == 0)
        job_become(job, launcher);
    /* threads after the fork: in its child there would be no others */
    join_serve(join);
    if (job->diagnosis != NULL)
        diagnose_watch(job->diagnosis, root_seen(job->root));
    *status = supervise(pid);
    if (job->diagnosis != NULL)
        diagnose_report(job->diagnosis, job->bundle, *status);
    if (WIFSIGNALED(*status) && WTERMSIG(*status) == SIGILL)
        expect_explain_illegal(job->bundle);
    return true;
}

/* Return an option of sdee that stands after the bundle, so that the job got it; NULL for none. */
static const char *misplaced(const struct options *options)
{
    const char *word = options->argument_count > 0 ? options->arguments[0] : "";
    for (unsigned i = 0; i < OPTIONS_LENGTH && options->bundle != NULL; i++)
        if (strncmp(word, "--", 2) == 0 && strcmp(word + 2, OPTIONS[i].name) == 0)
            return word;
    return NULL;
}

/* To a user at a terminal: in a batch job's output the line would be one more in each task of a job that expects to fail. */
static void advise(const struct options *options, const struct bundle *bundle, int status)
{
    const bool failed = WIFEXITED(status) && WEXITSTATUS(status) != 0 && WEXITSTATUS(status) <= 128;
    if (!failed || options->diagnose || options->quiet || options->shell || !isatty(STDERR_FILENO))
        return;
    if (misplaced(options) != NULL)
        note("the job got %s; options of sdee stand before the bundle: sdee exec %s %s", misplaced(options), misplaced(options), bundle->name);
    note("the job ended with status %d; if it lacked a file, this names it: %s %s", WEXITSTATUS(status),
         options->bundle != NULL ? "sdee exec --diagnose" : "SDEE_DIAGNOSE=1", bundle->name);
}

/* The job was not given a part of its closure: whatever it made of that, its result is not what it would have been. */
static void explain_unread(const struct root *root, int *status)
{
    struct error error = {.code = EXIT_INTERNAL};
    const bool may_be_lazy = root->way->kind == WAY_NAMESPACES || root->way->kind == WAY_PRIVILEGED;
    if (!may_be_lazy || lazy_explain(LAZY_TOLD, &error) || (error.code != EXIT_BUNDLE && *status == 0))
        return;
    error_print(&error);
    *status = (int)error.code << 8;
}

/* The way to a root, or an installed launcher that has one where this program has none of its own. */
static bool choose_way(struct root *root, const struct options *options, const struct inherited *inherited, char **argv, struct error *error)
{
    const bool chosen = root_choose(root, options, error);
    if (options->way == WAY_AUTO && !(chosen && root->way->kind == WAY_PRIVILEGED))
        handover(root, options, inherited, argv, error);
    return chosen;
}

static bool run_with(struct bundle *bundle, struct options *options, struct inherited *inherited, struct arena *arena, struct points *points,
                     char **argv, int *status, struct error *error)
{
    struct plan plan = {.arena = arena};
    struct root root = {.way = NULL};
    struct job job = {.bundle = bundle, .options = options, .root = &root, .inherited = *inherited};
    struct join join = {.role = ROLE_ALONE, .listener = -1, .members = -1, .ending = -1};
    struct workdir workdir;
    int save = -1;
    if (!node_check_machine(conf_get(bundle, "machine"), error) ||
        (options->save != NULL && !options->dry_run && !keep_open(options->save, inherited->umask, &save, error)))
        return false;
    if (options->deploy || options->undeploy)
        return bundle_read_entries(bundle, error) && (options->deploy ? deploy(bundle, options, error) : undeploy(bundle, options, error));
    if (!workdir_find(&workdir, bundle, options, arena, error))
        return false;
    job.environment = variables_make(bundle, options, arena);
    if (!workdir.added) /* the closure that is deployed lacks it */
        plan.deployed = deploy_find(bundle, options, arena, &plan.deployed_fd); /* kept to this process' end: the lock */
    const bool allowed = choose_way(&root, options, inherited, argv, error);
    if (!allowed && !options->dry_run)
        return false;
    if (!options->dry_run && !(root.way->share != NULL ? join_begin(&join, &root, bundle, options, points, arena, error) : join_cannot(options, error)))
        return false;
    if (join.role != ROLE_JOINED && (!bundle_read_entries(bundle, error) || !prepare_somehow(&plan, bundle, options, &workdir, points, &root, error)))
        return false;
    if (options->dry_run)
        return allowed;
    if (join.role != ROLE_JOINED)
        set_begin(&plan);
    if (join.role == ROLE_LEADS)
        join_found(&join, &plan);
    if (!launch(&job, &join, status, error))
        return false;
    error->tried[0] = '\0'; /* of steps that succeeded another way */
    explain_unread(&root, status);
    advise(options, bundle, *status);
    struct keeping keeping = {.save = save, .umask = inherited->umask, .shared = join.role != ROLE_ALONE};
    if (join_leave(&join, &plan, &keeping.last) && !(bundle_read_entries(bundle, error) && root.way->collect(&plan, bundle, options, &keeping, error))) {
        error_print(error);
        if (*status == 0)
            *status = EXIT_OUTPUT << 8;
    }
    points_release(points, keeping.last);
    if (keeping.last)
        carry_end(&plan);
    join_left(&join);
    lazy_free(plan.lazy);
    return true;
}

static bool run(struct bundle *bundle, struct options *options, struct inherited *inherited, char **argv, int *status, struct error *error)
{
    struct arena arena = {NULL};
    struct points points = {.root = -1};
    points_guard(&points);
    const bool good = run_with(bundle, options, inherited, &arena, &points, argv, status, error);
    points_unguard();
    points_release(&points, !points.joined); /* of a run that failed; who leads has let nobody in yet */
    arena_free(&arena);
    return good;
}

/* Is this the installed launcher, and not a bundle that lost its end? */
static bool is_installed_launcher(const char *name, const char *path)
{
    const char *base = strrchr(path, '/');
    return strcmp(name, "sdee exec") == 0 || strncmp(base != NULL ? base + 1 : path, "sdee-launcher", 13) == 0;
}

static const char *kind_of(mode_t mode)
{
    return S_ISDIR(mode) ? "directory" : S_ISFIFO(mode) ? "FIFO" : S_ISSOCK(mode) ? "socket" : "device";
}

/* Executed, or handed over, by a descriptor. */
static void not_the_jobs(const char *name)
{
    if (strncmp(name, "/proc/self/fd/", 14) == 0)
        fcntl(atoi(name + 14), F_SETFD, FD_CLOEXEC);
}

static bool open_bundle(struct bundle *bundle, struct options *options, char **argv, int *done, struct error *error)
{
    static char self[PATH_MAX];
    const char *name = argv[0] != NULL ? argv[0] : "";
    const ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    int fd = length > 0 ? open("/proc/self/exe", O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return fail_proc(error, "/proc/self/exe");
    self[length] = '\0';
    not_the_jobs(name);
    if (bundle_has_footer(fd)) {
        if (argv[0] != NULL && argv[1] != NULL && argv[2] == NULL && strcmp(argv[1], "--sdee-help") == 0) {
            help_print(name);
            *done = 0;
            return true;
        }
        return options_read(options, argv, false, error) && bundle_open(bundle, self, fd, false, error);
    }
    close(fd);
    if (!is_installed_launcher(name, self))
        return fail(error, EXIT_BUNDLE, "copy or make the bundle again; `sdee check` shows whether it is complete",
                    "%s is truncated: it begins as a bundle, and its end is missing", self);
    if (argv[1] != NULL && strcmp(argv[1], "--sdee-format") == 0) {
        *done = printf("%u\n", FORMAT_VERSION) > 0 && fflush(stdout) == 0 ? 0 : EXIT_OUTPUT;
        return true;
    }
    if (argv[1] != NULL && strcmp(argv[1], "--sdee-doctor") == 0) {
        *done = doctor();
        return true;
    }
    if (!options_read(options, argv, true, error))
        return false;
    if (options->help) {
        help_print(NULL);
        *done = 0;
        return true;
    }
    struct stat status;
    if (stat(options->bundle, &status) == 0 && !S_ISREG(status.st_mode)) /* a FIFO would wait for a writer, and a device may act on it */
        return fail(error, EXIT_BUNDLE, NULL, "%s is not a bundle: it is a %s, not a regular file", options->bundle, kind_of(status.st_mode));
    fd = open(options->bundle, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    not_the_jobs(options->bundle);
    if (fd < 0)
        return fail(error, EXIT_BUNDLE, errno == ENOENT ? "`sdee bundle` makes bundle.sdee" : NULL, "cannot open %s: %s", options->bundle,
                    strerror(errno));
    return bundle_open(bundle, options->bundle, fd, true, error);
}

int main(int argc, char **argv)
{
    struct inherited inherited;
    struct options options = {0};
    struct bundle bundle = {0};
    struct error error = {.code = EXIT_INTERNAL};
    int done = -1, status = 0;
    (void)argc;
    if (!trusted_self(&error)) {
        error_print(&error);
        return error.code;
    }
    inside_run();
    inherited_save(&inherited);
    const struct sigaction bus = {.sa_handler = on_bus_error}, normal = {.sa_handler = SIG_DFL};
    sigaction(SIGBUS, &bus, NULL);
    if (!open_bundle(&bundle, &options, argv, &done, &error)) {
        error_print(&error);
        return error.code;
    }
    if (done >= 0)
        return done;
    if (!run(&bundle, &options, &inherited, argv, &status, &error)) {
        error_print(&error);
        return error.code;
    }
    sigaction(SIGBUS, &normal, NULL);
    bundle_close(&bundle);
    free(options.env);
    end_as(status);
}
