#include "launcher/options.h"

#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"

static const char *const VARIABLES[] = {"SDEE_ROOT", "SDEE_DEBUG", "SDEE_DRY_RUN", "SDEE_COMMAND", "SDEE_SHELL",
                                        "SDEE_CHDIR", "SDEE_ENV", "SDEE_SAVE", "SDEE_THREADS", "SDEE_QUIET", "SDEE_FORCE",
                                        "SDEE_DIAGNOSE", "SDEE_JOIN", "SDEE_DEPLOY", "SDEE_UNDEPLOY", "SDEE_DEPLOY_DIR", "SDEE_MPI"};

const char *root_name(enum root_kind root)
{
    static const char *const names[] = {"auto", "merged", "closed"};
    return names[root];
}

bool options_is_own_variable(const char *pair)
{
    for (size_t i = 0; i < sizeof VARIABLES / sizeof *VARIABLES; i++) {
        const size_t length = strlen(VARIABLES[i]);
        if (strncmp(pair, VARIABLES[i], length) == 0 && (pair[length] == '=' || pair[length] == '\0'))
            return true;
    }
    return false;
}

static bool read_root(struct options *options, const char *source, const char *value, struct error *error)
{
    for (enum root_kind kind = ROOT_AUTO; kind <= ROOT_CLOSED; kind++)
        if (strcmp(value, root_name(kind)) == 0) {
            options->root = kind;
            return true;
        }
    return fail(error, EXIT_USAGE, "it is one of auto, merged, closed", "%s cannot be '%s'", source, value);
}

static bool read_threads(struct options *options, const char *source, const char *value, struct error *error)
{
    char *rest;
    const unsigned long count = strtoul(value, &rest, 10);
    if (value[0] < '0' || value[0] > '9' || *rest != '\0' || count > 1024)
        return fail(error, EXIT_USAGE, "it is a number; 0 means one for each CPU", "%s cannot be '%s'", source, value);
    options->threads = (unsigned)count;
    return true;
}

static bool read_mpi(struct options *options, const char *source, const char *value, struct error *error)
{
    options->mpi_host = strcmp(value, "host") == 0;
    return options->mpi_host || strcmp(value, "bundle") == 0 || fail(error, EXIT_USAGE, "it is one of bundle, host", "%s cannot be '%s'", source, value);
}

static bool add_env(struct options *options, const char *text, struct error *error)
{
    if (text[0] == '=' || text[0] == '\0')
        return fail(error, EXIT_USAGE, "write NAME, or NAME=VALUE", "'%s' is no environment variable", text);
    options->env = reallocate(options->env, (unsigned long)options->env_count + 1, sizeof *options->env);
    options->env[options->env_count++] = text;
    return true;
}

static bool is_set(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' && strcmp(value, "0") != 0;
}

