/* The holder of an environment: terminals that join, send a listener or something else, and go, in any order.
 * Input: one byte for each step: join; a message of a terminal (the next bytes: number of descriptors, size); a terminal goes; a listener
 * ends. The linker puts supervise() of this file in the place of the real one (Makefile), which would start threads. */
#include "env/holder.c"

#include "fuzz.h"

enum { TERMINALS = 8, DESCRIPTORS = 8, STEPS = 64 };

static int terminals[TERMINALS]; /* their ends; -1: none */

bool __wrap_supervise(struct session *session, int listener);
bool __wrap_supervise(struct session *session, int listener)
{
    (void)session;
    if ((listener & 1) == 0)
        return true;
    close(listener);
    return false;
}

void __wrap_supervise_end(int listener);
void __wrap_supervise_end(int listener)
{
    close(listener);
}

static void join(int listening, int init)
{
    int which = 0;
    while (which < TERMINALS && terminals[which] >= 0)
        which++;
    if (which == TERMINALS)
        return;
    struct sockaddr_un address;
    socklen_t size = sizeof address;
    const int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (getsockname(listening, (struct sockaddr *)&address, &size) != 0 || connect(fd, (struct sockaddr *)&address, size) != 0)
        abort();
    terminals[which] = fd;
    accept_terminal(listening, init);
}

static void say(int fd, unsigned descriptors, size_t size)
{
    char control[CMSG_SPACE(DESCRIPTORS * sizeof(int))] = {0}, text[256] = "";
    struct iovec part = {text, size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptors > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(descriptors * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(descriptors * sizeof(int))};
        for (unsigned i = 0; i < descriptors; i++)
            memcpy(CMSG_DATA(head) + i * sizeof(int), &(int){STDIN_FILENO}, sizeof(int));
    }
    (void)!sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

/* As serve() does. */
static void look_around(struct session *session)
{
    (void)!poll(polled + 2, polled_count - 2, 0);
    for (unsigned i = polled_count; i-- > 2;)
        if (polled[i].revents != 0 && !hear(session, i)) {
            polled[i] = polled[--polled_count];
            members[i] = members[polled_count];
        }
    for (unsigned i = 2; i < polled_count; i++)
        MUST(polled[i].fd >= 0 && fcntl(polled[i].fd, F_GETFD) == FD_CLOEXEC);
    MUST(promised <= polled_count);
}

static void run(struct session *session, struct input *input, int listening, int init)
{
    for (unsigned steps = 0; steps < STEPS && input->left > 0; steps++) {
        const unsigned step = take(input), which = step / 4 % TERMINALS;
        if (step % 4 == 0) {
            join(listening, init);
        } else if (step % 4 == 1 && terminals[which] >= 0) {
            const unsigned descriptors = take(input) % (DESCRIPTORS + 1);
            say(terminals[which], descriptors, take(input));
        } else if (step % 4 == 2 && terminals[which] >= 0) {
            close(terminals[which]);
            terminals[which] = -1;
        }
        if (step < 128)
            look_around(session);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct session session;
    struct input input = {data, size};
    const struct sockaddr_un any = {.sun_family = AF_UNIX};
    const int before = fuzz_descriptors(), listening = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0), init = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (bind(listening, (const struct sockaddr *)&any, sizeof any.sun_family) != 0 || listen(listening, 64) != 0) /* unix(7): autobind */
        abort();
    signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < TERMINALS; i++)
        terminals[i] = -1;
    polled_count = promised = 0;
    look_at(listening, POLLIN, SERVED);
    look_at(init, POLLIN, SERVED);
    run(&session, &input, listening, init);
    for (int i = 0; i < TERMINALS; i++)
        if (terminals[i] >= 0)
            close(terminals[i]);
    look_around(&session);
    for (unsigned i = 2; i < polled_count; i++) /* listeners, which end when their processes do */
        close(polled[i].fd);
    close(listening);
    close(init);
    MUST(fuzz_descriptors() == before);
    return 0;
}
