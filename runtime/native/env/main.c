/* sdee-env: what `sdee env` does below Python.
 *
 *   sdee-env enter [--x11] [--ssh-agent] DIRECTORY NAME [COMMAND...]
 *   sdee-env skeleton [--mask] [--real-ids] [--but PATH]... HOST UPPER LIST PREFIX
 *   sdee-env probe DIRECTORY
 *   sdee-env root DIRECTORY COMMAND...
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "env/enter.h"
#include "env/probe.h"
#include "env/skeleton.h"
#include "lib/arena.h"

static bool take(char ***arguments, const char *option)
{
    if (**arguments == NULL || strcmp(**arguments, option) != 0)
        return false;
    ++*arguments;
    return true;
}

static int usage(void)
{
    struct error error = {0};
    fail(&error, EXIT_USAGE, "call `sdee env`", "sdee-env is internal to sdee");
    error_print(&error);
    return EXIT_USAGE;
}

int main(int count, char **arguments)
{
    static struct error error;
    if (count < 3)
        return usage();
    char **rest = arguments + 2;
    int status = 0;
    if (strcmp(arguments[1], "enter") != 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* what it works on is removed by the next command: leftovers.py */
    if (strcmp(arguments[1], "enter") == 0) {
        struct enter_options options = {0};
        options.x11 = take(&rest, "--x11");
        options.ssh_agent = take(&rest, "--ssh-agent");
        if (rest[0] == NULL || rest[1] == NULL)
            return usage();
        options.directory = rest[0];
        options.name = rest[1];
        options.command = rest + 2;
        status = enter(&options, &error);
    } else if (strcmp(arguments[1], "skeleton") == 0) {
        const bool mask = take(&rest, "--mask"), real = take(&rest, "--real-ids");
        const char **but = allocate((size_t)count, sizeof *but);
        for (size_t i = 0; take(&rest, "--but") && rest[0] != NULL; i++)
            but[i] = *rest++;
        for (int i = 0; i < 4; i++)
            if (rest[i] == NULL)
                return usage();
        status = skeleton_make(rest[0], rest[1], rest[2], rest[3], &(struct skeleton_options){mask, !real, but}, &error) ? 0 : -1;
    } else if (strcmp(arguments[1], "probe") == 0) {
        status = probe(rest[0], &error) ? 0 : -1;
    } else if (strcmp(arguments[1], "root") == 0 && rest[1] != NULL) {
        status = as_root(rest[0], rest + 1, &error);
    } else {
        return usage();
    }
    if (status >= 0)
        return status;
    error_print(&error);
    return (int)error.code;
}
