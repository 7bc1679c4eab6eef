/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#include "system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_LINKS 40

void system_start(int *argc, char ***argv)
{
    int descriptor;

    (void)argc;
    (void)argv;
    /* At a limit of file sizes (ulimit -f) the write then fails, instead of ending the program. */
    signal(SIGXFSZ, SIG_IGN);

    for (descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; descriptor++)
        if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF)
            /* This gets the lowest free descriptor, which is the closed one. Using it in its own direction fails, as before. */
            (void)!open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

FILE *system_open(const char *path, const char *mode)
{
    FILE *file = fopen(path, mode);
    system_id id;

    /* A folder can be opened, but not read. */
    if (file && !system_find_open(file, &id) && id.kind == SYSTEM_FOLDER) {
        fclose(file);
        errno = EISDIR;
        return NULL;
    }
    return file;
}

int system_same(const system_id *a, const system_id *b)
{
    return a->device == b->device && a->index == b->index;
}

static int known(int failed, const struct stat *status, system_id *id)
{
    const mode_t mode = failed ? 0 : status->st_mode;

    memset(id, 0, sizeof *id);
    if (failed)
        return -1;
    id->device = (uint64_t)status->st_dev;
    id->index = (uint64_t)status->st_ino;
    if (S_ISREG(mode) || S_ISBLK(mode))
        id->kind = SYSTEM_FILE;
    else if (S_ISDIR(mode))
        id->kind = SYSTEM_FOLDER;
    else
        id->kind = S_ISFIFO(mode) || S_ISSOCK(mode) ? SYSTEM_PIPE : SYSTEM_DEVICE;
    return 0;
}

int system_find(const char *path, system_id *id)
{
    struct stat status;
    return known(stat(path, &status), &status, id);
}

int system_find_open(FILE *file, system_id *id)
{
    struct stat status;
    return known(fstat(fileno(file), &status), &status, id);
}

int system_find_new(const char *path, system_id *folder, char name[SYSTEM_NAME])
{
    char at[SYSTEM_PATH], link[SYSTEM_PATH];
    size_t length;
    int i;

    if (strlen(path) >= sizeof at)
        return -1;
    strcpy(at, path);
    for (i = 0; i < MOST_LINKS; i++) {
        ssize_t size = readlink(at, link, sizeof link - 1);
        if (size < 0)
            break;
        link[size] = 0;
        length = link[0] == '/' ? 0 : system_folder_length(at);
        if (length + (size_t)size >= sizeof at)
            return -1;
        memcpy(at + length, link, (size_t)size + 1);
    }
    length = system_folder_length(at);
    if (strlen(at + length) >= SYSTEM_NAME)
        return -1;
    strcpy(name, at + length);
    strcpy(at + length, length ? "" : ".");
    return system_find(at, folder);
}

size_t system_folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

int system_list(const char *folder, int (*each)(void *user, const char *name), void *user)
{
    DIR *entries = opendir(folder);
    struct dirent *entry;
    int end = 0;

    while (entries && !end && (entry = readdir(entries)))
        end = each(user, entry->d_name);
    if (entries)
        closedir(entries);
    return end;
}

int system_is_terminal(FILE *file)
{
    return isatty(fileno(file));
}

void system_on_interrupt(void (*handler)(int))
{
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM};
    struct sigaction action, before;
    size_t i;

    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    for (i = 0; i < sizeof signals / sizeof *signals; i++)
        /* A signal that nohup or the shell ignores stays ignored. */
        if (!sigaction(signals[i], NULL, &before) && before.sa_handler != SIG_IGN)
            sigaction(signals[i], &action, NULL);
}
