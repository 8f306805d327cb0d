/* What the harnesses share. Each tests/fuzz/fuzz_NAME.c links the real sources of one program and hands them bytes; where a function is static
 * the harness includes its source file. Engines: libFuzzer, AFL++ (its driver for libFuzzer's function), replay.c. */
#ifndef SDEE_FUZZ_H
#define SDEE_FUZZ_H

#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A property does not hold: that is a finding. */
#define MUST(condition) ((condition) ? (void)0 : fuzz_found(#condition, __FILE__, __LINE__))
static inline void fuzz_found(const char *condition, const char *file, int line)
{
    fprintf(stderr, "%s:%d: this must hold: %s\n", file, line, condition);
    abort();
}

/* What is left of an input, taken from its beginning. */
struct input {
    const uint8_t *at;
    size_t left;
};

static inline unsigned take(struct input *input)
{
    if (input->left == 0)
        return 0;
    input->left--;
    return *input->at++;
}

static inline unsigned take2(struct input *input)
{
    const unsigned low = take(input);
    return low | take(input) << 8;
}

/* The next `size` bytes, or what there is: `size` is made that. */
static inline const uint8_t *take_bytes(struct input *input, size_t *size)
{
    const uint8_t *at = input->at;
    if (*size > input->left)
        *size = input->left;
    if (*size > 0) /* libFuzzer's empty input is NULL */
        input->at += *size;
    input->left -= *size;
    return at;
}

/* A string up to the next NUL, which is taken too; free(3) it. */
static inline char *take_text(struct input *input)
{
    size_t size = input->left > 0 ? strnlen((const char *)input->at, input->left) : 0;
    const uint8_t *text = take_bytes(input, &size);
    char *copy = calloc(1, size + 1);
    if (size > 0)
        memcpy(copy, text, size);
    take(input);
    return copy;
}

static inline void put_number(uint8_t *to, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        to[i] = (uint8_t)(value >> 8 * i);
}

/* For functions that open a file by its name: always the same one, with this content. */
static inline const char *fuzz_file(const uint8_t *data, size_t size)
{
    static char name[64];
    static int fd = -1;
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) != 0 || pwrite(fd, data, size, 0) != (ssize_t)size)
        abort();
    return name;
}

/* An empty directory of this process in memory; what is in it the harness removes. */
static inline const char *fuzz_directory(void)
{
    static char path[64];
    if (path[0] == '\0') {
        snprintf(path, sizeof path, "/dev/shm/sdee-fuzz.%d.XXXXXX", (int)getpid());
        if (mkdtemp(path) == NULL)
            abort();
    }
    return path;
}

/* How many descriptors are open; by poll(2), which tells of all at once. */
static inline int fuzz_descriptors(void)
{
    enum { MOST_LOOKED_AT = 128 };
    struct pollfd all[MOST_LOOKED_AT];
    int open = 0;
    for (int fd = 0; fd < MOST_LOOKED_AT; fd++)
        all[fd] = (struct pollfd){fd, 0, 0};
    (void)!poll(all, MOST_LOOKED_AT, 0);
    for (int fd = 0; fd < MOST_LOOKED_AT; fd++)
        open += (all[fd].revents & POLLNVAL) == 0;
    return open;
}

#endif
