#include "launcher/node/host_libraries.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "launcher/bundle/conf.h"
#include "launcher/node/elf.h"
#include "launcher/node/ldcache.h"
#include "lib/paths.h"

/* Where loaders of other systems than the job's look: for nodes without an ld.so.cache. */
static const char *const COMMON[] = {"/lib64", "/usr/lib64", "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu",
                                     "/lib/aarch64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/lib", "/usr/lib"};

/* The next word of a CONF value, copied; NULL at the end. */
static const char *next_word(struct arena *arena, const char **rest)
{
    *rest += strspn(*rest, " ");
    const int length = (int)strcspn(*rest, " ");
    const char *word = length > 0 ? arena_format(arena, "%.*s", length, *rest) : NULL;
    *rest += length;
    return word;
}

static struct library *known(const struct host_libraries *found, const char *soname)
{
    for (size_t i = 0; i < found->count; i++)
        if (strcmp(found->items[i].soname, soname) == 0)
            return &found->items[i];
    return NULL;
}

static void add(struct host_libraries *found, const char *soname, const char *path, enum family_mode mode)
{
    if (known(found, soname) != NULL || access(path, R_OK) != 0)
        return; /* the first that can be read counts, as for the loader */
    found->items = reallocate(found->items, found->count + 1, sizeof *found->items);
    found->items[found->count++] =
        (struct library){arena_format(found->arena, "%s", soname), arena_format(found->arena, "%s", path), mode, NULL};
}

/* Without an ld.so.cache: what lies in the usual directories. */
static void look_in_directories(struct host_libraries *found, const char *glob, enum family_mode mode)
{
    for (size_t i = 0; i < sizeof COMMON / sizeof *COMMON; i++) {
        DIR *stream = opendir(COMMON[i]);
        for (const struct dirent *item; stream != NULL && (item = readdir(stream)) != NULL;)
            if (fnmatch(glob, item->d_name, 0) == 0)
                add(found, item->d_name, arena_format(found->arena, "%s/%s", COMMON[i], item->d_name), mode);
        if (stream != NULL)
            closedir(stream);
    }
}

static void look_for(struct host_libraries *found, const struct ldcache *cache, const char *glob, enum family_mode mode)
{
    const char *soname, *path;
    if (cache->count == 0)
        look_in_directories(found, glob, mode);
    for (uint32_t index = 0; ldcache_next(cache, &index, &soname, &path);)
        if (soname[0] == glob[0] && fnmatch(glob, soname, 0) == 0)
            add(found, soname, path, mode);
}

/* The CONF value `key SONAME …` for a library: what follows the name; NULL for none. */
static const char *value_for(const struct bundle *bundle, const char *key, const char *soname, const char **cursor)
{
    const size_t length = strlen(soname);
    for (const char *value; (value = conf_next(bundle, key, cursor)) != NULL;)
        if (strncmp(value, soname, length) == 0 && (value[length] == ' ' || value[length] == '\0'))
            return value + length;
    return NULL;
}

/* Is a word in a text of words? `last` becomes the last one that begins as it does, up to the underscore: the newest. */
static bool has_word(struct arena *arena, const char *text, const char *wanted, const char **last)
{
    const size_t kind = strcspn(wanted, "0123456789");
    for (const char *word; (word = next_word(arena, &text)) != NULL;) {
        if (strcmp(word, wanted) == 0)
            return true;
        if (strncmp(word, wanted, kind) == 0 && word[kind] >= '0' && word[kind] <= '9')
            *last = word;
    }
    return false;
}

/* What the library needs of the bundle's libc and its like, which stay the bundle's. */
static const char *unfit_under(const struct host_libraries *found, const struct elf *elf)
{
    struct elf_version needed = {0};
    while (elf_next_needed_version(elf, &needed)) {
        const char *cursor = NULL, *last = "none of this kind";
        const char *provided = value_for(found->bundle, "provides", needed.file, &cursor);
        if (provided != NULL && !has_word(found->arena, provided, needed.name, &last))
            return arena_format(found->arena, "it needs %s of %s, and the bundle's has %s", needed.name, needed.file, last);
    }
    return NULL;
}

static bool defines(const struct elf *elf, const char *name)
{
    struct elf_version version = {0};
    while (elf_next_defined_version(elf, &version))
        if (strcmp(version.name, name) == 0)
            return true;
    return false;
}

/* What the bundle needs of the library. */
static const char *unfit_over(const struct host_libraries *found, const struct elf *elf, const char *soname)
{
    const char *cursor = NULL;
    for (const char *rest; (rest = value_for(found->bundle, "host-need", soname, &cursor)) != NULL;) {
        next_word(found->arena, &rest); /* must or may */
        const char *by = next_word(found->arena, &rest);
        for (const char *version; (version = next_word(found->arena, &rest)) != NULL;)
            if (!defines(elf, version))
                return arena_format(found->arena, "it lacks %s, which %s needs", version, by);
    }
    return NULL;
}

