/* Whether media files end where they say.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0 */
#ifndef WFVAE_BATCH_ENDS_H
#define WFVAE_BATCH_ENDS_H

#include <libavformat/avio.h>

/* Whether a file of this size has lost its end. `format`: the name of its demuxer; of those that tell nothing, 0. `says`: the size that the
 * file tells, 0 if it tells none. */
int is_cut_off(AVIOContext *io, const char *format, int64_t size, uint64_t *says);

#endif
