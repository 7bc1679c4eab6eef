/* How ONNX Runtime is found, and the errors if it is not: wrong files, an old version (old_onnxruntime.c), none at all.
 * A good one must work afterwards in the same process.
 *
 *     test_runtime [GOOD]
 *
 * GOOD is the good one. Without it, one must be found. Where the program has one beside it, as on Windows, the library never
 * misses one, and what it says of that is not tested.
 *
 * Expects the library where os_library_place says, and old_onnxruntime.so, a library on Windows too, beside the program. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "os.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef wfvae_status open_fn(const char *path, const wfvae_model_options *options, wfvae_model **model);
typedef const char *last_error_fn(const wfvae_stream *stream);
typedef void close_fn(wfvae_model *model);

/* The library to test: ours, or a copy with no ONNX Runtime beside it. */
static struct {
    open_fn *open;
    last_error_fn *last_error;
    close_fn *close;
} library = {wfvae_model_open, wfvae_last_error, wfvae_model_close};

static char folder[1000], old[1000], text_file[1100], beside[1100], versioned[1100], copy[1100], none[1400];
static const char *good;

/* Opens the built-in model with a given runtime, or with the one that is found. The error must hold all three texts. */
static void check(const char *name, const char *runtime, wfvae_status expected, const char *a, const char *b,
                  const char *c)
{
    wfvae_model_options options = {0};
    wfvae_model *model;
    wfvae_status found;
    const char *error;
    int ok;

    options.struct_size = sizeof options;
    options.runtime_path = runtime;
    found = library.open(NULL, &options, &model);
    error = library.last_error(NULL);
    ok = found == expected && (!found || (strstr(error, a) && strstr(error, b) && strstr(error, c)));
    if (!ok)
        printf("%s: found %d \"%s\", expected %d \"%s\", \"%s\", \"%s\"\n", name, (int)found, found ? error : "",
               (int)expected, a, b, c);
    result(name, ok);
    library.close(model);
}

static void copy_file(const char *from, const char *to)
{
    FILE *in = fopen(from, "rb"), *out = fopen(to, "wb");
    static char bytes[1 << 16];
    size_t size;

    must(in && out, from);
    while ((size = fread(bytes, 1, sizeof bytes, in)) > 0)
        must(fwrite(bytes, 1, size, out) == size, to);
    fclose(in);
    must(!fclose(out), to);
}

static void write_text(const char *path)
{
    FILE *file = fopen(path, "wb");

    must(file && fputs("This is not the library that you look for.\n", file) >= 0 && !fclose(file), path);
}

static void test_given(void)
{
    char text[100];

    check("a path where nothing is", "/no/such/onnxruntime.lib", WFVAE_STATUS_RUNTIME_MISSING,
          "cannot load /no/such/onnxruntime.lib", "set WFVAE_ONNXRUNTIME", "from the runtime option");
    check("an empty path", "", WFVAE_STATUS_RUNTIME_MISSING, "ONNX Runtime", "", "from the runtime option");
    check("a folder", folder, WFVAE_STATUS_RUNTIME_MISSING, folder, "", "");
    check("a text file", text_file, WFVAE_STATUS_RUNTIME_MISSING, text_file, "cannot load", "");
    snprintf(text, sizeof text, "%s: not ONNX Runtime", os_foreign);
    check("another library", os_foreign, WFVAE_STATUS_RUNTIME_MISSING, text, "OrtGetApiBase", "from the runtime option");
    check("an old runtime", old, WFVAE_STATUS_RUNTIME_TOO_OLD, "old_onnxruntime.so: found version \"1.10.0\"",
          "needed 1.19 or newer", "from the runtime option");
}

/* A bare name is searched for, but not in the working folder, where anybody may put a library. */
static void test_bare_name(void)
{
    static const char *const name = "wfvae_bare_name.dll";
    char before[1000], path[1100];

    snprintf(path, sizeof path, "%s%c%s", folder, *os_separators, name);
    copy_file(old, path);
    must(getcwd(before, sizeof before) && !chdir(folder), folder);
    check("a bare name in the working folder", name, WFVAE_STATUS_RUNTIME_MISSING, "cannot load wfvae_bare_name.dll", "",
          "from the runtime option");
    must(!chdir(before) && !remove(path), path);
}

static void test_variables(void)
{
    os_set("WFVAE_ONNXRUNTIME", old);
    check("an old runtime by our variable", NULL, WFVAE_STATUS_RUNTIME_TOO_OLD, "found version \"1.10.0\"",
          "needed 1.19 or newer", "from WFVAE_ONNXRUNTIME");
    os_set("ORT_DYLIB_PATH", text_file);
    check("our variable before that of ort", NULL, WFVAE_STATUS_RUNTIME_TOO_OLD, "from WFVAE_ONNXRUNTIME", "", "");
    check("the option before both", os_foreign, WFVAE_STATUS_RUNTIME_MISSING, "from the runtime option", "", "");
    os_set("WFVAE_ONNXRUNTIME", "");
    check("an empty variable is none", NULL, WFVAE_STATUS_RUNTIME_MISSING, text_file, "from ORT_DYLIB_PATH", "");
    os_set("WFVAE_ONNXRUNTIME", NULL);
    os_set("ORT_DYLIB_PATH", NULL);
}