/* Has the closure a file of this name where its loader looks by default? */
static bool in_bundle(const struct host_libraries *found, const char *soname)
{
    for (size_t i = 0; i < found->directory_count; i++) {
        const char *directory = found->directories[i];
        const char *usr = strncmp(directory, "/usr/", 5) == 0 ? "" : "/usr"; /* /lib is a link on most systems */
        if (bundle_find(found->bundle, arena_format(found->arena, "%s/%s", directory, soname)) != NO_ENTRY ||
            bundle_find(found->bundle, arena_format(found->arena, "%s%s/%s", usr, directory, soname)) != NO_ENTRY)
            return true;
    }
    return false;
}

/* Judge a library, and find what it needs and the bundle has not: that is judged after it, since the list grows. */
static void judge(struct host_libraries *found, const struct ldcache *cache, size_t index)
{
    const struct library library = found->items[index]; /* a copy: the list may move */
    struct elf elf;
    const char *unfit = "it is not an ELF file";
    if (elf_open(&elf, library.path)) {
        unsigned next = 0;
        unfit = unfit_under(found, &elf);
        if (unfit == NULL)
            unfit = unfit_over(found, &elf, library.soname);
        for (const char *name; unfit == NULL && (name = elf_string(&elf, 1 /* DT_NEEDED */, &next)) != NULL;) {
            if (known(found, name) != NULL || in_bundle(found, name) || strncmp(name, "ld-", 3) == 0)
                continue;
            look_for(found, cache, name, library.mode);
            if (known(found, name) == NULL)
                unfit = arena_format(found->arena, "it needs %s, which neither the bundle nor this node has", name);
        }
        elf_close(&elf);
    }
    found->items[index].unfit = unfit;
}

/* A family that is used in the bundle's stead is used as a whole: not at all when one that the bundle needs does not fit. */
static void keep_or_drop(struct host_libraries *found, size_t from)
{
    const char *unfit = NULL;
    for (size_t i = from; i < found->count && unfit == NULL; i++) {
        const char *cursor = NULL;
        if (value_for(found->bundle, "host-need", found->items[i].soname, &cursor) != NULL)
            unfit = found->items[i].unfit;
    }
    for (size_t i = from; i < found->count && unfit != NULL; i++)
        if (found->items[i].unfit == NULL)
            found->items[i].unfit = unfit;
}

static void find_family(struct host_libraries *found, const struct ldcache *cache, const char *family, bool mpi)
{
    const size_t from = found->count;
    next_word(found->arena, &family); /* its name */
    const char *mode = next_word(found->arena, &family);
    const enum family_mode kind = mode == NULL || strcmp(mode, "prefer") == 0 ? FAMILY_PREFER : strcmp(mode, "never") == 0 ? FAMILY_NEVER : FAMILY_ASKED;
    if (kind == FAMILY_ASKED && !mpi)
        return;
    const char *rest = family;
    for (const char *word; (word = next_word(found->arena, &rest)) != NULL;)
        if (word[0] != '/')
            look_for(found, cache, word, kind);
    for (size_t i = from; i < found->count; i++)
        judge(found, cache, i);
    if (kind != FAMILY_NEVER)
        keep_or_drop(found, from);
    bool used = false;
    for (size_t i = from; i < found->count; i++)
        used = used || found->items[i].unfit == NULL;
    for (const char *word; used && (word = next_word(found->arena, &family)) != NULL;) {
        if (!path_is_normal(word))
            continue;
        found->paths = reallocate(found->paths, found->path_count + 1, sizeof *found->paths);
        found->paths[found->path_count++] = word;
    }
}

void host_libraries_find(struct host_libraries *found, const struct bundle *bundle, bool mpi, struct arena *arena)
{
    struct ldcache cache = {0};
    *found = (struct host_libraries){.arena = arena, .bundle = bundle, .mpi = mpi};
    if (conf_get(bundle, "host-family") == NULL)
        return;
    for (const char *cursor = NULL, *path; (path = conf_next(bundle, "library-directory", &cursor)) != NULL;)
        if (path_is_normal(path)) {
            found->directories = reallocate(found->directories, found->directory_count + 1, sizeof *found->directories);
            found->directories[found->directory_count++] = path;
        }
    ldcache_open(&cache, "/etc/ld.so.cache");
    for (const char *cursor = NULL, *family; (family = conf_next(bundle, "host-family", &cursor)) != NULL;)
        find_family(found, &cache, family, mpi);
    ldcache_close(&cache);
}

