/* How ONNX Runtime is found, and the errors if it is not: wrong files, an old version (old_onnxruntime.c), none at all.
 * A good one must work afterwards in the same process.
 *
 * Expects libwfvae.so in the folder above the program, and old_onnxruntime.so beside it. */
#define _POSIX_C_SOURCE 200809L

#include "check.h"
#include "temporary.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

/* C has no conversion from an object's pointer to a function's. */
static void find(void *handle, const char *name, void *function)
{
    void *symbol = dlsym(handle, name);

    must(symbol != NULL, name);
    memcpy(function, &symbol, sizeof symbol);
}

static void test_given(void)
{
    check("a path where nothing is", "/no/such/libonnxruntime.so", WFVAE_STATUS_RUNTIME_MISSING,
          "cannot load /no/such/libonnxruntime.so", "set WFVAE_ONNXRUNTIME", "from the runtime option");
    check("an empty path", "", WFVAE_STATUS_RUNTIME_MISSING, "ONNX Runtime", "", "from the runtime option");
    check("a folder", folder, WFVAE_STATUS_RUNTIME_MISSING, folder, "", "");
    check("a text file", text_file, WFVAE_STATUS_RUNTIME_MISSING, text_file, "cannot load", "");
    check("another library", "libm.so.6", WFVAE_STATUS_RUNTIME_MISSING, "libm.so.6: not ONNX Runtime",
          "OrtGetApiBase", "from the runtime option");
    check("an old runtime", old, WFVAE_STATUS_RUNTIME_TOO_OLD, "old_onnxruntime.so: found version \"1.10.0\"",
          "needed 1.19 or newer", "from the runtime option");
}

static void test_variables(void)
{
    setenv("WFVAE_ONNXRUNTIME", old, 1);
    check("an old runtime by our variable", NULL, WFVAE_STATUS_RUNTIME_TOO_OLD, "found version \"1.10.0\"",
          "needed 1.19 or newer", "from WFVAE_ONNXRUNTIME");
    setenv("ORT_DYLIB_PATH", text_file, 1);
    check("our variable before that of ort", NULL, WFVAE_STATUS_RUNTIME_TOO_OLD, "from WFVAE_ONNXRUNTIME", "", "");
    check("the option before both", "libm.so.6", WFVAE_STATUS_RUNTIME_MISSING, "from the runtime option", "", "");
    setenv("WFVAE_ONNXRUNTIME", "", 1);
    check("an empty variable is none", NULL, WFVAE_STATUS_RUNTIME_MISSING, text_file, "from ORT_DYLIB_PATH", "");
    unsetenv("WFVAE_ONNXRUNTIME");
    unsetenv("ORT_DYLIB_PATH");
}

/* The copy, in a folder of its own, must say what it did not find. */
static void test_nothing(void)
{
    void *handle = dlopen(copy, RTLD_NOW | RTLD_LOCAL);
    wfvae_model *model;

    must(handle != NULL, copy);
    find(handle, "wfvae_model_open", &library.open);
    find(handle, "wfvae_last_error", &library.last_error);
    find(handle, "wfvae_model_close", &library.close);
    must(library.open != wfvae_model_open, "a copy of its own");
    write_text(beside);
    check("a text file beside the library", NULL, WFVAE_STATUS_RUNTIME_MISSING, beside, "cannot load",
          "set WFVAE_ONNXRUNTIME");
    copy_file(old, beside);
    check("an old runtime beside the library", NULL, WFVAE_STATUS_RUNTIME_TOO_OLD, beside, "found version \"1.10.0\"",
          "needed 1.19 or newer");
    /* A folder is no library, a link to nothing neither; names with a version count. */
    must(!remove(beside) && !mkdir(beside, 0777) && !symlink("nowhere", versioned), beside);
    check("a folder and a broken link beside the library", NULL, WFVAE_STATUS_RUNTIME_MISSING, "ONNX Runtime was not found",
          "has no libonnxruntime.so*", "");
    must(!remove(versioned), versioned);
    copy_file(old, versioned);
    check("an old runtime of another name", NULL, WFVAE_STATUS_RUNTIME_TOO_OLD, versioned, "found version \"1.10.0\"", "");
    must(!remove(beside) && !remove(versioned), beside);
    if (library.open(NULL, NULL, &model) == WFVAE_STATUS_OK) {
        puts("skipped: no runtime anywhere: the system has one");
        library.close(model);
    } else {
        snprintf(none, sizeof none, "the process has loaded none; the folder of libwfvae, %s, has no libonnxruntime.so*; "
                 "the loader's search path: libonnxruntime.so.1: ", folder);
        check("no runtime anywhere", NULL, WFVAE_STATUS_RUNTIME_MISSING, "ONNX Runtime was not found",
              "set WFVAE_ONNXRUNTIME to the path of libonnxruntime.so", "or put that file beside libwfvae");
        check("what was searched", NULL, WFVAE_STATUS_RUNTIME_MISSING, "`pip install onnxruntime`",
              "order: WFVAE_ONNXRUNTIME is not set; ORT_DYLIB_PATH is not set", none);
    }
    library.open = wfvae_model_open;
    library.last_error = wfvae_last_error;
    library.close = wfvae_model_close;
}

static void test_good(void)
{
    wfvae_model_info info = {0};
    wfvae_model *model;

    info.struct_size = sizeof info;
    check("a good runtime afterwards", NULL, WFVAE_STATUS_OK, "", "", "");
    must(!wfvae_model_open(NULL, NULL, &model) && !wfvae_model_get_info(model, &info), "model");
    check("the same one by its path", info.runtime_path, WFVAE_STATUS_OK, "", "", "");
    check("another one", old, WFVAE_STATUS_INVALID_STATE, "old_onnxruntime.so was asked for", info.runtime_path,
          info.runtime_version);
    check("another file of the same name", "/no/such/libonnxruntime.so.1", WFVAE_STATUS_INVALID_STATE,
          "/no/such/libonnxruntime.so.1 was asked for", info.runtime_path, "");
    check("no other one", NULL, WFVAE_STATUS_OK, "", "", "");
    wfvae_model_close(model);
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    const int length = slash ? (int)(slash - argv[0]) : 1;
    const char *own = slash ? argv[0] : ".";
    char original[1100];

    (void)argc;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    unsetenv("WFVAE_ONNXRUNTIME");
    unsetenv("ORT_DYLIB_PATH");
    temporary_name(folder, sizeof folder);
    must(mkdtemp(folder) != NULL, folder);
    snprintf(old, sizeof old, "%.*s/old_onnxruntime.so", length, own);
    snprintf(original, sizeof original, "%.*s/../libwfvae.so", length, own);
    snprintf(text_file, sizeof text_file, "%s/text.so", folder);
    snprintf(beside, sizeof beside, "%s/libonnxruntime.so.1", folder);
    snprintf(versioned, sizeof versioned, "%s/libonnxruntime.so.1.24.1", folder);
    snprintf(copy, sizeof copy, "%s/libwfvae.so", folder);
    write_text(text_file);
    copy_file(original, copy);

    test_given();
    test_variables();
    test_nothing();
    test_good();

    must(!remove(text_file) && !remove(copy) && !remove(folder), folder);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