/* The copy, in a folder of its own, must say what it did not find. */
static void test_nothing(void)
{
    void *handle = os_load(copy);
    wfvae_model *model;
    char text[200];
    int linked;

    must(handle != NULL, copy);
    must(!os_find(handle, "wfvae_model_open", &library.open) && !os_find(handle, "wfvae_last_error", &library.last_error) &&
             !os_find(handle, "wfvae_model_close", &library.close),
         "functions");
    must(library.open != wfvae_model_open, "a copy of its own");
    if (!library.open(NULL, NULL, &model)) {
        puts("skipped: what is beside the library, and no runtime anywhere: one is found elsewhere");
        library.close(model);
        goto end;
    }
    write_text(beside);
    check("a text file beside the library", NULL, WFVAE_STATUS_RUNTIME_MISSING, beside, "cannot load",
          os_runtime_damaged);
    copy_file(old, beside);
    check("an old runtime beside the library", NULL, WFVAE_STATUS_RUNTIME_TOO_OLD, beside, "found version \"1.10.0\"",
          "needed 1.19 or newer");
    /* A folder is no library, a link to nothing neither; names with a version count. */
    must(!remove(beside) && !os_make_folder(beside), beside);
    linked = os_runtime_other && !os_symbolic_link("nowhere", versioned);
    snprintf(text, sizeof text, "has no %s", os_runtime_names);
    check("a folder and a broken link beside the library", NULL, WFVAE_STATUS_RUNTIME_MISSING, "ONNX Runtime was not found",
          text, "");
    must(!linked || !remove(versioned), versioned);
    if (os_runtime_other) {
        copy_file(old, versioned);
        check("an old runtime of another name", NULL, WFVAE_STATUS_RUNTIME_TOO_OLD, versioned, "found version \"1.10.0\"", "");
        must(!remove(versioned), versioned);
    }
    must(!rmdir(beside), beside);
    snprintf(none, sizeof none, os_runtime_search, folder);
    check("no runtime anywhere", NULL, WFVAE_STATUS_RUNTIME_MISSING, "ONNX Runtime was not found", os_runtime_advice,
          "or put that file beside libwfvae");
    check("what was searched", NULL, WFVAE_STATUS_RUNTIME_MISSING, "`pip install onnxruntime`",
          "order: WFVAE_ONNXRUNTIME is not set; ORT_DYLIB_PATH is not set", none);
end:
    library.open = wfvae_model_open;
    library.last_error = wfvae_last_error;
    library.close = wfvae_model_close;
}

static void test_good(void)
{
    wfvae_model_info info = {0};
    wfvae_model *model;

    info.struct_size = sizeof info;
    check("a good runtime afterwards", good, WFVAE_STATUS_OK, "", "", "");
    must(!wfvae_model_open(NULL, NULL, &model) && !wfvae_model_get_info(model, &info), "model");
    check("the same one by its path", info.runtime_path, WFVAE_STATUS_OK, "", "", "");
    check("another one", old, WFVAE_STATUS_INVALID_STATE, "old_onnxruntime.so was asked for", info.runtime_path,
          info.runtime_version);
    check("another file of the same name", "/no/such/onnxruntime.lib", WFVAE_STATUS_INVALID_STATE,
          "/no/such/onnxruntime.lib was asked for", info.runtime_path, "");
    check("no other one", NULL, WFVAE_STATUS_OK, "", "", "");
    wfvae_model_close(model);
}

int main(int argc, char **argv)
{
    int length = (int)strlen(argv[0]); /* of the program's folder, with its separator */
    char original[1100];
    const char *own = argv[0];

    good = argc > 1 ? argv[1] : NULL;
    while (length && !strchr(os_separators, own[length - 1]))
        length--;
    if (!length) {
        own = "./";
        length = 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    os_set("WFVAE_ONNXRUNTIME", NULL);
    os_set("ORT_DYLIB_PATH", NULL);
    must(!os_temporary_folder(folder, sizeof folder), folder);
    snprintf(old, sizeof old, "%.*sold_onnxruntime.so", length, own);
    snprintf(original, sizeof original, "%.*s%s%s", length, own, os_library_place, os_library);
    snprintf(text_file, sizeof text_file, "%s%c%s", folder, *os_separators, "text.so");
    snprintf(beside, sizeof beside, "%s%c%s", folder, *os_separators, os_runtime);
    snprintf(versioned, sizeof versioned, "%s%c%s", folder, *os_separators, os_runtime_other ? os_runtime_other : "none");
    snprintf(copy, sizeof copy, "%s%c%s", folder, *os_separators, os_library);
    write_text(text_file);
    copy_file(original, copy);

    test_given();
    test_bare_name();
    test_variables();
    test_nothing();
    test_good();

    must(!remove(text_file), text_file);
    must(os_keeps_loaded || (!remove(copy) && !rmdir(folder)), folder);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
