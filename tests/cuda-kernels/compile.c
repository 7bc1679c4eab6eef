/* Compiles CUDA C++ with NVRTC: compile LIBRARY TEXT OPTION ARCHITECTURE... Fails on errors and on warnings. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*create_t)(void **, const char *, const char *, int, const char *const *, const char *const *);
typedef int (*compile_t)(void *, int, const char *const *);
typedef int (*size_t_of)(void *, size_t *);
typedef int (*text_of)(void *, char *);

static void *library;

static void *function(const char *name) {
    void *found = dlsym(library, name);
    if (found == NULL)
        fprintf(stderr, "compile: there is no %s\n", name), exit(2);
    return found;
}

int main(int count, char **arguments) {
    FILE *file = count > 4 ? fopen(arguments[2], "r") : NULL;
    library = count > 4 ? dlopen(arguments[1], RTLD_NOW | RTLD_GLOBAL) : NULL;
    if (file == NULL || library == NULL) {
        fprintf(stderr, "compile: compile LIBRARY TEXT OPTION ARCHITECTURE...: %s\n", file ? dlerror() : "no text");
        return 2;
    }
    static char text[1 << 20];
    text[fread(text, 1, sizeof text - 1, file)] = 0;
    fclose(file);
    int failures = 0;
    for (int i = 4; i < count; i++) {
        char architecture[64];
        snprintf(architecture, sizeof architecture, "--gpu-architecture=%s", arguments[i]);
        const char *const options[] = {architecture, "--std=c++17", arguments[3]};
        void *program = NULL;
        ((create_t)function("nvrtcCreateProgram"))(&program, text, arguments[2], 0, NULL, NULL);
        int result = ((compile_t)function("nvrtcCompileProgram"))(program, 3, options);
        size_t size = 0, code = 0;
        ((size_t_of)function("nvrtcGetProgramLogSize"))(program, &size);
        char *log = calloc(1, size + 1);
        ((text_of)function("nvrtcGetProgramLog"))(program, log);
        if (result == 0)
            ((size_t_of)function("nvrtcGetCUBINSize"))(program, &code);
        printf("%s %s: %zu bytes\n%s", arguments[i], arguments[3], code, log);
        failures += result != 0 || code == 0 || strlen(log) > 0;
        free(log);
    }
    return failures != 0;
}
