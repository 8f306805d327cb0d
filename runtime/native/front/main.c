/* sdee-front stands in place of srun, sbatch, squeue and the like. What a call of these means depends on where it is:
 *
 *   in a bundle in a job (SDEE_OUTSIDE)    the node's own command, run outside of the bundle             call.c
 *                                          (of `sdee submit` outside of environments, too: src/sdee/workflow/serving.py)
 *   in a command that is traced            the script that SDEE_REHEARSAL names: nothing is submitted
 *   in a private environment               srun, sbatch, salloc: `sdee`'s own (src/sdee/cli/inside.py)
 *   others there, or SDEE_TRANSPARENT=0    the host's own command, as the user and not as root           real.c
 *
 * By its own name it is what the others need: `sdee-front serve OUTSIDE COMMAND...`, `sdee-front hold DIRECTORY`,
 * `sdee-front pass COMMAND...`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "front/front.h"
#include "lib/arena.h"

static int execute(const char *program, char **argv, struct error *error)
{
    execv(program, argv);
    fail(error, errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, NULL, "cannot execute %s: %s", program, strerror(errno));
    return -1;
}

/* Put words in front of the arguments. */
static char **with(const char *const *words, char **arguments)
{
    size_t count = 0, at = 0;
    while (arguments[count] != NULL)
        count++;
    char **list = allocate(count + 8, sizeof *list);
    for (; *words != NULL; words++)
        list[at++] = (char *)(uintptr_t)*words;
    memcpy(list + at, arguments, (count + 1) * sizeof *list);
    return list;
}

static bool is_on(const char *variable)
{
    const char *value = getenv(variable);
    return value != NULL && value[0] != '\0';
}

/* Is it sdee's own in an environment? */
static bool submits(const char *name)
{
    static const char *const names[] = {SUBMITTING_COMMANDS};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

static int stand_for(const char *name, char **argv, struct error *error)
{
    const char *outside = getenv("SDEE_OUTSIDE"), *rehearsal = getenv("SDEE_REHEARSAL"), *transparent = getenv("SDEE_TRANSPARENT");
    if (is_on("SDEE_OUTSIDE"))
        return call(outside, argv, error);
    const bool ours = submits(name);
    if (ours && is_on("SDEE_REHEARSAL")) {
        const char *const words[] = {"/bin/sh", rehearsal, name, NULL};
        hide_from_shells();
        return execute(words[0], with(words, argv + 1), error);
    }
    if (!ours || is_on("SDEE_REAL") || (transparent != NULL && strcmp(transparent, "0") == 0))
        return real(name, argv, error);
    const char *const words[] = {COMMANDS_DIRECTORY "/sdee-inside", name, NULL};
    if (access(words[0], X_OK) != 0) {
        fail(error, EXIT_NODE, "submit the job with `sdee submit` or `sdee wrap`, or from inside the environment",
             "this %s is sdee's stand-in; it works only inside `sdee env` or in a job that sdee submitted", name);
        return -1;
    }
    hide_from_shells();
    return execute(words[0], with(words, argv + 1), error);
}

/* `sdee-front pass COMMAND...`: the end of what a shell of ours does. */
static int pass(char **command, struct error *error)
{
    show_again();
    execvp(command[0], command);
    fail(error, errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, NULL, "cannot execute %s: %s", command[0], strerror(errno));
    return -1;
}

int main(int count, char **argv)
{
    static struct error error = {.code = EXIT_INTERNAL};
    const char *slash = count > 0 ? strrchr(argv[0], '/') : NULL, *name = slash != NULL ? slash + 1 : count > 0 ? argv[0] : "";
    int status = -1;
    if (strcmp(name, "sdee-front") != 0)
        status = stand_for(name, argv, &error);
    else if (count >= 4 && strcmp(argv[1], "serve") == 0)
        status = serve(argv[2], argv + 3, &error);
    else if (count == 3 && strcmp(argv[1], "hold") == 0)
        status = hold(argv[2], &error);
    else if (count >= 3 && strcmp(argv[1], "pass") == 0)
        status = pass(argv + 2, &error);
    else
        fail(&error, EXIT_USAGE, "it replaces the job manager's commands in a private environment", "sdee-front is internal to sdee");
    if (status >= 0)
        return status;
    error_print(&error);
    return (int)error.code;
}
