#include "launcher/plan/file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Written and read by the same program, in memory that only this user's ranks see: no format to keep. */
struct head {
    struct timespec begun, steady;
    enum root_kind root;
    size_t count, synthetic_count;
};

static bool put_text(FILE *file, const char *text)
{
    const uint32_t size = text != NULL ? (uint32_t)strlen(text) + 1 : 0;
    return fwrite(&size, sizeof size, 1, file) == 1 && (size == 0 || fwrite(text, size, 1, file) == 1);
}

static bool get_text(FILE *file, struct arena *arena, const char **text)
{
    uint32_t size;
    if (fread(&size, sizeof size, 1, file) != 1)
        return false;
    char *room = size > 0 ? arena_format(arena, "%*s", (int)size - 1, "") : NULL;
    *text = room;
    return size == 0 || fread(room, size, 1, file) == 1;
}

bool plan_write(const struct plan *plan, const char *path)
{
    const struct head head = {plan->begun, plan->steady, plan->root, plan->count, plan->synthetic_count};
    FILE *file = fopen(path, "we");
    bool good = file != NULL && fwrite(&head, sizeof head, 1, file) == 1;
    for (size_t i = 0; good && i < plan->count; i++) {
        const struct op *op = &plan->ops[i];
        good = fwrite(&op->kind, sizeof op->kind, 1, file) == 1 && fwrite(&op->mode, sizeof op->mode, 1, file) == 1 && put_text(file, op->source) &&
               put_text(file, op->target) && put_text(file, op->data) && put_text(file, op->back) &&
               fwrite(&op->back_is, sizeof op->back_is, 1, file) == 1;
    }
    for (size_t i = 0; good && i < plan->synthetic_count; i++)
        good = put_text(file, plan->synthetic[i].path) && put_text(file, plan->synthetic[i].node) &&
               fwrite(&plan->synthetic[i].is, sizeof plan->synthetic[i].is, 1, file) == 1;
    return file != NULL && fclose(file) == 0 && good;
}

bool plan_read(struct plan *plan, const char *path)
{
    struct head head;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    bool good = fread(&head, sizeof head, 1, file) == 1;
    if (good) {
        plan->begun = head.begun;
        plan->steady = head.steady;
        plan->root = head.root;
        plan->ops = allocate(head.count, sizeof *plan->ops);
        plan->synthetic = allocate(head.synthetic_count, sizeof *plan->synthetic);
    }
    for (; good && plan->count < head.count; plan->count++) {
        struct op *op = &plan->ops[plan->count];
        good = fread(&op->kind, sizeof op->kind, 1, file) == 1 && fread(&op->mode, sizeof op->mode, 1, file) == 1 && get_text(file, plan->arena, &op->source) &&
               get_text(file, plan->arena, &op->target) && get_text(file, plan->arena, &op->data) &&
               get_text(file, plan->arena, &op->back) &&
               fread(&op->back_is, sizeof op->back_is, 1, file) == 1;
    }
    for (; good && plan->synthetic_count < head.synthetic_count; plan->synthetic_count++) {
        struct back *back = &plan->synthetic[plan->synthetic_count];
        good = get_text(file, plan->arena, &back->path) && get_text(file, plan->arena, &back->node) &&
               fread(&back->is, sizeof back->is, 1, file) == 1;
    }
    fclose(file);
    return good;
}
