#include "launcher/plan/file.h"

#include <fcntl.h>
#include <limits.h>
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

/* A file that is read: nothing that it claims is larger than what is left of it. */
struct source {
    FILE *file;
    uint64_t left;
};

static bool get(struct source *source, void *room, size_t size)
{
    if (size > source->left || fread(room, 1, size, source->file) != size)
        return false;
    source->left -= size;
    return true;
}

static bool get_text(struct source *source, struct arena *arena, const char **text)
{
    uint32_t size;
    if (!get(source, &size, sizeof size) || size > source->left || size > INT_MAX)
        return false;
    char *room = size > 0 ? arena_format(arena, "%*s", (int)size - 1, "") : NULL;
    *text = room;
    return size == 0 || (get(source, room, size) && room[size - 1] == '\0');
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

static bool get_op(struct source *source, struct arena *arena, struct op *op)
{
    return get(source, &op->kind, sizeof op->kind) && get(source, &op->mode, sizeof op->mode) && get_text(source, arena, &op->source) &&
           get_text(source, arena, &op->target) && get_text(source, arena, &op->data) && get_text(source, arena, &op->back) &&
           get(source, &op->back_is, sizeof op->back_is) && op->kind <= OP_ENTER && op->target != NULL &&
           (op->kind != OP_POINT || (op->data != NULL && op->data[0] == '/'));
}

static bool get_back(struct source *source, struct arena *arena, struct back *back)
{
    return get_text(source, arena, &back->path) && get_text(source, arena, &back->node) && get(source, &back->is, sizeof back->is) &&
           back->path != NULL && back->node != NULL;
}

bool plan_read(struct plan *plan, const char *path)
{
    struct head head;
    struct stat status;
    struct source source = {.file = fopen(path, "re")};
    if (source.file == NULL)
        return false;
    source.left = fstat(fileno(source.file), &status) == 0 ? (uint64_t)status.st_size : 0;
    bool good = get(&source, &head, sizeof head) && head.root <= ROOT_CLOSED && head.count <= source.left && head.synthetic_count <= source.left;
    if (good) {
        plan->begun = head.begun;
        plan->steady = head.steady;
        plan->root = head.root;
        plan->ops = allocate(head.count, sizeof *plan->ops);
        plan->synthetic = allocate(head.synthetic_count, sizeof *plan->synthetic);
    }
    for (; good && plan->count < head.count; plan->count += good)
        good = get_op(&source, plan->arena, &plan->ops[plan->count]);
    for (; good && plan->synthetic_count < head.synthetic_count; plan->synthetic_count += good)
        good = get_back(&source, plan->arena, &plan->synthetic[plan->synthetic_count]);
    fclose(source.file);
    return good;
}
