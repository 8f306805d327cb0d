/* Memory that is there, or the end. */
#ifndef SDEE_LIB_ARENA_H
#define SDEE_LIB_ARENA_H

/* malloc(3) and friends that end the process with EXIT_RESOURCES instead of returning NULL. */
void *allocate(unsigned long count, unsigned long size);
void *reallocate(void *old, unsigned long count, unsigned long size);

/* Strings that live until arena_free(): plans and paths are made once and thrown away together. */
struct arena {
    struct arena_block *blocks;
};
char *arena_format(struct arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));
void arena_free(struct arena *arena);

#endif
