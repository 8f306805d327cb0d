#include "env/supervisor/as_root.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int as_root_inside(const struct session *session, inside_work *work, const void *argument, char said[INSIDE_ROOM])
{
    struct {
        int result;
        char said[INSIDE_ROOM];
    } *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return -EACCES;
    shared->result = -EACCES;
    /* A process, since a thread cannot change its user namespace; of its own memory, which setns(2) makes undumpable; with our
     * descriptors. It makes system calls only: other threads may hold locks. */
    const pid_t child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0) {
        if (setns(session->init, CLONE_NEWUSER) == 0)
            shared->result = work(argument, shared->said);
        _exit(0);
    }
    int status;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    const int result = shared->result;
    if (said != NULL)
        memcpy(said, shared->said, INSIDE_ROOM);
    munmap(shared, sizeof *shared);
    return result;
}
