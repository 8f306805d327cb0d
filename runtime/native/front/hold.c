/* salloc runs this in place of the user's command, which is to run as root of the environment: salloc itself is in a
 * user namespace from which no way leads back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "front/front.h"

extern char **environ;

int hold(const char *directory, struct error *error)
{
    if (chdir(directory) != 0) {
        fail(error, EXIT_OUTPUT, NULL, "cannot enter %s: %s", directory, strerror(errno));
        return -1;
    }
    FILE *file = fopen("environment.new", "we");
    for (char **pair = environ; file != NULL && *pair != NULL; pair++)
        fwrite(*pair, 1, strlen(*pair) + 1, file);
    if (file == NULL || fclose(file) != 0 || rename("environment.new", "environment") != 0) {
        fail(error, EXIT_OUTPUT, NULL, "cannot write %s/environment: %s", directory, strerror(errno));
        return -1;
    }
    const int alive = open("alive", O_RDONLY | O_CLOEXEC);
    char byte;
    while (alive >= 0 && (read(alive, &byte, 1) > 0 || errno == EINTR))
        errno = 0;
    return 0;
}
