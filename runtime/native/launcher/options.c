#include "launcher/options.h"

#include <ctype.h>
#include <getopt.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"

const char *root_name(enum root_kind root)
{
    static const char *const names[] = {"auto", "merged", "closed"};
    return names[root];
}

static bool set_root(struct options *options, const char *source, const char *value, struct error *error)
{
    for (enum root_kind kind = ROOT_AUTO; kind <= ROOT_CLOSED; kind++)
        if (strcmp(value, root_name(kind)) == 0) {
            options->root = kind;
            return true;
        }
    return fail(error, EXIT_USAGE, "it is one of auto, merged, closed", "%s cannot be '%s'", source, value);
}

static bool set_unpack(struct options *options, const char *source, const char *value, struct error *error)
{
    static const char *const names[] = {"auto", "lazy", "eager"};
    for (enum unpacking kind = UNPACK_AUTO; kind <= UNPACK_EAGER; kind++)
        if (strcmp(value, names[kind]) == 0) {
            options->unpack = kind;
            return true;
        }
    return fail(error, EXIT_USAGE, "it is one of auto, lazy, eager", "%s cannot be '%s'", source, value);
}

const char *way_name(enum way_kind way)
{
    static const char *const names[] = {"auto", "namespaces", "privileged", "join", "helper"};
    return names[way];
}

static bool set_way(struct options *options, const char *source, const char *value, struct error *error)
{
    for (enum way_kind kind = WAY_AUTO; kind < WAY_KINDS; kind++)
        if (strcmp(value, way_name(kind)) == 0) {
            options->way = kind;
            return true;
        }
    return fail(error, EXIT_USAGE, "it is one of auto, namespaces, privileged, join, helper", "%s cannot be '%s'", source, value);
}

/* At once: mistakes in the other options are errors, too. */
static bool set_error_fd(struct options *options, const char *source, const char *value, struct error *error)
{
    (void)options;
    char *rest;
    const unsigned long fd = strtoul(value, &rest, 10);
    if (value[0] < '0' || value[0] > '9' || *rest != '\0' || fd > INT_MAX || !error_print_to((int)fd))
        return fail(error, EXIT_USAGE, "it is the number of an open descriptor, from 3 on", "%s cannot be '%s'", source, value);
    return true;
}

static bool set_threads(struct options *options, const char *source, const char *value, struct error *error)
{
    char *rest;
    const unsigned long count = strtoul(value, &rest, 10);
    if (value[0] < '0' || value[0] > '9' || *rest != '\0' || count > 1024)
        return fail(error, EXIT_USAGE, "it is a number; 0 means one for each CPU", "%s cannot be '%s'", source, value);
    options->threads = (unsigned)count;
    return true;
}

static bool set_mpi(struct options *options, const char *source, const char *value, struct error *error)
{
    options->mpi_host = strcmp(value, "host") == 0;
    return options->mpi_host || strcmp(value, "bundle") == 0 || fail(error, EXIT_USAGE, "it is one of bundle, host", "%s cannot be '%s'", source, value);
}

static bool add_env(struct options *options, const char *source, const char *value, struct error *error)
{
    (void)source;
    if (value[0] == '=' || value[0] == '\0')
        return fail(error, EXIT_USAGE, "write NAME, or NAME=VALUE", "'%s' is not a variable", value);
    options->env = reallocate(options->env, (unsigned long)options->env_count + 1, sizeof *options->env);
    options->env[options->env_count++] = value;
    return true;
}

static bool add_all_env(struct options *options, const char *source, const char *value, struct error *error)
{
    char *list = strdup(value), *rest = list;
    for (char *name; list != NULL && (name = strsep(&rest, ",")) != NULL;)
        if (name[0] != '\0' && !add_env(options, source, name, error))
            return false;
    return true;
}

