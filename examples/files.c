/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#define _POSIX_C_SOURCE 200809L

#include "files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MOST_LINKS 40

/* The length of a path's folder with its slash; 0 for a plain name. */
static size_t folder_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

static int known(int failed, const struct stat *status, file_id *id)
{
    memset(id, 0, sizeof *id);
    if (failed)
        return -1;
    id->device = status->st_dev;
    id->inode = status->st_ino;
    id->mode = status->st_mode;
    return 0;
}

static int path_id(const char *path, file_id *id)
{
    struct stat status;
    return known(stat(path, &status), &status, id);
}

static int descriptor_id(int descriptor, file_id *id)
{
    struct stat status;
    return known(fstat(descriptor, &status), &status, id);
}

/* Where a file that does not exist would be created. The last part of its path may be a dangling link. */
static int new_file_id(const char *path, file_id *id)
{
    char at[PATH_MAX], link[PATH_MAX];
    size_t folder;
    int i;

    if (strlen(path) >= sizeof at)
        return -1;
    strcpy(at, path);
    for (i = 0; i < MOST_LINKS; i++) {
        ssize_t length = readlink(at, link, sizeof link - 1);
        if (length < 0)
            break;
        link[length] = 0;
        folder = link[0] == '/' ? 0 : folder_length(at);
        if (folder + (size_t)length >= sizeof at)
            return -1;
        memcpy(at + folder, link, (size_t)length + 1);
    }
    folder = folder_length(at);
    if (strlen(at + folder) > NAME_MAX)
        return -1;
    strcpy(link, at + folder);
    strcpy(at + folder, folder ? "" : ".");
    if (path_id(at, id))
        return -1;
    id->mode = S_IFREG;
    strcpy(id->name, link);
    return 0;
}

static int same(const file_id *a, const file_id *b)
{
    return a->device == b->device && a->inode == b->inode && !strcmp(a->name, b->name);
}

/* Whether a file would be damaged if it were also read or written elsewhere. Two writers damage a pipe too. */
static int is_kept(const file_id *id, int two_writers)
{
    return S_ISREG(id->mode) || S_ISBLK(id->mode) || (two_writers && (S_ISFIFO(id->mode) || S_ISSOCK(id->mode)));
}

/* A file that cannot be found is reported when it is opened. */
static int find(const char *path, int writes, file_id *id)
{
    if (!strcmp(path, "-"))
        return descriptor_id(writes ? STDOUT_FILENO : STDIN_FILENO, id);
    return path_id(path, id) && new_file_id(path, id) ? -1 : 0;
}

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length > tail && !strcmp(text + length - tail, end);
}

/* -1 if the path is too long. `path` has room for PATH_MAX. */
static int join(char *path, const char *folder, const char *name)
{
    int length = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return length < 0 || length >= PATH_MAX ? -1 : 0;
}

/* The files that the library may open in a checkpoint's folder: config, weights and their index. */
static int is_model_file(const char *name)
{
    if (name[0] == '.')
        return 0;
    if (!strcmp(name, "config.json") || !strcmp(name, "model_index.json") || ends_with(name, ".safetensors"))
        return 1;
    return ends_with(name, ".json") && strstr(name, ".safetensors") && strstr(name, ".index.");
}

static int in_folder(const char *folder, const file_id *id)
{
    DIR *entries = opendir(folder);
    struct dirent *entry;
    char path[PATH_MAX];
    file_id own;
    int found = 0;

    while (entries && !found && (entry = readdir(entries)))
        found = is_model_file(entry->d_name) && !join(path, folder, entry->d_name) && !path_id(path, &own) && same(&own, id);
    if (entries)
        closedir(entries);
    return found;
}

/* A pipeline has the model in its folder vae. */
static int in_checkpoint(const char *folder, const file_id *id)
{
    char vae[PATH_MAX];
    return in_folder(folder, id) || (!join(vae, folder, "vae") && in_folder(vae, id));
}

