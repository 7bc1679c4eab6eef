/* Arguments that the bytes of an input choose, and whether the library must take them. */
#ifndef CHOICES_H
#define CHOICES_H

#include "input.h"

/* What is freed when a call is over. Each block has its exact size, so that AddressSanitizer sees what is read or written beyond. */
static void *blocks[256];
static size_t n_blocks;

static void *block(size_t size)
{
    void *memory = malloc(size ? size : 1);

    EXPECT(memory && n_blocks < sizeof blocks / sizeof *blocks);
    blocks[n_blocks++] = memory;
    return memory;
}

static void free_blocks(void)
{
    while (n_blocks)
        free(blocks[--n_blocks]);
}

/* Whether the library must take what it is given, or refuse it, or whether that is for the library to say. */
enum verdict { BAD, GOOD, UNSURE };

static void mark(int *verdict, enum verdict found)
{
    if (found == BAD || *verdict == GOOD)
        *verdict = found;
}

/* A struct of the caller's with its struct_size, mostly the right one. What is missing is left out of the memory, too; a
 * newer version's fields are 0 or, which must be refused where the struct is read, are not. */
static void *sized(struct input *in, size_t size, const void *value, int *verdict)
{
    size_t said = size, held = size;
    unsigned char *memory;

    if (seldom(in)) {
        const size_t sizes[] = {size + 24, size + 8, 0, 8, size - 1, size - 8, SIZE_MAX, 65537};
        said = sizes[below(in, sizeof sizes / sizeof *sizes)];
        held = said > 65536 ? size : said < sizeof said ? sizeof said : said;
        if (said < size || said > 65536)
            mark(verdict, BAD);
    }
    memory = block(held);
    memset(memory, 0, held);
    if (value)
        memcpy(memory, value, held < size ? held : size);
    if (value && held > size && seldom(in)) {
        memory[held - 1] = 1;
        mark(verdict, BAD);
    }
    memcpy(memory, &said, sizeof said);
    return memory;
}

#endif
