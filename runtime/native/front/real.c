/* The host's own command, as the user. Slurm says who calls in its messages, and munge(7) proves who it is: the two must
 * agree, so root of a private environment becomes the user again first. */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "front/front.h"
#include "lib/unshare.h"

/* COMMANDS_DIRECTORY/user: "UID GID NAME", those of the user outside. */
static bool become_user(struct error *error)
{
    unsigned uid, gid;
    char name[256] = "";
    FILE *file = fopen(COMMANDS_DIRECTORY "/user", "re");
    const bool read = file != NULL && fscanf(file, "%u %u %255s", &uid, &gid, name) == 3;
    if (file != NULL)
        fclose(file);
    if (!read)
        return fail(error, EXIT_NODE, "call it under `sdee env enter`", "this is not a private environment of sdee: " COMMANDS_DIRECTORY "/user is not there");
    setenv("USER", name, 1);
    setenv("LOGNAME", name, 1);
    if (getuid() == uid) /* already, or the environment's user is root outside as well */
        return true;
    const unsigned from = geteuid(), group = getegid();
    if (unshare_namespaces(CLONE_NEWUSER) != 0)
        return fail_to_unshare(error, "a user namespace, to become the user outside", CLONE_NEWUSER, "`sdee doctor` names the setting that is missing");
    const bool good = idmap_write(0, (struct id_pair){uid, from}, &(struct id_pair){gid, group}) == NULL;
    return good || fail(error, EXIT_KERNEL, NULL, "cannot become %s: user namespace: %s", name, strerror(errno));
}

int real(const char *name, char **argv, struct error *error)
{
    char link[PATH_MAX], path[PATH_MAX];
    snprintf(link, sizeof link, COMMANDS_DIRECTORY "/real/%s", name);
    const ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) {
        fail(error, EXIT_NOT_FOUND, "install it again, or `sdee env reset`", "this environment has no %s any more", name);
        return -1;
    }
    path[length] = '\0';
    struct stat self, other;
    if (stat("/proc/self/exe", &self) == 0 && stat(path, &other) == 0 && self.st_dev == other.st_dev && self.st_ino == other.st_ino) {
        fail(error, EXIT_INTERNAL, NULL, "%s is sdee's stand-in, not the job manager's command", path); /* rather than forever */
        return -1;
    }
    if (!become_user(error))
        return -1;
    unsetenv("SDEE_REAL");
    unsetenv("SDEE_ENVIRONMENT"); /* the job is in none */
    const char *proof = getenv("PMIX_MCA_psec");
    if (proof != NULL && strcmp(proof, "^munge") == 0) /* set by runtime/native/env/enter.c */
        unsetenv("PMIX_MCA_psec");
    execv(path, argv);
    fail(error, errno == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, "install it again if this environment removed it",
         "cannot execute %s: %s", path, strerror(errno));
    return -1;
}
