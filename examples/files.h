/* Which files a program reads and writes, so that it refuses to write over what it reads, or two things to one place,
 * before it opens anything for writing. Files are told apart by device and inode, so links and other spellings of a name
 * count too. Pipes, terminals and devices may be read and written at once. A link that another process changes meanwhile is
 * not noticed.
 *
 *     files f = {0};
 *     if (files_read(&f, "the input", input) || files_write(&f, "the output", output)) puts(f.error);
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef FILES_H
#define FILES_H

#include <limits.h>
#include <stdio.h>
#include <sys/types.h>

/* One that is there is known by its device and inode; one that is not, by its folder's and its name. */
typedef struct file_id {
    dev_t device;
    ino_t inode;
    mode_t mode;
    char name[NAME_MAX + 1]; /* empty for a file that is there */
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

/* To be called first: what a shell closed (`>&-`) stays unusable, where the next file to be opened would have taken its
 * place and received what is printed. */
void files_start(void);

/* All take "-" for standard input or output, and NULL for nothing. They return 0, or -1 with f->error set. `what` must
 * live as long as f. A file that is read need not be there. */
int files_read(files *f, const char *what, const char *path);
int files_write(files *f, const char *what, const char *path);

/* A checkpoint, whose config and weights are not to be written over. */
void files_model(files *f, const char *path);

/* Whether a path leads to the file, pipe or terminal that standard output is; for "-" it does. To other devices, such as
 * /dev/null, it does not: they take two outputs. */
int is_standard_output(const char *path);

/* Open a file, or with "-" take standard input or output. NULL, with errno set, if that fails. */
FILE *open_input(const char *path);
FILE *open_output(const char *path);

/* Writes what is buffered and closes, also standard output. 0, or -1 with errno set if anything did not arrive. */
int close_output(FILE *file);

#endif