static const char *text_of(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static bool read_variables(struct options *options, struct error *error)
{
    options->debug = is_set("SDEE_DEBUG");
    options->dry_run = is_set("SDEE_DRY_RUN");
    options->shell = is_set("SDEE_SHELL");
    options->quiet = is_set("SDEE_QUIET");
    options->diagnose = is_set("SDEE_DIAGNOSE");
    options->deploy = is_set("SDEE_DEPLOY");
    options->undeploy = is_set("SDEE_UNDEPLOY");
    options->deploy_directory = text_of("SDEE_DEPLOY_DIR");
    options->force = is_set("SDEE_FORCE");
    options->command = text_of("SDEE_COMMAND");
    options->chdir = text_of("SDEE_CHDIR");
    options->save = text_of("SDEE_SAVE");
    options->join = text_of("SDEE_JOIN");
    const char *names = text_of("SDEE_ENV");
    if (names != NULL) {
        char *list = strdup(names), *rest = list;
        for (char *name; list != NULL && (name = strsep(&rest, ",")) != NULL;)
            if (name[0] != '\0' && !add_env(options, name, error))
                return false;
    }
    const char *root = text_of("SDEE_ROOT"), *threads = text_of("SDEE_THREADS"), *mpi = text_of("SDEE_MPI");
    return (mpi == NULL || read_mpi(options, "SDEE_MPI", mpi, error)) && (root == NULL || read_root(options, "SDEE_ROOT", root, error)) &&
           (threads == NULL || read_threads(options, "SDEE_THREADS", threads, error));
}

/* One option with a value. `name` is without the dashes. */
static bool set_value(struct options *options, const char *name, const char *value, struct error *error)
{
    if (strcmp(name, "root") == 0)
        return read_root(options, "--root", value, error);
    if (strcmp(name, "threads") == 0)
        return read_threads(options, "--threads", value, error);
    if (strcmp(name, "mpi") == 0)
        return read_mpi(options, "--mpi", value, error);
    if (strcmp(name, "env") == 0)
        return add_env(options, value, error);
    if (value[0] == '\0')
        return fail(error, EXIT_USAGE, NULL, "--%s cannot be empty", name);
    if (strcmp(name, "command") == 0)
        options->command = value;
    else if (strcmp(name, "chdir") == 0)
        options->chdir = value;
    else if (strcmp(name, "deploy-dir") == 0)
        options->deploy_directory = value;
    else if (strcmp(name, "join") == 0)
        options->join = value;
    else
        options->save = value;
    return true;
}

static bool set_flag(struct options *options, const char *name)
{
    const struct {
        const char *name;
        bool *flag;
    } flags[] = {{"debug", &options->debug}, {"dry-run", &options->dry_run}, {"shell", &options->shell},
                 {"quiet", &options->quiet}, {"force", &options->force},
                 {"diagnose", &options->diagnose},
                 {"deploy", &options->deploy}, {"undeploy", &options->undeploy}, {"help", &options->help}};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        if (strcmp(name, flags[i].name) == 0)
            return *flags[i].flag = true;
    return false;
}

/* Options end at the bundle's name: what follows belongs to the job, dashes and all. */
static bool read_arguments(struct options *options, char **argv, struct error *error)
{
    static const char *const valued[] = {"root", "command", "chdir", "env", "save", "threads", "join", "deploy-dir", "mpi"};
    static const char hint[] = "`sdee exec --help` lists the options";
    int i = 1;
    for (; argv[i] != NULL && argv[i][0] == '-' && argv[i][1] != '\0'; i++) {
        if (strcmp(argv[i], "-h") == 0) {
            options->help = true;
            continue;
        }
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        const char *name = argv[i] + 2, *equals = strchr(argv[i], '=');
        const size_t length = equals != NULL ? (size_t)(equals - name) : strlen(name);
        bool known = false;
        if (argv[i][1] == '-' && equals == NULL && set_flag(options, name))
            continue;
        for (size_t k = 0; argv[i][1] == '-' && !known && k < sizeof valued / sizeof *valued; k++)
            if (strlen(valued[k]) == length && strncmp(valued[k], name, length) == 0) {
                const char *value = equals != NULL ? equals + 1 : argv[++i];
                if (value == NULL)
                    return fail(error, EXIT_USAGE, hint, "option --%s needs a value", valued[k]);
                if (!set_value(options, valued[k], value, error))
                    return false;
                known = true;
            }
        if (!known)
            return fail(error, EXIT_USAGE, hint, "there is no option '%s'", argv[i]);
    }
    options->bundle = argv[i];
    if (options->bundle == NULL && !options->help)
        return fail(error, EXIT_USAGE, "sdee exec [OPTIONS] bundle.sdee [ARGS...]", "no bundle is given");
    options->arguments = argv + i + (argv[i] != NULL);
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
        return fail(error, EXIT_USAGE, "leave --dry-run (SDEE_DRY_RUN) away", "--deploy and --undeploy have no plan of mounts that could be shown");
    if (options->deploy && options->undeploy)
        return fail(error, EXIT_USAGE, "choose one of them", "a bundle cannot be deployed and undeployed at once");
    if (options->shell && options->command != NULL)
        return fail(error, EXIT_USAGE, "choose one of them", "a shell and another command cannot both be run");
    return true;
}
