/* stats N DIR: lstat N of the names below DIR, walking it again from the start until N are done. */
#define _XOPEN_SOURCE 700
#include <ftw.h>
#include <stdlib.h>
#include <sys/stat.h>

static long left;

static int visit(const char *path, const struct stat *st, int kind, struct FTW *where) {
    (void)path, (void)st, (void)kind, (void)where;
    return --left <= 0;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    left = atol(argv[1]);
    while (left > 0)
        if (nftw(argv[2], visit, 64, FTW_PHYS) < 0) return 1;
    return 0;
}
