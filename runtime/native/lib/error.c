#include "lib/error.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/facts.h"

/* Bytes of the character that begins there, 0 for none that a terminal only shows: control characters, also those of two bytes (C1), and what is
 * no UTF-8, which terminals of 8-bit locales may take for C1. */
static size_t shown_bytes(const unsigned char *text)
{
    const size_t count = text[0] < 0x80 ? 1 : text[0] >= 0xc2 && text[0] < 0xe0 ? 2 : (text[0] & 0xf0) == 0xe0 ? 3 : text[0] >= 0xf0 && text[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < count; i++)
        if ((text[i] & 0xc0) != 0x80) /* also the NUL at the end */
            return 0;
    if (count == 1 && (text[0] < 0x20 || text[0] == 0x7f))
        return 0;
    return count == 2 && text[0] == 0xc2 && text[1] < 0xa0 ? 0 : count;
}

/* Names in messages come from bundles and other users' directories: what would move the cursor, or begin a line of its own, is shown as \x1b. */
static void make_printable(char *text, size_t size)
{
    char shown[8192];
    size_t used = 0;
    const unsigned char *from = (const unsigned char *)text;
    while (*from != '\0') {
        const size_t count = shown_bytes(from);
        if (used + 5 > sizeof shown || used + 5 > size)
            break;
        if (count > 0)
            memcpy(shown + used, from, count);
        else
            snprintf(shown + used, sizeof shown - used, *from == '\n' ? "\\n" : *from == '\t' ? "\\t" : "\\x%02x", *from);
        used += count > 0 ? count : strlen(shown + used);
        from += count > 0 ? count : 1;
    }
    memcpy(text, shown, used);
    text[used] = '\0';
}

bool fail(struct error *error, enum exit_code code, const char *hint, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    error->code = code;
    snprintf(error->hint, sizeof error->hint, "%s", hint != NULL ? hint : "");
    make_printable(error->message, sizeof error->message);
    make_printable(error->hint, sizeof error->hint);
    return false;
}

bool fail_proc(struct error *error, const char *path)
{
    const int number = errno;
    if (number == EMFILE || number == ENFILE || number == ENOMEM)
        return fail(error, EXIT_RESOURCES, number == EMFILE ? "raise `ulimit -n`" : "ask for a job with more memory", "cannot open %s: %s", path,
                    strerror(number));
    if (number == ENOENT || number == ENOTDIR)
        return fail(error, EXIT_NODE, "mount it: mount -t proc proc /proc", "/proc is not mounted on this node (%s: %s)", path, strerror(number));
    return fail(error, EXIT_NODE, NULL, "cannot open %s: %s", path, strerror(number));
}

void tried(struct error *error, const char *format, ...)
{
    size_t used = strlen(error->tried);
    size_t left = sizeof error->tried - used;
    if (left < 64)
        return; /* the first dozens of attempts say enough */
    int head = snprintf(error->tried + used, left, "  tried: ");
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->tried + used + head, left - (size_t)head - 1, format, arguments);
    va_end(arguments);
    make_printable(error->tried + used, left - 1);
    strcat(error->tried, "\n");
}

static void write_all(int fd, const char *text, size_t size)
{
    while (size > 0) {
        ssize_t done = write(fd, text, size);
        if (done <= 0)
            return; /* nobody is left to tell */
        text += done;
        size -= (size_t)done;
    }
}

/* The node's name in a job of some manager, where the output of many nodes may come together; "" elsewhere. */
static const char *node_name(void)
{
    static const char *const jobs[] = {JOB_VARIABLES};
    static char name[256];
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs && name[0] == '\0'; i++)
        if (getenv(jobs[i]) != NULL && gethostname(name, sizeof name - 1) != 0)
            name[0] = '\0';
    return name;
}

static int errors_to = STDERR_FILENO;

bool error_print_to(int fd)
{
    if (fd <= STDERR_FILENO || fcntl(fd, F_SETFD, FD_CLOEXEC) != 0)
        return false;
    errors_to = fd;
    return true;
}

void error_print(const struct error *error)
{
    char text[sizeof(struct error) + 512];
    const char *node = node_name();
    int size = snprintf(text, sizeof text, "sdee: error: %s%s%s\n%s%s%s%s", error->message, node[0] != '\0' ? "\n  node: " : "", node, error->tried,
                        error->hint[0] != '\0' ? "  hint: " : "", error->hint, error->hint[0] != '\0' ? "\n" : "");
    write_all(errors_to, text, (size_t)size < sizeof text ? (size_t)size : sizeof text - 1);
}

void note(const char *format, ...)
{
    char text[8192] = "sdee: ";
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + 6, sizeof text - 7, format, arguments);
    va_end(arguments);
    make_printable(text + 6, sizeof text - 7);
    size_t end = strlen(text);
    if (strncmp(format, "warning:", 8) == 0 && node_name()[0] != '\0' && end + 300 < sizeof text)
        end += (size_t)snprintf(text + end, sizeof text - end, " (node %s)", node_name());
    text[end] = '\n';
    write_all(STDERR_FILENO, text, end + 1);
}
