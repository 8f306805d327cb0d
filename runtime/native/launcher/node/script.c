#include "launcher/node/script.h"

#include <elf.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launcher/node/elf.h"

bool script_interpreter(const char *program, char interpreter[PATH_MAX])
{
    uint8_t head[4096] = {0};
    struct elf elf;
    struct stat status;
    const int fd = open(program, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); /* it may be a FIFO: nothing to wait for */
    const ssize_t size = fd >= 0 && fstat(fd, &status) == 0 && S_ISREG(status.st_mode) ? read(fd, head, sizeof head - 1) : -1;
    bool found = false;
    if (size > 2 && head[0] == '#' && head[1] == '!') {
        const char *name = (const char *)head + 2;
        name += strspn(name, " \t");
        snprintf(interpreter, PATH_MAX, "%.*s", (int)strcspn(name, " \t\r\n"), name);
        found = true;
    } else if (elf_open(&elf, program)) {
        const uint8_t *name;
        uint64_t length;
        unsigned index = 0;
        found = elf_segment(&elf, PT_INTERP, &index, &name, &length) && length > 0;
        if (found)
            snprintf(interpreter, PATH_MAX, "%.*s", (int)(length < PATH_MAX ? length : PATH_MAX - 1), (const char *)name);
        elf_close(&elf);
    }
    if (fd >= 0)
        close(fd);
    return found;
}

bool script_is_text(const char *program)
{
    char head[128];
    const int fd = open(program, O_RDONLY | O_CLOEXEC);
    const ssize_t size = fd >= 0 ? read(fd, head, sizeof head) : -1;
    if (fd >= 0)
        close(fd);
    if (size < 0)
        return false;
    const char *line_end = memchr(head, '\n', (size_t)size);
    return memchr(head, '\0', line_end != NULL ? (size_t)(line_end - head) : (size_t)size) == NULL;
}
