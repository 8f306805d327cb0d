#include "lib/attempt.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

bool attempt(bool (*act)(const void *argument, struct error *error), const void *argument, struct error *error)
{
    struct error found = {.code = EXIT_INTERNAL};
    int ends[2], status = 1;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return fail(error, EXIT_RESOURCES, "raise `ulimit -n`", "cannot make a pipe: %s", strerror(errno));
    const pid_t pid = fork();
    const int number = errno;
    if (pid == 0) {
        const bool good = act(argument, &found);
        if (!good)
            (void)!write(ends[1], &found, sizeof found);
        _exit(good ? 0 : 1);
    }
    close(ends[1]);
    size_t size = 0;
    for (ssize_t count; pid > 0 && size < sizeof found && (count = read(ends[0], (char *)&found + size, sizeof found - size)) > 0;)
        size += (size_t)count;
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (pid < 0)
        return fail(error, EXIT_RESOURCES, "raise `ulimit -u`", "cannot make a process to try it in: %s", strerror(number));
    if (status == 0)
        return true;
    if (size < sizeof found)
        return fail(error, EXIT_KERNEL, NULL, "the process that tried it was killed");
    *error = found;
    return false;
}
