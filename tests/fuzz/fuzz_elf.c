/* Files of the node that the launcher reads: ELF files and scripts (elf.h, script.h). Input: the file. */
#include "fuzz.h"
#include "launcher/node/elf.h"
#include "launcher/node/script.h"

#include <elf.h>
#include <limits.h>

static void walk(const struct elf *elf)
{
    static const uint32_t types[] = {PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_NOTE};
    struct elf_version needed = {0}, defined = {0};
    uint64_t sum = 0;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        const uint8_t *content;
        uint64_t size;
        for (unsigned index = 0; elf_segment(elf, types[i], &index, &content, &size);)
            sum += size > 0 ? content[0] + content[size - 1] : 0u;
    }
    for (unsigned index = 0; elf_string(elf, DT_NEEDED, &index) != NULL;)
        sum += index;
    while (elf_next_needed_version(elf, &needed))
        sum += strlen(needed.file) + strlen(needed.name);
    while (elf_next_defined_version(elf, &defined))
        sum += strlen(defined.name);
    elf_defines(elf, "MPI_Init");
    elf_defines(elf, "f");
    if (sum == 1)
        fprintf(stderr, "%llu\n", (unsigned long long)sum); /* or a compiler leaves it all out */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    char interpreter[PATH_MAX], hex[129];
    struct elf elf;
    if (script_interpreter(path, interpreter))
        MUST(strlen(interpreter) < PATH_MAX);
    script_is_text(path);
    if (elf_build_id(path, hex, sizeof hex))
        MUST(strlen(hex) < sizeof hex);
    if (elf_open(&elf, path)) {
        walk(&elf);
        elf_close(&elf);
    }
    return 0;
}