#define AT(field) .at = offsetof(struct options, field)
const struct option_row OPTIONS[] = {
    {"root", "auto|merged|closed", .set = set_root,
     .help = "make this root. merged: the closure over this node's own system, by overlayfs. closed: the closure alone,\n"
             "with this node's /proc, /sys, /dev, /tmp, /home and other directories outside the system. auto: merged\n"
             "on the system that the bundle was made on, else closed [auto]"},
    {"way", "auto|namespaces|privileged|join|helper", .set = set_way,
     .help = "make the root this way. namespaces: a user and a mount namespace. privileged: a mount namespace, as root.\n"
             "join: the user namespace of another process of yours. helper: by bwrap. auto: the first that this node\n"
             "allows [auto]"},
    {"command", "PROG", AT(command), .help = "run PROG from the job's PATH; ARGS are all its arguments"},
    {"shell", NULL, AT(shell), .help = "run a shell instead"},
    {"chdir", "DIR", AT(chdir), .help = "run in DIR, with the bundle's files of the recorded directory [the recorded one]"},
    {"pass-env", "NAME[=VALUE]", .set = add_env, .list = "NAME,NAME", .set_list = add_all_env,
     .help = "give the job a variable; without VALUE, the one set here. Repeatable"},
    {"env", "NAME[=VALUE]", .set = add_env, .list = "NAME,NAME", .set_list = add_all_env}, /* its name before 0.2.0 */
    {"save", "DIR", AT(save), .help = "keep in DIR what the job writes outside live directories"},
    {"join", "auto|never|NAME", AT(join),
     .help = "share namespaces and the unpacked closure. auto: among the ranks of one step on this node (by variables\n"
             "of Slurm, Open MPI, MPICH and others); NAME: among all runs on this node with this name [auto]"},
    {"mpi", "bundle|host", .set = set_mpi,
     .help = "use these MPI libraries. host: this node's, if their sonames and symbols agree [bundle]"},
    {"deploy", NULL, AT(deploy), .help = "only unpack the closure on this node for later runs; print where"},
    {"undeploy", NULL, AT(undeploy), .help = "only remove the unpacked closure"},
    {"deploy-dir", "DIR", AT(deploy_directory), .help = "unpack into DIR [the first of /dev/shm, /tmp, /var/tmp with room]"},
    {"unpack", "auto|lazy|eager", .set = set_unpack,
     .help = "eager: the whole closure, into memory, before the job begins. lazy: each part when it is first read, by\n"
             "FUSE, from the bundle, which must stay as it is until the job ends. auto: eager [auto]"},
    {"threads", "N", .set = set_threads, .help = "unpack with N threads; 0: one for each available CPU [0]"},
    {"force", NULL, AT(force), .help = "run even if this node's CPU, kernel or drivers do not fit"},
    {"diagnose", NULL, AT(diagnose), .help = "trace lightly; name missing files if the job fails"},
    {"debug", NULL, AT(debug), .help = "print the mount plan and the job's command line, then run"},
    {"dry-run", NULL, AT(dry_run), .help = "only print the mount plan and the job's command line"},
    {"error-fd", "N", .set = set_error_fd,
     .help = "write sdee's own errors to descriptor N, not standard error"},
    {"quiet", NULL, AT(quiet), .help = "print no warnings"},
};
enum { OPTION_COUNT = sizeof OPTIONS / sizeof *OPTIONS };
const unsigned OPTIONS_LENGTH = OPTION_COUNT;

void option_variable(const struct option_row *row, char name[OPTION_NAME])
{
    snprintf(name, OPTION_NAME, "SDEE_%s", row->name);
    for (char *at = name; *at != '\0'; at++)
        *at = *at == '-' ? '_' : (char)toupper((unsigned char)*at);
}

bool options_is_own_variable(const char *pair)
{
    char name[OPTION_NAME];
    bool own = false;
    for (unsigned i = 0; !own && i < OPTION_COUNT; i++) {
        option_variable(&OPTIONS[i], name);
        const size_t length = strlen(name);
        own = strncmp(pair, name, length) == 0 && (pair[length] == '=' || pair[length] == '\0');
    }
    return own;
}

static bool set(struct options *options, const struct option_row *row, const char *source, const char *value, struct error *error)
{
    char *field = (char *)options + row->at;
    if (row->set != NULL)
        return row->set(options, source, value, error);
    if (row->value == NULL)
        *(bool *)field = true;
    else if (value[0] == '\0')
        return fail(error, EXIT_USAGE, NULL, "%s cannot be empty", source);
    else
        *(const char **)(void *)field = value;
    return true;
}

