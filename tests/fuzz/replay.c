/* An engine that fuzzes nothing: it runs the inputs in the files and directories that are named, for the tests and to repeat a finding. */
#include <dirent.h>
#include <sys/stat.h>

#include "fuzz.h"

static void run_file(const char *path)
{
    struct stat status;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    uint8_t *data = malloc((size_t)status.st_size); /* no more: the sanitizer sees what is read behind it */
    if (status.st_size > 0 && read(fd, data, (size_t)status.st_size) != (ssize_t)status.st_size)
        exit(2);
    close(fd);
    fprintf(stderr, "input %s\n", path);
    LLVMFuzzerTestOneInput(data, (size_t)status.st_size);
    free(data);
}

int main(int count, char **arguments)
{
    int inputs = 0;
    for (int i = 1; i < count; i++) {
        DIR *stream = opendir(arguments[i]);
        if (stream == NULL) {
            run_file(arguments[i]);
            inputs++;
        }
        for (const struct dirent *item; stream != NULL && (item = readdir(stream)) != NULL;)
            if (item->d_name[0] != '.') {
                char path[4096];
                snprintf(path, sizeof path, "%s/%s", arguments[i], item->d_name);
                run_file(path);
                inputs++;
            }
        if (stream != NULL)
            closedir(stream);
    }
    printf("%d inputs\n", inputs);
    return inputs > 0 ? 0 : 2;
}