void host_libraries_free(struct host_libraries *found)
{
    free(found->items);
    free(found->directories);
    free(found->paths);
    *found = (struct host_libraries){0};
}

bool host_libraries_check(const struct host_libraries *found, struct error *error)
{
    for (const char *cursor = NULL, *need; found->bundle != NULL && (need = conf_next(found->bundle, "host-need", &cursor)) != NULL;) {
        const char *soname = next_word(found->arena, &need), *kind = next_word(found->arena, &need), *by = next_word(found->arena, &need);
        if (kind == NULL || by == NULL || strcmp(kind, "must") != 0)
            continue;
        const struct library *library = known(found, soname);
        if (library == NULL) {
            tried(error, "/etc/ld.so.cache%s", access("/etc/ld.so.cache", R_OK) == 0 ? "" : " (there is none), /lib64, /usr/lib64, ...");
            return fail(error, EXIT_NODE, "run it on a node that has this driver; --force (SDEE_FORCE=1) tries anyway",
                        "%s, which %s needs and only a node's driver provides, is not on this node", soname, by);
        }
        if (library->unfit != NULL)
            return fail(error, EXIT_NODE, "trace and bundle the job on a system whose libraries fit this node's; --force (SDEE_FORCE=1) tries anyway",
                        "%s needs this node's own %s (%s), which does not fit: %s", by, soname, library->path, library->unfit);
    }
    return true;
}

/* What is on the node of the kind, when it is not what is needed. */
static void tell_mpi(const struct host_libraries *found, struct error *error)
{
    size_t count = 0;
    for (size_t i = 0; i < found->count; i++)
        if (found->items[i].mode == FAMILY_ASKED && strncmp(found->items[i].soname, "libmpi", 6) == 0) {
            tried(error, "%s (%s)", found->items[i].soname, found->items[i].path);
            count++;
        }
    if (count == 0)
        tried(error, "/etc/ld.so.cache: no MPI library in it");
}

bool host_libraries_check_mpi(const struct host_libraries *found, struct error *error)
{
    static const char hint[] = "without --mpi host (SDEE_MPI=host) the bundle's own MPI is used";
    const char *cursor = NULL;
    if (found->bundle == NULL || conf_get(found->bundle, "host-symbols") == NULL)
        return fail(error, EXIT_NODE, hint, "--mpi host: the bundle's programs call no MPI library that a node's could replace");
    for (const char *rest; (rest = conf_next(found->bundle, "host-symbols", &cursor)) != NULL;) {
        const char *soname = next_word(found->arena, &rest), *by = next_word(found->arena, &rest);
        const struct library *library = soname != NULL ? known(found, soname) : NULL;
        struct elf elf;
        if (library == NULL) {
            tell_mpi(found, error);
            return fail(error, EXIT_NODE, hint, "--mpi host: %s, which %s needs, is not on this node", soname, by);
        }
        if (library->unfit != NULL)
            return fail(error, EXIT_NODE, hint, "--mpi host: this node's %s (%s) does not fit: %s", soname, library->path, library->unfit);
        if (!elf_open(&elf, library->path))
            return fail(error, EXIT_NODE, hint, "--mpi host: %s cannot be read", library->path);
        const char *missing = NULL;
        for (const char *symbol; missing == NULL && (symbol = next_word(found->arena, &rest)) != NULL;)
            missing = elf_defines(&elf, symbol) ? NULL : symbol;
        elf_close(&elf);
        if (missing != NULL)
            return fail(error, EXIT_NODE, hint, "--mpi host: this node's %s (%s) lacks %s, which %s calls", soname, library->path, missing, by);
    }
    return true;
}

const char *host_libraries_missing(const struct host_libraries *found)
{
    const char *names = "";
    for (const char *cursor = NULL, *name; found->bundle != NULL && (name = conf_next(found->bundle, "host-used", &cursor)) != NULL;) {
        bool here = false; /* the trace tells a file's own name, libcuda.so.535.104, where another version will do */
        for (size_t i = 0; i < found->count && !here; i++) {
            const size_t stem = strcspn(name, ".");
            here = strncmp(found->items[i].soname, name, stem) == 0 && found->items[i].soname[stem] == '.';
        }
        if (!here)
            names = arena_format(found->arena, "%s%s%s", names, names[0] != '\0' ? ", " : "", name);
    }
    return names;
}

void host_libraries_print(const struct host_libraries *found)
{
    for (size_t i = 0; i < found->count; i++) {
        const struct library *library = &found->items[i];
        note("library: %s -> %s  # %s%s", library->soname, library->path, library->unfit != NULL ? "not used: " : "the node's own",
             library->unfit != NULL ? library->unfit : "");
    }
}
