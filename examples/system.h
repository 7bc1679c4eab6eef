/* What the programs need of the system beyond standard C: one face, and a file for each kind of system, system_posix.c and
 * system_windows.c. All names of files are UTF-8, on Windows too. There the programs need MinGW-w64 for getopt(); the library's
 * headers do not.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef SYSTEM_H
#define SYSTEM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Bytes of the longest path that can be compared, and of the longest name in a folder, with the NUL. */
enum { SYSTEM_PATH = 4096, SYSTEM_NAME = 1024 };

typedef enum system_kind {
    SYSTEM_FILE, /* or a disk */
    SYSTEM_FOLDER,
    SYSTEM_PIPE, /* or a socket */
    SYSTEM_DEVICE /* such as a terminal or /dev/null */
} system_kind;

/* What tells a file from all others, whatever its names are. */
typedef struct system_id {
    uint64_t device, index;
    system_kind kind;
} system_id;

/* Call this first in main(). A standard stream that the shell closed (`>&-`) then stays unusable. Otherwise the next file that
 * is opened would get its descriptor, and receive what is printed. On Windows the arguments are replaced by UTF-8, the
 * standard streams carry bytes, and the console shows UTF-8 until the program ends. */
void system_start(int *argc, char ***argv);

/* fopen(). For a folder it fails with EISDIR, in any mode. */
FILE *system_open(const char *path, const char *mode);

/* These return 0, or -1 if there is no such file or it cannot be known. */
int system_find(const char *path, system_id *id);
int system_find_open(FILE *file, system_id *id);

/* Whether both are one file. */
int system_same(const system_id *a, const system_id *b);

/* Where a file that does not exist would be created: its folder, and its name there. The last part of its path may be a
 * dangling link (not on Windows). Names that mean the same file are equal. */
int system_find_new(const char *path, system_id *folder, char name[SYSTEM_NAME]);

/* The length of a path's folder with its separator; 0 for a plain name. */
size_t system_folder_length(const char *path);

/* Calls `each` with the names in a folder, until one call does not return 0. Returns what the last call did. */
int system_list(const char *folder, int (*each)(void *user, const char *name), void *user);

int system_is_terminal(FILE *file);

/* Calls `handler` when the user or the system wants the program to end, with any value. On Windows another thread calls it.
 * What the program waits for in the meantime, such as input, then fails. */
void system_on_interrupt(void (*handler)(int));

#ifdef __cplusplus
}
#endif

#endif
