/* The layout of all structs on 64-bit systems, as bindings in other languages write it down. It never changes: later
 * versions only add fields at the end. */
#include "check.h"

#include <stddef.h>

/* The end of the last field. Where the next one, or the struct's end, is not there, bytes lie between that are of no field:
 * what they hold would be copied, and a later field could fall into them. */
static size_t end, whole;

#define SIZE(type, bytes) (no_gap(), whole = (bytes), end = 0, result(#type, sizeof(type) == (bytes)))
#define FIELD(type, field, at) \
    (result(#type "." #field, offsetof(type, field) == (at) && end == (at)), end = (at) + sizeof(((type *)0)->field))

static void no_gap(void)
{
    result("no gap before the end", end == whole);
}

int main(void)
{
    if (sizeof(void *) != 8) {
        printf("skipped: this system is not of 64 bits\n");
        return 0;
    }
    SIZE(wfvae_model_options, 104);
    FIELD(wfvae_model_options, struct_size, 0);
    FIELD(wfvae_model_options, runtime_path, 8);
    FIELD(wfvae_model_options, provider, 16);
    FIELD(wfvae_model_options, device, 20);
    FIELD(wfvae_model_options, n_threads, 24);
    FIELD(wfvae_model_options, check_finite, 28);
    FIELD(wfvae_model_options, log_callback, 32);
    FIELD(wfvae_model_options, log_user, 40);
    FIELD(wfvae_model_options, log_level, 48);
    FIELD(wfvae_model_options, cache_type, 52);
    FIELD(wfvae_model_options, attention_bytes, 56);
    FIELD(wfvae_model_options, convolution, 64);
    FIELD(wfvae_model_options, layout, 68);
    FIELD(wfvae_model_options, encode_precision, 72);
    FIELD(wfvae_model_options, decode_precision, 76);
    FIELD(wfvae_model_options, provider_options, 80);
    FIELD(wfvae_model_options, error_text, 88);
    FIELD(wfvae_model_options, error_size, 96);
    SIZE(wfvae_model_info, 168);
    FIELD(wfvae_model_info, struct_size, 0);
    FIELD(wfvae_model_info, name, 8);
    FIELD(wfvae_model_info, provider, 16);
    FIELD(wfvae_model_info, runtime_path, 24);
    FIELD(wfvae_model_info, runtime_version, 32);
    FIELD(wfvae_model_info, parameters, 40);
    FIELD(wfvae_model_info, identity, 48);
    FIELD(wfvae_model_info, weight_bytes, 56);
    FIELD(wfvae_model_info, sessions, 64);
    FIELD(wfvae_model_info, generation, 68);
    FIELD(wfvae_model_info, latent_channels, 72);
    FIELD(wfvae_model_info, spatial_compression, 76);
    FIELD(wfvae_model_info, temporal_compression, 80);
    FIELD(wfvae_model_info, encode_delay, 84);
    FIELD(wfvae_model_info, decode_delay, 88);
    FIELD(wfvae_model_info, has_attention, 92);
    FIELD(wfvae_model_info, has_scaling, 96);
    FIELD(wfvae_model_info, whole_clips, 100);
    FIELD(wfvae_model_info, encode_halo, 104);
    FIELD(wfvae_model_info, decode_halo, 108);
    FIELD(wfvae_model_info, fallback, 112);
    FIELD(wfvae_model_info, device_bytes, 120);
    FIELD(wfvae_model_info, device, 128);
    FIELD(wfvae_model_info, encode_precision, 132);
    FIELD(wfvae_model_info, decode_precision, 136);
    FIELD(wfvae_model_info, directions, 140);
    FIELD(wfvae_model_info, encoder_identity, 144);
    FIELD(wfvae_model_info, decoder_identity, 152);
    FIELD(wfvae_model_info, decode_whole_clips, 160);
    FIELD(wfvae_model_info, reserved, 164);
    SIZE(wfvae_frame, 136);
    FIELD(wfvae_frame, struct_size, 0);
    FIELD(wfvae_frame, format, 8);
    FIELD(wfvae_frame, width, 12);
    FIELD(wfvae_frame, height, 16);
    FIELD(wfvae_frame, bit_depth, 20);
    FIELD(wfvae_frame, range, 24);
    FIELD(wfvae_frame, matrix, 28);
    FIELD(wfvae_frame, planes, 32);
    FIELD(wfvae_frame, strides, 64);
    FIELD(wfvae_frame, pixel_steps, 96);
    FIELD(wfvae_frame, yuv_range, 128);
    FIELD(wfvae_frame, siting, 132);
    SIZE(wfvae_options, 120);
    FIELD(wfvae_options, struct_size, 0);
    FIELD(wfvae_options, width, 8);
    FIELD(wfvae_options, height, 12);
    FIELD(wfvae_options, directions, 16);
    FIELD(wfvae_options, padding, 20);
    FIELD(wfvae_options, latent_type, 24);
    FIELD(wfvae_options, posterior, 28);
    FIELD(wfvae_options, seed, 32);
    FIELD(wfvae_options, scaled, 40);
    FIELD(wfvae_options, tiling, 44);
    FIELD(wfvae_options, tile_width, 48);
    FIELD(wfvae_options, tile_height, 52);
    FIELD(wfvae_options, tile_overlap, 56);
    FIELD(wfvae_options, any_encoder, 60);
    FIELD(wfvae_options, clip_frames, 64);
    FIELD(wfvae_options, memory_limit, 72);
    FIELD(wfvae_options, alpha, 80);
    FIELD(wfvae_options, frame_memory, 84);
    FIELD(wfvae_options, latent_memory, 88);
    FIELD(wfvae_options, reserved, 92);
    FIELD(wfvae_options, cuda_stream, 96);
    FIELD(wfvae_options, error_text, 104);
    FIELD(wfvae_options, error_size, 112);
    SIZE(wfvae_memory, 72);
    FIELD(wfvae_memory, struct_size, 0);
    FIELD(wfvae_memory, total_bytes, 8);
    FIELD(wfvae_memory, weight_bytes, 16);
    FIELD(wfvae_memory, encode_state_bytes, 24);
    FIELD(wfvae_memory, decode_state_bytes, 32);
    FIELD(wfvae_memory, working_bytes, 40);
    FIELD(wfvae_memory, encode_tile_width, 48);
    FIELD(wfvae_memory, encode_tile_height, 52);
    FIELD(wfvae_memory, encode_tiles, 56);
    FIELD(wfvae_memory, decode_tile_width, 60);
    FIELD(wfvae_memory, decode_tile_height, 64);
    FIELD(wfvae_memory, decode_tiles, 68);
    SIZE(wfvae_frames, 56);
    FIELD(wfvae_frames, struct_size, 0);
    FIELD(wfvae_frames, first, 8);
    FIELD(wfvae_frames, n_frames, 16);
    FIELD(wfvae_frames, frame_strides, 24);
    SIZE(wfvae_info, 120);
    FIELD(wfvae_info, struct_size, 0);
    FIELD(wfvae_info, width, 8);
    FIELD(wfvae_info, height, 12);
    FIELD(wfvae_info, latent_width, 16);
    FIELD(wfvae_info, latent_height, 20);
    FIELD(wfvae_info, latent_channels, 24);
    FIELD(wfvae_info, encoded_channels, 28);
    FIELD(wfvae_info, latent_size, 32);
    FIELD(wfvae_info, encoded_size, 40);
    FIELD(wfvae_info, encode_state_bytes, 48);
    FIELD(wfvae_info, decode_state_bytes, 56);
    FIELD(wfvae_info, frames_in, 64);
    FIELD(wfvae_info, latents_out, 72);
    FIELD(wfvae_info, latents_in, 80);
    FIELD(wfvae_info, frames_out, 88);
    FIELD(wfvae_info, encode_steps, 96);
    FIELD(wfvae_info, decode_steps, 104);
    FIELD(wfvae_info, needs_reset, 112);
    FIELD(wfvae_info, reserved, 116);
    SIZE(wfvae_progress, 24);
    FIELD(wfvae_progress, struct_size, 0);
    FIELD(wfvae_progress, steps_done, 8);
    FIELD(wfvae_progress, steps_total, 16);
    SIZE(wfvae_latent_writer_options, 40);
    FIELD(wfvae_latent_writer_options, struct_size, 0);
    FIELD(wfvae_latent_writer_options, fps_num, 8);
    FIELD(wfvae_latent_writer_options, fps_den, 12);
    FIELD(wfvae_latent_writer_options, note, 16);
    FIELD(wfvae_latent_writer_options, error_text, 24);
    FIELD(wfvae_latent_writer_options, error_size, 32);
    SIZE(wfvae_latent_file_info, 144);
    FIELD(wfvae_latent_file_info, struct_size, 0);
    FIELD(wfvae_latent_file_info, model_identity, 8);
    FIELD(wfvae_latent_file_info, n_frames, 16);
    FIELD(wfvae_latent_file_info, n_latents, 24);
    FIELD(wfvae_latent_file_info, seed, 32);
    FIELD(wfvae_latent_file_info, width, 40);
    FIELD(wfvae_latent_file_info, height, 44);
    FIELD(wfvae_latent_file_info, padded, 48);
    FIELD(wfvae_latent_file_info, spatial_compression, 52);
    FIELD(wfvae_latent_file_info, temporal_compression, 56);
    FIELD(wfvae_latent_file_info, latent_channels, 60);
    FIELD(wfvae_latent_file_info, latent_width, 64);
    FIELD(wfvae_latent_file_info, latent_height, 68);
    FIELD(wfvae_latent_file_info, posterior, 72);
    FIELD(wfvae_latent_file_info, latent_type, 76);
    FIELD(wfvae_latent_file_info, scaled, 80);
    FIELD(wfvae_latent_file_info, fps_num, 84);
    FIELD(wfvae_latent_file_info, fps_den, 88);
    FIELD(wfvae_latent_file_info, reserved, 92);
    FIELD(wfvae_latent_file_info, scale, 96);
    FIELD(wfvae_latent_file_info, shift, 104);
    FIELD(wfvae_latent_file_info, generator, 112);
    FIELD(wfvae_latent_file_info, note, 120);
    FIELD(wfvae_latent_file_info, encoder_identity, 128);
    FIELD(wfvae_latent_file_info, decoder_identity, 136);
    no_gap();
    result("enumerations have the size of uint32_t", sizeof(wfvae_status) == 4 && sizeof(wfvae_pixel_format) == 4);
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
