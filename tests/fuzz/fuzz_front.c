/* sdee-front: a call as its server receives it, the answer as its client does, variables that went through a shell.
 * Input: u8 which. A call: u8 number of descriptors, u8 1: the header's sizes as they are in the input, else those of the text; the header;
 * the text. An answer: the bytes. Variables: NUL-terminated strings. */
#include "front/call.c"
#include "front/serve.c"

#include "fuzz.h"

enum { DESCRIPTORS = 8 };

/* How many descriptors went with it. */
static unsigned send_call_with(int fd, struct input *input)
{
    struct call_header header = {.magic = CALL_MAGIC};
    const unsigned descriptors = take(input) % (DESCRIPTORS + 1), as_said = take(input);
    size_t size = sizeof header;
    const uint8_t *raw = take_bytes(input, &size);
    if (size > 0)
        memcpy(&header, raw, size);
    if ((as_said & 1) == 0) {
        header.magic = CALL_MAGIC;
        header.bytes = (uint32_t)input->left;
        header.argc %= 16;
        header.envc %= 16;
    }
    char control[CMSG_SPACE(DESCRIPTORS * sizeof(int))] = {0};
    struct iovec part = {&header, (as_said & 2) == 0 ? sizeof header : size};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (descriptors > 0) {
        message.msg_control = control;
        message.msg_controllen = CMSG_SPACE(descriptors * sizeof(int));
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(descriptors * sizeof(int))};
        for (unsigned i = 0; i < descriptors; i++)
            memcpy(CMSG_DATA(head) + i * sizeof(int), &(int){STDERR_FILENO}, sizeof(int));
    }
    (void)!sendmsg(fd, &message, MSG_NOSIGNAL);
    (void)!send(fd, input->at, input->left, MSG_NOSIGNAL | MSG_DONTWAIT);
    return descriptors;
}

static void serve_call(int fd, unsigned descriptors)
{
    struct received received;
    if (receive_call(fd, &received)) {
        size_t sum = 0;
        MUST(descriptors == 3);
        MUST(received.argv[0] != NULL);
        for (char **word = received.argv; *word != NULL; word++)
            sum += strlen(*word) + 1;
        for (char **pair = received.environment; *pair != NULL; pair++)
            sum += strlen(*pair) + 1;
        MUST(sum + strlen(received.directory) + 1 <= received.header.bytes);
        static char *none[] = {NULL};
        char **before = environ;
        environ = none;
        use_environment(received.environment);
        clearenv();
        environ = before;
    }
    received_free(&received);
}

static void hear_answer(int fd)
{
    int32_t status;
    const int signals = open("/dev/zero", O_RDONLY | O_CLOEXEC); /* full of signals of number 0 */
    (void)wait_for_end(fd, signals, &status);
    close(signals);
}

static void variables(struct input *input)
{
    char *list[65], *texts[64];
    size_t count = 0;
    while (count < 64 && input->left > 0)
        list[count] = texts[count] = take_text(input), count++;
    list[count] = NULL;
    char **before = environ;
    environ = list;
    hide_from_shells();
    for (size_t i = 0; i < count; i++)
        if (list[i] != texts[i])
            MUST(strncmp(list[i], PASSED_PREFIX, strlen(PASSED_PREFIX)) == 0);
    char *hidden[64];
    memcpy(hidden, list, count * sizeof *list);
    show_again();
    for (size_t i = 0; i < count; i++)
        MUST(hidden[i] == texts[i] || strcmp(list[i], texts[i]) == 0); /* what was hidden is what it was */
    environ = before;
    for (size_t i = 0; i < count; i++) {
        if (hidden[i] != texts[i])
            free(hidden[i]);
        free(texts[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    const unsigned which = take(&input) % 4;
    int pair[2];
    if (which == 3) {
        variables(&input);
        return 0;
    }
    const int before = fuzz_descriptors();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    unsigned descriptors = 0;
    if (which == 2)
        (void)!send(pair[1], input.at, input.left, MSG_NOSIGNAL | MSG_DONTWAIT);
    else
        descriptors = send_call_with(pair[1], &input);
    shutdown(pair[1], SHUT_WR);
    if (which == 2)
        hear_answer(pair[0]);
    else
        serve_call(pair[0], descriptors);
    close(pair[0]);
    close(pair[1]);
    MUST(fuzz_descriptors() == before);
    return 0;
}
