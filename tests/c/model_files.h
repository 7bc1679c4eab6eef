/* A temporary folder for copies of the golden model, which the tests damage, and for latent files. */
#ifndef MODEL_FILES_H
#define MODEL_FILES_H

#include "one_clip.h"
#include "os.h"

#include <unistd.h>

#define CONFIG_JSON "config.json"
#define INDEX_JSON "diffusion_pytorch_model.safetensors.index.json"
#define WEIGHTS "model.safetensors"
#define LATENT_FILE "latents.safetensors"
#define BIAS "decoder.norm_out.norm.bias"

static char folder[1000];

static const char *const files[] = {CONFIG_JSON, WEIGHTS, INDEX_JSON, "a.safetensors", "b.safetensors",
                                    "model.ckpt", "pytorch_model.bin"};

static inline const char *path_of(const char *in, const char *name)
{
    static char path[2000];

    snprintf(path, sizeof path, "%s/%s", in, name);
    return path;
}

/* The caller frees it; a NUL follows the bytes. */
static inline char *load(const char *path, size_t *size)
{
    FILE *file = fopen(path, "rb");
    char *bytes = calloc(1, 1 << 20);

    must(file && bytes, path);
    *size = fread(bytes, 1, (1 << 20) - 1, file);
    fclose(file);
    return bytes;
}

static inline void put(const char *name, const void *bytes, size_t size)
{
    FILE *file = fopen(path_of(folder, name), "wb");

    must(file && fwrite(bytes, 1, size, file) == size && !fclose(file), name);
}

static inline void put_text(const char *name, const char *text)
{
    put(name, text, strlen(text));
}

static inline void drop(const char *name)
{
    must(!remove(path_of(folder, name)), name);
}

/* The first bytes of the golden weights under any name. */
static inline void put_weights(const char *name, size_t size)
{
    size_t whole;
    char *bytes = load(path_of(golden, WEIGHTS), &whole);

    put(name, bytes, size < whole ? size : whole);
    free(bytes);
}

/* A case may have put a folder in the place of a file. */
static inline void remove_files(void)
{
    size_t i;

    for (i = 0; i < sizeof files / sizeof *files; i++)
        if (remove(path_of(folder, files[i])))
            rmdir(path_of(folder, files[i]));
}

static inline void good_files(void)
{
    size_t size;
    char *config = load(path_of(golden, CONFIG_JSON), &size);

    remove_files();
    put(CONFIG_JSON, config, size);
    put_weights(WEIGHTS, SIZE_MAX);
    free(config);
}

/* Replaces a text in the config or in the header of the weights. */
static inline void edit(const char *name, const char *from, const char *to)
{
    const size_t start = strcmp(name, WEIGHTS) ? 0 : 8;
    size_t size, before;
    char *bytes = load(path_of(folder, name), &size), *place = strstr(bytes + start, from), *changed;
    uint64_t header;

    must(place != NULL, from);
    before = (size_t)(place - bytes);
    if (start) {
        memcpy(&header, bytes, 8);
        header = header + strlen(to) - strlen(from);
        memcpy(bytes, &header, 8);
    }
    changed = malloc(size + strlen(to));
    must(changed != NULL, "malloc");
    memcpy(changed, bytes, before);
    memcpy(changed + before, to, strlen(to));
    memcpy(changed + before + strlen(to), place + strlen(from), size - before - strlen(from));
    put(name, changed, size + strlen(to) - strlen(from));
    free(changed);
    free(bytes);
}

/* Overwrites part of the weights file. */
static inline void patch(size_t position, const void *with, size_t size)
{
    size_t whole;
    char *bytes = load(path_of(folder, WEIGHTS), &whole);

    memcpy(bytes + position, with, size);
    put(WEIGHTS, bytes, position + size > whole ? position + size : whole);
    free(bytes);
}

static inline void number(const char *key, size_t index, float value)
{
    size_t size, offset;
    char *bytes = load(path_of(folder, WEIGHTS), &size), *place = strstr(bytes + 8, key);
    uint64_t header;

    memcpy(&header, bytes, 8);
    must(place && (place = strstr(place, "\"data_offsets\":[")), key);
    offset = strtoul(place + 16, NULL, 10);
    patch(8 + (size_t)header + offset + 4 * index, &value, 4);
    free(bytes);
}

static inline void folder_make(void)
{
    must(!os_temporary_folder(folder, sizeof folder), folder);
}

static inline void folder_remove(void)
{
    remove_files();
    must(!rmdir(folder), folder);
}

#endif