/* A download cache keeps its versions in a folder of snapshots. */
static int in_cache(const char *folder, const file_id *id)
{
    char snapshots[PATH_MAX], path[PATH_MAX];
    DIR *entries = join(snapshots, folder, "snapshots") ? NULL : opendir(snapshots);
    struct dirent *entry;
    int found = 0;

    while (entries && !found && (entry = readdir(entries)))
        found = entry->d_name[0] != '.' && !join(path, snapshots, entry->d_name) && in_checkpoint(path, id);
    if (entries)
        closedir(entries);
    return found;
}

/* The model is a folder, a file of weights with config.json beside it, or an index with its shards beside it. */
static int in_model(const char *model, const file_id *id)
{
    char path[PATH_MAX];
    file_id own;
    int index, length;

    if (id->name[0] || path_id(model, &own))
        return 0;
    if (S_ISDIR(own.mode))
        return in_checkpoint(model, id) || in_cache(model, id);
    if (same(&own, id))
        return 1;
    index = ends_with(model, ".json");
    length = snprintf(path, sizeof path, "%.*s%s", (int)folder_length(model), model, index ? "." : "config.json");
    if (length < 0 || (size_t)length >= sizeof path)
        return 0;
    return index ? in_folder(path, id) : !path_id(path, &own) && same(&own, id);
}

static int add(files *f, const char *what, const char *path, int writes)
{
    file_use use;
    int i;

    if (!path || find(path, writes, &use.id))
        return 0;
    use.what = what;
    use.writes = writes;
    for (i = 0; i < f->count; i++) {
        const file_use *other = &f->uses[i];
        if ((writes || other->writes) && same(&use.id, &other->id) && is_kept(&use.id, writes && other->writes)) {
            snprintf(f->error, sizeof f->error, "%s: %s is %s; nothing was written; give another name", path, what,
                     other->what);
            return -1;
        }
    }
    if (writes && f->model && is_kept(&use.id, 0) && in_model(f->model, &use.id)) {
        snprintf(f->error, sizeof f->error, "%s: %s is a file of the model, or has the name of one; nothing was written; "
                 "give another folder", path, what);
        return -1;
    }
    if (f->count < (int)(sizeof f->uses / sizeof *f->uses))
        f->uses[f->count++] = use;
    return 0;
}

void files_start(void)
{
    int descriptor;

    /* At a limit of file sizes (ulimit -f) the write then fails, instead of ending the program. */
    signal(SIGXFSZ, SIG_IGN);

    for (descriptor = STDIN_FILENO; descriptor <= STDERR_FILENO; descriptor++)
        if (fcntl(descriptor, F_GETFD) < 0 && errno == EBADF)
            /* This gets the lowest free descriptor, which is the closed one. Using it in its own direction fails, as before. */
            (void)!open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

int files_read(files *f, const char *what, const char *path)
{
    return add(f, what, path, 0);
}

int files_write(files *f, const char *what, const char *path)
{
    return add(f, what, path, 1);
}

void files_model(files *f, const char *path)
{
    f->model = path;
}

int is_standard_output(const char *path)
{
    file_id output, other;

    if (!strcmp(path, "-"))
        return 1;
    /* A device such as /dev/null can take two outputs. */
    return !descriptor_id(STDOUT_FILENO, &output) && !path_id(path, &other) && same(&output, &other) &&
           (is_kept(&output, 1) || isatty(STDOUT_FILENO));
}

FILE *open_input(const char *path)
{
    FILE *file;
    file_id id;

    if (!strcmp(path, "-"))
        return stdin;
    file = fopen(path, "rb");
    /* A folder can be opened, but not read. */
    if (file && !descriptor_id(fileno(file), &id) && S_ISDIR(id.mode)) {
        fclose(file);
        errno = EISDIR;
        return NULL;
    }
    return file;
}

FILE *open_output(const char *path)
{
    return strcmp(path, "-") ? fopen(path, "wb") : stdout;
}

int close_output(FILE *file)
{
    int failed = fflush(file) != 0 || ferror(file);
    return fclose(file) || failed ? -1 : 0;
}
