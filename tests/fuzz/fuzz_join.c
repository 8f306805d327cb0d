/* What ranks of a step say to each other, and the plan that who leads leaves for the last one out.
 * Input: u8 which: what a rank hears from who leads; what who leads hears from a rank; the plan's file. For messages: u8 number of
 * descriptors, then the message. */
#include "launcher/run/join.c"

#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void send_with(int fd, const uint8_t *text, size_t size, unsigned descriptors)
{
    char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    int fds[8];
    struct iovec part = {(void *)(uintptr_t)text, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    for (unsigned i = 0; i < 8; i++)
        fds[i] = STDERR_FILENO;
    if (descriptors > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(descriptors * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(descriptors * sizeof(int));
        memcpy(CMSG_DATA(head), fds, descriptors * sizeof(int));
    }
    (void)!sendmsg(fd, &message, MSG_NOSIGNAL);
}

static void hear_leader(int ours, bool as_agreed)
{
    int fds[ROOT_FDS];
    struct root root = {0};
    bool stopped;
    if (receive_root(ours, fds, &root, &stopped)) {
        MUST(as_agreed);
        MUST(fcntl(fds[0], F_GETFD) == FD_CLOEXEC && fcntl(fds[1], F_GETFD) == FD_CLOEXEC);
        close(fds[0]);
        close(fds[1]);
    }
}

static void read_plan(const uint8_t *data, size_t size)
{
    struct arena arena = {NULL};
    struct plan plan = {.arena = &arena};
    if (plan_read(&plan, fuzz_file(data, size))) {
        size_t sum = 0;
        for (size_t i = 0; i < plan.count; i++)
            sum += (plan.ops[i].target != NULL ? strlen(plan.ops[i].target) : 0) + (plan.ops[i].data != NULL ? strlen(plan.ops[i].data) : 0);
        MUST(sum <= size);
    }
    free(plan.ops);
    free(plan.synthetic);
    arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    int pair[2];
    const unsigned which = take(&input) % 3;
    if (which == 2) {
        read_plan(input.at, input.left);
        return 0;
    }
    const unsigned descriptors = take(&input) % 9;
    const int before = fuzz_descriptors();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    send_with(pair[1], input.at, input.left, descriptors);
    shutdown(pair[1], SHUT_WR);
    if (which == 0) {
        hear_leader(pair[0], descriptors == ROOT_FDS && input.left == sizeof(struct welcome));
    } else {
        struct root root = {.in_user_namespace = true};
        const struct join join = {.root = &root, .shared = {STDERR_FILENO, STDERR_FILENO}};
        let_in(&join, pair[0]);
    }
    close(pair[0]);
    close(pair[1]);
    MUST(fuzz_descriptors() == before);
    return 0;
}
