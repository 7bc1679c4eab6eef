/* What the programs that read a clip share: its options, and the error for a truncated or damaged clip.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef CLIP_H
#define CLIP_H

#include "messages.h"
#include "options.h"
#include "y4m.h"

#include <stdio.h>

#define CLIP_LETTERS "M:R:"
#define CLIP_USAGE \
    "  -M 601|709  matrix of the clip (default: 709 from 720 lines up, else 601)\n" \
    "  -R limited|full  range of the clip (default: as tagged, else limited)\n"

typedef struct clip_choice {
    y4m_matrix matrix;
    y4m_range range;
} clip_choice;

/* Returns what model_option() does. */
static inline int clip_option(int letter, const char *text, clip_choice *choice)
{
    static const char *const matrices[] = {"601", "709", NULL}, *const ranges[] = {"limited", "full", NULL};
    int found;

    if (letter != 'M' && letter != 'R')
        return 0;
    found = find_name(text, letter == 'M' ? matrices : ranges);
    if (found < 0)
        return -1;
    if (letter == 'M')
        choice->matrix = found ? Y4M_BT709 : Y4M_BT601;
    else
        choice->range = found ? Y4M_FULL : Y4M_LIMITED;
    return 1;
}

static inline int open_clip(y4m_stream *in, const char *name, FILE *file, const clip_choice *choice)
{
    if (y4m_open_read(in, file))
        return fail(name, in->error);
    if (in->ignores_alpha)
        warn("the clip's alpha is ignored: the frames are treated as opaque");
    if (choice->matrix != Y4M_MATRIX_UNSPECIFIED)
        in->info.matrix = choice->matrix;
    if (choice->range != Y4M_RANGE_UNSPECIFIED)
        in->info.range = choice->range;
    return 0;
}

/* 0 for a clip that ended without an error, -1 for a truncated or damaged one. `kept` is the verb for the frames before the
 * damage, such as "encoded". */
static inline int fail_if_broken(const y4m_stream *in, const char *name, const char *kept)
{
    char text[400];

    if (!in->error[0])
        return 0;
    snprintf(text, sizeof text, "%s; %lu whole %s before it %s %s", in->error, in->frames,
             in->frames == 1 ? "frame" : "frames", in->frames == 1 ? "was" : "were", kept);
    return fail(name, text);
}

#endif
