/* Every field of the structs that describe a stream, a model and an estimate. */
#define _POSIX_C_SOURCE 200809L

#include "one_clip.h"

/* All fields for a stream whose width, height, latents and encoded latents differ. */
static void test_infos(void)
{
    wfvae_options options = {0};
    wfvae_info info = {0};
    wfvae_stream *stream;

    options.struct_size = sizeof options;
    options.width = 5 * SIDE - 1;
    options.height = 3 * SIDE;
    options.padding = 1;
    options.latent_type = WFVAE_LATENT_TYPE_F16;
    options.posterior = WFVAE_POSTERIOR_MOMENTS;
    options.directions = WFVAE_DIRECTION_ENCODE;
    must(!wfvae_create(s.model, &options, &stream), "stream");
    info.struct_size = sizeof info;
    must(!wfvae_get_info(stream, &info), "info");
    result("info: sizes", info.width == 5 * SIDE - 1 && info.height == 3 * SIDE && info.latent_width == 5 * SIDE / 8 &&
                              info.latent_height == 3 * SIDE / 8);
    result("info: channels", info.latent_channels == 4 && info.encoded_channels == 8);
    result("info: bytes of a latent of moments, float16", info.latent_size == (uint64_t)2 * 4 * 15 * SIDE / 8 * SIDE / 8 &&
                                                              info.encoded_size == 2 * info.latent_size);
    result("info: state of one direction", info.encode_state_bytes > 0 && info.decode_state_bytes == 0);
    result("info: at the start", !info.frames_in && !info.latents_out && !info.latents_in && !info.frames_out &&
                                     !info.encode_steps && !info.decode_steps && !info.needs_reset && !info.reserved);
    wfvae_destroy(stream);
    options.width = options.height = SIDE;
    must(!wfvae_create(s.model, &options, &stream) &&
             !wfvae_encode_chunk(stream, s.frames, 1, s.latents, LATENTS / 2, &s.count) && !wfvae_get_info(stream, &info),
         "encode");
    result("info: steps of one direction", info.frames_in == 1 && info.latents_out == 1 && !info.latents_in &&
                                               !info.frames_out && info.encode_steps > 0 && !info.decode_steps);
    wfvae_destroy(stream);
}

/* All fields for models in which no two of them are equal by chance. */
static void test_model_infos(void)
{
    wfvae_model_options model_options = {0};
    wfvae_options options = {0};
    wfvae_memory memory = {0};
    wfvae_model_info info = {0};
    wfvae_model *builtin;

    info.struct_size = sizeof info;
    must(!wfvae_model_get_info(s.model, &info), "model info");
    result("model info: the network", info.generation == 1 && info.latent_channels == 4 && info.spatial_compression == 8 &&
                                          info.temporal_compression == 4 && info.encode_delay == 3 && info.decode_delay == 2);
    result("model info: attention has no halo", info.has_attention == 1 && !info.encode_halo && !info.decode_halo);
    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    memory.struct_size = sizeof memory;
    must(!wfvae_estimate(s.model, &options, &memory), "estimate");
    result("model info: weights of both directions, in float32", info.weight_bytes == memory.weight_bytes &&
                                                                     info.weight_bytes > 3 * info.parameters);

    model_options.struct_size = sizeof model_options;
    model_options.provider = WFVAE_PROVIDER_CPU;
    model_options.decode_precision = WFVAE_PRECISION_F16;
    must(!wfvae_model_open(NULL, &model_options, &builtin) && !wfvae_model_get_info(builtin, &info), "built-in model");
    result("model info: built-in", info.latent_channels == 16 && !info.has_attention && info.has_scaling && !info.whole_clips);
    result("model info: identities", info.encoder_identity == 0x63a04ed0837b4b59 && info.decoder_identity == 0x74e85060fdd88dd8 &&
                                         info.identity == 0xc87dbf89e0a193dc);
    result("model info: halos", info.encode_halo == 80 && info.decode_halo == 168);
    result("model info: nothing is loaded yet", !info.sessions && !info.weight_bytes && info.parameters > 1000000);
    result("model info: precisions", info.encode_precision == WFVAE_PRECISION_F32 &&
                                         info.decode_precision == WFVAE_PRECISION_F16);
    result("model info: CPU", !strcmp(info.provider, "CPU") && !*info.fallback && !info.device && !info.device_bytes);
    options.width = 4 * SIDE;
    must(!wfvae_estimate(builtin, &options, &memory), "estimate");
    result("estimate: each part by itself",
           memory.encode_state_bytes > 0 && memory.decode_state_bytes > 0 && memory.working_bytes > 0 &&
               memory.encode_state_bytes != memory.decode_state_bytes && memory.encode_tile_width == 4 * SIDE &&
               memory.encode_tile_height == SIDE && memory.decode_tile_width == 4 * SIDE && memory.encode_tiles == 1 &&
               memory.total_bytes == memory.weight_bytes + memory.encode_state_bytes + memory.decode_state_bytes +
                                         memory.working_bytes);
    options.directions = WFVAE_DIRECTION_DECODE;
    must(!wfvae_estimate(builtin, &options, &memory), "estimate");
    result("estimate: decoding only", !memory.encode_state_bytes && memory.decode_state_bytes && !memory.encode_tiles &&
                                          !memory.encode_tile_width && memory.decode_tiles == 1);
    wfvae_model_close(builtin);
}

int main(int argc, char **argv)
{
    clip_open(argc, argv);
    test_infos();
    test_model_infos();
    return clip_close();
}
