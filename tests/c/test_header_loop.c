/* The loop in the header's introduction, compiled as it is and run over clips of several lengths. */
#include <wfvae.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int (*read_frame_fn)(void *user, wfvae_frame *frame);
typedef void (*write_frame_fn)(void *user, const wfvae_frame *frame);

static void prepare(wfvae_frame *frames, size_t count, uint32_t width, uint32_t height)
{
    static unsigned char memory[9][64 * 64 * 3];
    static size_t used;
    size_t i;

    for (i = 0; i < count; i++) {
        memset(&frames[i], 0, sizeof frames[i]);
        frames[i].struct_size = sizeof frames[i];
        frames[i].format = WFVAE_PIXEL_FORMAT_RGB8;
        frames[i].width = width;
        frames[i].height = height;
        frames[i].planes[0] = memory[used++ % 9];
        frames[i].strides[0] = (ptrdiff_t)(3 * width);
    }
}

/* Made from the header by the Makefile. */
#include "header_loop.inc"

struct clip {
    int length, read, written, wrong;
};

static unsigned char grey(int index)
{
    return (unsigned char)(60 + 10 * (index / 4));
}

static int read_frame(void *user, wfvae_frame *frame)
{
    struct clip *clip = user;

    if (clip->read == clip->length)
        return 0;
    memset(frame->planes[0], grey(clip->read++), 3 * frame->width * frame->height);
    return 1;
}

/* Four frames of each grey level come back in order, close enough in the middle of the picture. */
static void write_frame(void *user, const wfvae_frame *frame)
{
    struct clip *clip = user;
    const unsigned char *pixel = (const unsigned char *)frame->planes[0] + 3 * (frame->width * frame->height / 2 + 16);

    clip->wrong += abs(pixel[0] - grey(clip->written)) > 12;
    clip->written++;
}

int main(void)
{
    int length, failed = 0;

    for (length = 1; length <= 10; length++) {
        struct clip clip = {0, 0, 0, 0};
        clip.length = length;
        if (reconstruct(read_frame, write_frame, &clip, 45, 37) || clip.written != length || clip.wrong) {
            printf("FAILED %d frames: %d written, %d of them wrong\n", length, clip.written, clip.wrong);
            failed++;
        }
    }
    printf("%d passed, %d failed\n", 10 - failed, failed);
    return failed != 0;
}
