#include "lib/arena.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "lib/exit_codes.h"

static void *or_end(void *memory)
{
    if (memory == NULL) {
        static const char text[] = "sdee: error: out of memory\n  hint: ask for a job with more memory\n";
        (void)!write(STDERR_FILENO, text, sizeof text - 1);
        _exit(EXIT_RESOURCES);
    }
    return memory;
}

void *allocate(unsigned long count, unsigned long size)
{
    return or_end(calloc(count > 0 ? count : 1, size));
}

void *reallocate(void *old, unsigned long count, unsigned long size)
{
    if (size != 0 && count > (unsigned long)-1 / size)
        or_end(NULL);
    return or_end(realloc(old, count * size));
}

struct arena_block {
    struct arena_block *next;
    char text[];
};

char *arena_format(struct arena *arena, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int size = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    if (size < 0) /* longer than INT_MAX: printf(3) */
        or_end(NULL);
    struct arena_block *block = allocate(1, sizeof *block + (size_t)size + 1);
    vsnprintf(block->text, (size_t)size + 1, format, again);
    va_end(again);
    block->next = arena->blocks;
    arena->blocks = block;
    return block->text;
}

void arena_free(struct arena *arena)
{
    while (arena->blocks != NULL) {
        struct arena_block *block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
}
