/* opens N DIR: open and close DIR/0 … DIR/199 in turn, N times in all. What a metadata-heavy job does to a tracer. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    long n = atol(argv[1]);
    char name[4096];
    for (long i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s/%ld", argv[2], i % 200);
        int fd = open(name, O_RDONLY);
        if (fd < 0) return 1;
        close(fd);
    }
    return 0;
}
