/* SPDX-License-Identifier: MIT OR Apache-2.0 */
#include "files.h"

#include <string.h>

static int path_id(const char *path, file_id *id)
{
    memset(id, 0, sizeof *id);
    return system_find(path, &id->at);
}

static int new_file_id(const char *path, file_id *id)
{
    if (system_find_new(path, &id->at, id->name))
        return -1;
    id->at.kind = SYSTEM_FILE;
    return 0;
}

static int same(const file_id *a, const file_id *b)
{
    return system_same(&a->at, &b->at) && !strcmp(a->name, b->name);
}

/* Whether a file would be damaged if it were also read or written elsewhere. Two writers damage a pipe too. */
static int is_kept(const file_id *id, int two_writers)
{
    return id->at.kind == SYSTEM_FILE || (two_writers && id->at.kind == SYSTEM_PIPE);
}

/* A file that cannot be found is reported when it is opened. */
static int find(const char *path, int writes, file_id *id)
{
    memset(id, 0, sizeof *id);
    if (!strcmp(path, "-"))
        return system_find_open(writes ? stdout : stdin, &id->at);
    return path_id(path, id) && new_file_id(path, id) ? -1 : 0;
}

static int ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length > tail && !strcmp(text + length - tail, end);
}

/* -1 if the path is too long. `path` has room for SYSTEM_PATH. */
static int join(char *path, const char *folder, const char *name)
{
    int length = snprintf(path, SYSTEM_PATH, "%s/%s", folder, name);
    return length < 0 || length >= SYSTEM_PATH ? -1 : 0;
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

typedef struct search {
    const char *folder;
    const file_id *id;
} search;

static int is_searched_file(void *user, const char *name)
{
    const search *s = user;
    char path[SYSTEM_PATH];
    file_id own;

    return is_model_file(name) && !join(path, s->folder, name) && !path_id(path, &own) && same(&own, s->id);
}

static int in_folder(const char *folder, const file_id *id)
{
    search s = {folder, id};
    return system_list(folder, is_searched_file, &s);
}

/* A pipeline has the model in its folder vae. */
static int in_checkpoint(const char *folder, const file_id *id)
{
    char vae[SYSTEM_PATH];
    return in_folder(folder, id) || (!join(vae, folder, "vae") && in_folder(vae, id));
}

static int in_version(void *user, const char *name)
{
    const search *s = user;
    char path[SYSTEM_PATH];

    return name[0] != '.' && !join(path, s->folder, name) && in_checkpoint(path, s->id);
}

/* A download cache keeps its versions in a folder of snapshots. */
static int in_cache(const char *folder, const file_id *id)
{
    char snapshots[SYSTEM_PATH];
    search s = {snapshots, id};
    return !join(snapshots, folder, "snapshots") && system_list(snapshots, in_version, &s);
}

/* The model is a folder, a file of weights with config.json beside it, or an index with its shards beside it. */
static int in_model(const char *model, const file_id *id)
{
    char path[SYSTEM_PATH];
    file_id own;
    int index, length;

    if (id->name[0] || path_id(model, &own))
        return 0;
    if (own.at.kind == SYSTEM_FOLDER)
        return in_checkpoint(model, id) || in_cache(model, id);
    if (same(&own, id))
        return 1;
    index = ends_with(model, ".json");
    length = snprintf(path, sizeof path, "%.*s%s", (int)system_folder_length(model), model, index ? "." : "config.json");
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
    return !find("-", 1, &output) && !path_id(path, &other) && same(&output, &other) &&
           (is_kept(&output, 1) || system_is_terminal(stdout));
}

FILE *open_input(const char *path)
{
    return strcmp(path, "-") ? system_open(path, "rb") : stdin;
}

FILE *open_output(const char *path)
{
    return strcmp(path, "-") ? system_open(path, "wb") : stdout;
}

int close_output(FILE *file)
{
    int failed = fflush(file) != 0 || ferror(file);
    return fclose(file) || failed ? -1 : 0;
}
