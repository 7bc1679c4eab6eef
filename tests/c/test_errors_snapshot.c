/* Snapshots and forks: bytes that are no snapshot, and streams that a snapshot does not fit. */
#define _POSIX_C_SOURCE 200809L

#include "model_files.h"

/* Of the clip after its first frame, and its bytes. */
static struct {
    wfvae_snapshot *snapshot;
    unsigned char *bytes;
    size_t size;
} taken;

static void test_null(void)
{
    wfvae_snapshot *snapshot = NULL;
    wfvae_stream *stream = s.stream;

    CALL("snapshot without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_snapshot_create(NULL, &snapshot));
    result("snapshot without stream, snapshot", snapshot == NULL);
    PLAIN("snapshot without snapshot", INVALID_ARGUMENT, "snapshot is NULL", wfvae_snapshot_create(s.stream, NULL));
    CALL("restore without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_snapshot_restore(NULL, NULL));
    CALL("restore without snapshot", INVALID_ARGUMENT, "snapshot is NULL", wfvae_snapshot_restore(s.stream, NULL));
    PLAIN("write without snapshot", INVALID_ARGUMENT, "snapshot is NULL",
          wfvae_snapshot_write(NULL, s.floats, sizeof s.floats, &s.count));
    result("write without snapshot, count", s.count == 0);
    must(!wfvae_snapshot_create(s.stream, &snapshot), "snapshot");
    PLAIN("write without buffer", INVALID_ARGUMENT, "buffer is NULL",
          wfvae_snapshot_write(snapshot, NULL, SIZE_MAX, &s.count));
    PLAIN("write without written", INVALID_ARGUMENT, "written is NULL",
          wfvae_snapshot_write(snapshot, s.floats, sizeof s.floats, NULL));
    wfvae_snapshot_destroy(snapshot);
    PLAIN("read without bytes", INVALID_ARGUMENT, "bytes is NULL", wfvae_snapshot_read(NULL, 100, &snapshot));
    result("read without bytes, snapshot", snapshot == NULL);
    PLAIN("read without snapshot", INVALID_ARGUMENT, "snapshot is NULL", wfvae_snapshot_read(s.floats, 100, NULL));
    result("size without snapshot", wfvae_snapshot_size(NULL) == 0);
    wfvae_snapshot_destroy(NULL);
    stream = s.stream;
    CALL("fork without stream", INVALID_ARGUMENT, "stream is NULL", wfvae_fork(NULL, &stream));
    result("fork without stream, fork", stream == NULL);
    PLAIN("fork without fork", INVALID_ARGUMENT, "fork is NULL", wfvae_fork(s.stream, NULL));
}

/* A failing call gives no handle, whatever was there before. */
static wfvae_status read_snapshot(const void *bytes, size_t size)
{
    wfvae_snapshot *snapshot = taken.snapshot;
    wfvae_status status = wfvae_snapshot_read(bytes, size, &snapshot);

    must(status ? !snapshot : snapshot && snapshot != taken.snapshot, "handle");
    wfvae_snapshot_destroy(snapshot);
    return status;
}

static wfvae_status read_damaged(size_t index, unsigned char bits)
{
    wfvae_status status;

    taken.bytes[index] ^= bits;
    status = read_snapshot(taken.bytes, taken.size);
    taken.bytes[index] ^= bits;
    return status;
}

static wfvae_status write_snapshot(size_t capacity)
{
    wfvae_status status = wfvae_snapshot_write(taken.snapshot, taken.bytes, capacity, &s.count);

    must(s.count == (status ? 0 : taken.size), "count");
    return status;
}

static wfvae_status take_snapshot(void)
{
    wfvae_snapshot *snapshot = taken.snapshot;
    wfvae_status status = wfvae_snapshot_create(s.stream, &snapshot);

    must(!status == !!snapshot, "handle");
    wfvae_snapshot_destroy(snapshot);
    return status;
}

static wfvae_status fork_stream(void)
{
    wfvae_stream *fork = s.stream;
    wfvae_status status = wfvae_fork(s.stream, &fork);

    must(status ? !fork : fork && fork != s.stream, "handle");
    wfvae_destroy(fork);
    return status;
}

/* Back to the first frame, from wherever the clip is. */
static wfvae_status restore(void)
{
    wfvae_status status = wfvae_snapshot_restore(s.stream, taken.snapshot);

    if (!status)
        s.frames_in = s.latents_out = s.latents_in = s.frames_out = 1;
    return status;
}

/* The stream of the clip and a fork of it each go on alone. */
static int both_go_on(void)
{
    wfvae_stream *stream = s.stream, *fork = NULL;
    int ok;

    begin();
    encode_to(7);
    must(!wfvae_fork(stream, &fork), "fork");
    ok = goes_on(WFVAE_STATUS_OK);
    s.stream = fork;
    s.frames_in = 7;
    s.latents_out = 2;
    s.latents_in = s.frames_out = 1;
    memset(s.latents[2], 0, sizeof s.latents[2]);
    memset(s.out[1], 0, sizeof s.out - sizeof s.out[0]);
    ok = ok && goes_on(WFVAE_STATUS_OK);
    s.stream = stream;
    wfvae_destroy(fork);
    return ok;
}

/* Latents of a fork are of the type that its origin's are. */
static int fork_keeps_the_type(void)
{
    wfvae_options options = {0};
    wfvae_info info = {0};
    wfvae_stream *stream = NULL, *fork = NULL;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    options.latent_type = WFVAE_LATENT_TYPE_F16;
    info.struct_size = sizeof info;
    must(!wfvae_create(s.model, &options, &stream) && !wfvae_fork(stream, &fork), "fork");
    must(!wfvae_get_info(fork, &info), "info");
    wfvae_destroy(stream);
    wfvae_destroy(fork);
    return info.latent_size == 2 * VALUES;
}

/* The snapshot and a stream made with other options; model is NULL for the clip's. */
static wfvae_status restore_another(wfvae_model *model, uint32_t width, uint32_t directions)
{
    wfvae_options options = {0};
    wfvae_stream *stream = NULL;
    wfvae_status status;

    options.struct_size = sizeof options;
    options.width = width;
    options.height = SIDE;
    options.padding = 1;
    options.directions = directions;
    must(!wfvae_create(model ? model : s.model, &options, &stream), "stream");
    status = wfvae_snapshot_restore(stream, taken.snapshot);
    must(status ? *wfvae_last_error(stream) : !*wfvae_last_error(stream), "text");
    wfvae_destroy(stream);
    return status;
}

static void test_snapshots(wfvae_model *another)
{
    begin();
    must(!wfvae_snapshot_create(s.stream, &taken.snapshot), "snapshot");
    taken.size = wfvae_snapshot_size(taken.snapshot);
    taken.bytes = malloc(taken.size + 1);
    must(taken.bytes != NULL, "memory");
    PLAIN("snapshot: no room", CAPACITY, "room for 0 bytes, the snapshot has", write_snapshot(0));
    PLAIN("snapshot: a byte too little room", CAPACITY, "bytes, the snapshot has", write_snapshot(taken.size - 1));
    PLAIN("snapshot: more room", OK, NULL, write_snapshot(taken.size + 1));

    taken.bytes[taken.size] = 0;
    PLAIN("snapshot: no bytes", INVALID_ARGUMENT, "snapshot: found 0 bytes", read_snapshot("", 0));
    PLAIN("snapshot: header cut", INVALID_ARGUMENT, "found 100 bytes, expected at least",
          read_snapshot(taken.bytes, 100));
    PLAIN("snapshot: cut", INVALID_ARGUMENT, "cut or damaged", read_snapshot(taken.bytes, taken.size - 1));
    PLAIN("snapshot: a byte more", INVALID_ARGUMENT, "cut or damaged", read_snapshot(taken.bytes, taken.size + 1));
    PLAIN("snapshot: size of -1", INVALID_ARGUMENT, "size is 18446744073709551615",
          read_snapshot(taken.bytes, SIZE_MAX));
    PLAIN("snapshot: another file", INVALID_ARGUMENT, "not a snapshot: begins with",
          read_snapshot(right_out, sizeof right_out));
    PLAIN("snapshot: magic", INVALID_ARGUMENT, "not a snapshot: begins with \"wFVAESNP\"", read_damaged(0, 0x20));
    PLAIN("snapshot: byte order", INVALID_ARGUMENT, "damaged", read_damaged(8, 1));
    PLAIN("snapshot: version", INVALID_ARGUMENT, "format version 3, this libwfvae reads 1", read_damaged(12, 2));
    PLAIN("snapshot: a bit", INVALID_ARGUMENT, "checksum", read_damaged(taken.size / 2, 1));
    PLAIN("snapshot: checksum", INVALID_ARGUMENT, "checksum", read_damaged(taken.size - 1, 128));
    PLAIN("snapshot: whole", OK, NULL, read_snapshot(taken.bytes, taken.size));

    PLAIN("restore: another model", INVALID_ARGUMENT, "the snapshot is of model", restore_another(another, SIDE, 0));
    PLAIN("restore: another size", INVALID_SIZE, "of 8x8 (padded to 8x8), this one is of 16x8",
          restore_another(NULL, 16, 0));
    PLAIN("restore: another size before padding", INVALID_SIZE, "this one is of 7x8 (padded to 8x8)",
          restore_another(NULL, 7, 0));
    PLAIN("restore: encoding only", INVALID_ARGUMENT, "encodes and decodes, this one only encodes",
          restore_another(NULL, SIDE, WFVAE_DIRECTION_ENCODE));
    PLAIN("restore: decoding only", INVALID_ARGUMENT, "encodes and decodes, this one only decodes",
          restore_another(NULL, SIDE, WFVAE_DIRECTION_DECODE));
    PLAIN("restore: the same", OK, NULL, restore_another(NULL, SIDE, 0));

    CALL("snapshot, clip goes on", OK, NULL, (encode_to(4), take_snapshot()));
    CALL("fork, clip goes on", OK, NULL, (encode_to(4), fork_stream()));
    result("fork, both go on", both_go_on());
    result("fork, latent type", fork_keeps_the_type());
    CALL("restore in the middle", OK, NULL, (encode_to(6), decode_to(2), restore()));
    CALL("restore after the end", OK, NULL, (end_decoding(), restore()));
    CALL("cancel, snapshot", OK, NULL, (take_snapshot(), wfvae_cancel(s.stream), take_snapshot(), restore()));
    CALL("cancel, encode, snapshot", NEEDS_RESET, "no whole state",
         (wfvae_cancel(s.stream), encode(4), take_snapshot()));
    CALL("cancel, encode, fork", NEEDS_RESET, "no whole state", (wfvae_cancel(s.stream), encode(4), fork_stream()));
    CALL("cancel, encode, restore", OK, NULL, (wfvae_cancel(s.stream), encode(4), restore()));
    CALL("cancel, decode, restore", OK, NULL, (encode_to(5), wfvae_cancel(s.stream), decode(1), restore()));
    begin();
    wfvae_cancel(s.stream);
    encode(4);
    must(*wfvae_last_error(s.stream) && !restore(), "restore");
    result("a restore clears the text", !*wfvae_last_error(s.stream));

    wfvae_snapshot_destroy(taken.snapshot);
    free(taken.bytes);
}

int main(int argc, char **argv)
{
    wfvae_model *another = NULL;

    clip_open(argc, argv);
    folder_make();
    test_null();
    good_files();
    edit(CONFIG_JSON, "\"trilinear\"", "\"nearest\"");
    must(!wfvae_model_open(folder, NULL, &another), "another model");
    test_snapshots(another);
    wfvae_model_close(another);
    folder_remove();
    return clip_close();
}