/* What is empty, and a flag of 0, is as if it were not set. */
static bool read_variables(struct options *options, struct error *error)
{
    char name[OPTION_NAME];
    bool good = true;
    for (unsigned i = 0; good && i < OPTION_COUNT; i++) {
        const struct option_row *row = &OPTIONS[i];
        option_variable(row, name);
        const char *value = getenv(name);
        if (value != NULL && value[0] != '\0' && (row->value != NULL || strcmp(value, "0") != 0))
            good = row->set_list != NULL ? row->set_list(options, name, value, error) : set(options, row, name, value, error);
    }
    return good;
}

/* Options end at the first other word: the bundle's name or, where -b names that, an argument. What follows belongs to the job, dashes and all. */
static bool read_arguments(struct options *options, char **argv, struct error *error)
{
    static const char hint[] = "`sdee exec --help` lists the options";
    struct option known[OPTION_COUNT + 3] = {[OPTION_COUNT] = {"help", no_argument, NULL, 'h'}, {"bundle", required_argument, NULL, 'b'}};
    char source[OPTION_NAME];
    const char *bundle = NULL;
    int count = 0, found;
    while (argv[count] != NULL)
        count++;
    for (int i = 0; i < OPTION_COUNT; i++)
        known[i] = (struct option){OPTIONS[i].name, OPTIONS[i].value != NULL ? required_argument : no_argument, NULL, 256 + i};
    opterr = 0;
    while ((found = getopt_long(count, argv, "+:hb:", known, NULL)) >= 0) {
        const struct option_row *row = found >= 256 ? &OPTIONS[found - 256] : NULL;
        if (found == ':')
            return fail(error, EXIT_USAGE, hint, "option %s needs a value", argv[optind - 1]);
        if (found == '?' && optopt > 0 && optopt < 256 && optopt != 'h') /* of one letter; h is known, so that it was --help=... */
            return fail(error, EXIT_USAGE, hint, "there is no option '-%c'", optopt);
        if (found == '?')
            return fail(error, EXIT_USAGE, hint, "there is no option '%s'", argv[optind - 1]);
        if (found == 'b')
            bundle = optarg;
        if (found == 'h')
            options->help = true;
        if (row == NULL)
            continue;
        snprintf(source, sizeof source, "--%s", row->name);
        if (!set(options, row, source, optarg, error))
            return false;
    }
    options->bundle = bundle != NULL ? bundle : argv[optind];
    if (options->bundle == NULL && !options->help)
        return fail(error, EXIT_USAGE, "sdee exec [OPTIONS] bundle.sdee [ARGS...]", "no bundle is given");
    options->arguments = argv + optind + (bundle == NULL && argv[optind] != NULL);
    return true;
}

bool options_read(struct options *options, char **argv, bool own_arguments, struct error *error)
{
    memset(options, 0, sizeof *options);
    if (!read_variables(options, error))
        return false;
    if (own_arguments && !read_arguments(options, argv, error))
        return false;
    if (!own_arguments)
        options->arguments = argv[0] != NULL ? argv + 1 : argv;
    while (options->arguments[options->argument_count] != NULL)
        options->argument_count++;
    const char *directory = options->deploy_directory;
    if (directory != NULL && (directory[0] != '/' || strpbrk(directory, ":,\\") != NULL || strlen(directory) > 3000)) /* it becomes an option of mount(2) */
        return fail(error, EXIT_USAGE, "it is an absolute path without ':', ',' and '\\'", "--deploy-dir cannot be '%.300s'", directory);
    if ((options->deploy || options->undeploy) && options->dry_run)
        return fail(error, EXIT_USAGE, "leave out --dry-run (SDEE_DRY_RUN)", "--deploy and --undeploy have no mount plan to show");
    if (options->deploy && options->undeploy)
        return fail(error, EXIT_USAGE, "choose one of them", "--deploy and --undeploy exclude each other");
    if (options->shell && options->command != NULL)
        return fail(error, EXIT_USAGE, "choose one of them", "--shell and --command exclude each other");
    return true;
}
