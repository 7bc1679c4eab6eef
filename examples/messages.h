/* Messages on standard error. Define PROGRAM, the program's name, before including this.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef MESSAGES_H
#define MESSAGES_H

#include <wfvae.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* All return -1. Standard error has a buffer on Windows. */
static inline int fail(const char *what, const char *text)
{
    fprintf(stderr, PROGRAM ": %s: %s\n", what, text);
    fflush(stderr);
    return -1;
}

static inline int fail_wfvae(const char *what)
{
    return fail(what, wfvae_last_error(NULL));
}

static inline int fail_system(const char *what)
{
    return fail(what, strerror(errno));
}

static inline int fail_text(const char *text)
{
    fprintf(stderr, PROGRAM ": %s\n", text);
    fflush(stderr);
    return -1;
}

static inline void warn(const char *text)
{
    fprintf(stderr, PROGRAM ": warning: %s\n", text);
    fflush(stderr);
}

/* Prints the usage and what is wrong with the option `letter`, or -1 for file names, and returns 2, the exit status. getopt
 * itself has already reported an unknown option. */
static inline int fail_usage(const char *usage, int letter, const char *text)
{
    fputs(usage, stderr);
    if (letter == -1)
        fputs(PROGRAM ": file names are missing, or there are too many\n", stderr);
    else if (letter != '?')
        fprintf(stderr, PROGRAM ": -%c %s: out of range, or not one of the values above\n", letter, text ? text : "");
    return 2;
}

#endif
