/* Keeps track of the files that a program reads and writes. It refuses to write to a file that is also read, or to write two
 * outputs to one file, before anything is opened for writing. Files are compared by what the system knows them by, so links and
 * other spellings of a path count as the same file. Pipes, terminals and devices may be both read and written. A link that another
 * process changes in the meantime is not noticed.
 *
 *     files f = {0};
 *     if (files_read(&f, "the input", input) || files_write(&f, "the output", output)) puts(f.error);
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef FILES_H
#define FILES_H

#include "system.h"

#include <stdio.h>

/* An existing file is identified by itself, another one by its folder and its name. */
typedef struct file_id {
    system_id at;
    char name[SYSTEM_NAME]; /* empty for an existing file */
} file_id;

typedef struct file_use {
    const char *what; /* as in "the input" */
    int writes;
    file_id id;
} file_use;

typedef struct files {
    char error[512];
    file_use uses[8];
    int count;
    const char *model; /* as the user named it; NULL: none */
} files;

/* `path` may be "-" for standard input or output, and NULL for nothing. They return 0, or -1 with f->error set. `what` must
 * live as long as f. A file to read need not exist. */
int files_read(files *f, const char *what, const char *path);
int files_write(files *f, const char *what, const char *path);

/* A checkpoint, whose config and weights must not be overwritten. */
void files_model(files *f, const char *path);

/* Whether a path leads to the file, pipe or terminal that is standard output; true for "-". False for other devices, such as
 * /dev/null, which can take two outputs. */
int is_standard_output(const char *path);

/* Opens a file; "-" is standard input or output. Returns NULL, with errno set, on failure. */
FILE *open_input(const char *path);
FILE *open_output(const char *path);

/* Flushes and closes a file, or standard output. Returns 0, or -1 with errno set if not everything was written. */
int close_output(FILE *file);

#endif
