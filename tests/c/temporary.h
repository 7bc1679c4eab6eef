/* Temporary files and folders of the C tests, in TMPDIR or /tmp. The C library's tmpfile() uses only /tmp.
 * Define _POSIX_C_SOURCE before including this. */
#ifndef TEMPORARY_H
#define TEMPORARY_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A template for mkdtemp and mkstemp. */
static inline void temporary_name(char *name, size_t size)
{
    const char *folder = getenv("TMPDIR");

    snprintf(name, size, "%s/wfvae-XXXXXX", folder && *folder ? folder : "/tmp");
}

/* An empty file without a name, or NULL. Closing it removes it. */
static inline FILE *temporary_file(void)
{
    char name[1024];
    int descriptor;
    FILE *file;

    temporary_name(name, sizeof name);
    descriptor = mkstemp(name);
    if (descriptor < 0)
        return NULL;
    unlink(name);
    file = fdopen(descriptor, "w+b");
    if (!file)
        close(descriptor);
    return file;
}

#endif
