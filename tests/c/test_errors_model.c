/* Checkpoints that the library refuses: folders, indexes, config.json and weights, and files that change while open. */
#define _POSIX_C_SOURCE 200809L

#include "model_files.h"

#include <math.h>

static void test_null(void)
{
    wfvae_model_info model_info = {0};

    model_info.struct_size = sizeof model_info;
    PLAIN("open without model", INVALID_ARGUMENT, "model is NULL", wfvae_model_open(NULL, NULL, NULL));
    PLAIN("model info without model", INVALID_ARGUMENT, "model is NULL", wfvae_model_get_info(NULL, &model_info));
    PLAIN("model info without info", INVALID_ARGUMENT, "info is NULL", wfvae_model_get_info(s.model, NULL));
    result("latents without model", wfvae_latents_for_frames(NULL, 5) == 0);
    result("frames without model", wfvae_frames_for_latents(NULL, 5) == 0);
    wfvae_model_close(NULL);
}

static void header_size(uint64_t size)
{
    patch(0, &size, 8);
}

/* Size of the undamaged weights. */
static size_t weights_size(void)
{
    size_t size;

    free(load(path_of(golden, WEIGHTS), &size));
    return size;
}

/* A row: opens a folder that was good before the change. */
#define OPENED(name, status, text, change) (good_files(), change, PLAIN(name, status, text, open_model(folder, NULL)))
/* Rows that change one field of the config, or one text in the header of the weights. */
#define FIELD(status, field, from, to, text)                                \
    OPENED("config: " field " " to, status, CONFIG_JSON ": " field text,     \
           edit(CONFIG_JSON, "\"" field "\": " from, "\"" field "\": " to))
#define HEADER(name, status, text, from, to) \
    OPENED("weights: " name, status, WEIGHTS ": " text, edit(WEIGHTS, from, to))

static wfvae_status open_checked(void)
{
    wfvae_model_options options = {0};

    options.struct_size = sizeof options;
    options.check_finite = 1;
    return open_model(folder, &options);
}

/* An error's words for a file that is not there. */
static const char *not_there(const char *name)
{
    static char text[300];

    snprintf(text, sizeof text, "%s: %s", name, os_no_file());
    return text;
}

static void test_folders(void)
{
    PLAIN("path: nothing there", IO, "no-such-model", open_model(path_of(folder, "no-such-model"), NULL));
    PLAIN("path: empty", IO, "the path is empty", open_model("", NULL));
    PLAIN("path: the config", CHECKPOINT, CONFIG_JSON ": not weights: name the folder",
          (good_files(), open_model(path_of(folder, CONFIG_JSON), NULL)));
    PLAIN("path: a file without a config", IO, CONFIG_JSON,
          (drop(CONFIG_JSON), open_model(path_of(folder, WEIGHTS), NULL)));
    PLAIN("path: a pickle", CHECKPOINT, "model.ckpt: a PyTorch pickle",
          (put_weights("model.ckpt", 100), open_model(path_of(folder, "model.ckpt"), NULL)));
    OPENED("folder: empty", IO, not_there(CONFIG_JSON), (drop(CONFIG_JSON), drop(WEIGHTS)));
    OPENED("folder: no config", IO, not_there(CONFIG_JSON), drop(CONFIG_JSON));
    OPENED("folder: no weights", IO, "no *.safetensors file", drop(WEIGHTS));
    OPENED("folder: a .ckpt alone", CHECKPOINT, "model.ckpt: a PyTorch pickle",
           (drop(WEIGHTS), put_text("model.ckpt", "x")));
    OPENED("folder: a .ckpt alone, what to do", CHECKPOINT,
           "convert it with training/convert.py, or in Python: state_dict = torch.load(\"model.ckpt\", weights_only=True)",
           (drop(WEIGHTS), put_text("model.ckpt", "x")));
    OPENED("folder: a .bin alone", CHECKPOINT, "safetensors.torch.save_file",
           (drop(WEIGHTS), put_text("pytorch_model.bin", "x")));
    OPENED("folder: two weights", CHECKPOINT, "2 safetensors files or indexes",
           (drop(WEIGHTS), put_weights("a.safetensors", 100), put_weights("b.safetensors", 100)));
    OPENED("folder: good", OK, NULL, (void)0);

    OPENED("index: empty", CHECKPOINT, INDEX_JSON, put_text(INDEX_JSON, ""));
    OPENED("index: not JSON", CHECKPOINT, INDEX_JSON, put_text(INDEX_JSON, "model.safetensors"));
    OPENED("index: no weight_map", CHECKPOINT, INDEX_JSON ": no \"weight_map\"", put_text(INDEX_JSON, "{}"));
    OPENED("index: nothing in it", CHECKPOINT, "names no tensor", put_text(INDEX_JSON, "{\"weight_map\": {}}"));
    OPENED("index: a number", CHECKPOINT, "tensor k: found 1", put_text(INDEX_JSON, "{\"weight_map\": {\"k\": 1}}"));
    OPENED("index: a shard that is missing", IO, not_there("a.safetensors"),
           put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"a.safetensors\"}}"));
    OPENED("index: out of the folder", CHECKPOINT, "tensor k: found \"../x\"",
           put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"../x\"}}"));
    OPENED("index: from the root", CHECKPOINT, "tensor k: found \"/etc/passwd\"",
           put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"/etc/passwd\"}}"));
    OPENED("index: the folder above", CHECKPOINT, "tensor k: found \"..\"",
           put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"..\"}}"));
    OPENED("index: a key that is not there", CHECKPOINT, "names tensor k in " WEIGHTS ", which does not hold it",
           put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"" WEIGHTS "\"}}"));
    OPENED("index: a tensor in two shards", CHECKPOINT, "is in another shard as well",
           (put_weights("a.safetensors", SIZE_MAX),
            put_text(INDEX_JSON, "{\"weight_map\": {\"k\": \"a.safetensors\", \"l\": \"" WEIGHTS "\"}}")));
}

static void test_config(void)
{
    OPENED("config: empty", CONFIG, CONFIG_JSON, put_text(CONFIG_JSON, ""));
    OPENED("config: not JSON", CONFIG, "expected value at line 1", put_text(CONFIG_JSON, "latent_dim = 4"));
    OPENED("config: cut", CONFIG, "line 1", put_text(CONFIG_JSON, "{\"latent_dim\": 4,"));
    OPENED("config: an array", CONFIG, "expected a JSON object", put_text(CONFIG_JSON, "[1, 2]"));
    OPENED("config: a string", CONFIG, "expected a JSON object", put_text(CONFIG_JSON, "\"WFVAEModel\""));
    OPENED("config: not UTF-8", CONFIG, CONFIG_JSON, put_text(CONFIG_JSON, "{\"latent_dim\": \"\xff\"}"));
    OPENED("config: a folder", IO, CONFIG_JSON, (drop(CONFIG_JSON), os_make_folder(path_of(folder, CONFIG_JSON))));
    OPENED("config: nothing in it", CONFIG, "has neither _class_name nor any field of a WF-VAE", put_text(CONFIG_JSON, "{}"));

    FIELD(CONFIG, "latent_dim", "4", "0", ": found 0, expected an integer from 1 to 65536");
    FIELD(CONFIG, "latent_dim", "4", "-4", ": found -4");
    FIELD(CONFIG, "latent_dim", "4", "4.5", ": found 4.5");
    FIELD(CONFIG, "latent_dim", "4", "\"4\"", ": found \"4\"");
    FIELD(CONFIG, "latent_dim", "4", "99999999999999999999", ": found 1e+20");
    FIELD(CONFIG, "base_channels", "4", "65537", ": found 65537");
    FIELD(CONFIG, "base_channels", "4", "[4]", ": found [4]");
    FIELD(CONFIG, "encoder_num_resblocks", "2", "65", ": found 65, expected an integer from 0 to 64");
    FIELD(CONFIG, "decoder_num_resblocks", "2", "0", ": found 0, expected an integer from 1 to 64");
    FIELD(CONFIG, "connect_res_layer_num", "1", "true", ": found true");
    FIELD(CONFIG, "use_attention", "true", "1", ": found 1, expected true or false");
    FIELD(CONFIG, "scale", "[", "1, \"unknown\": [", ": found 1, expected a list of numbers");
    FIELD(CONFIG, "shift", "[", "[\"0\", ", ": found [\"0\",-0.4");
    FIELD(CONFIG, "t_interpolation", "\"trilinear\"", "\"cubic\"", ": found \"cubic\", expected \"nearest\" or");
    FIELD(CONFIG, "t_interpolation", "\"trilinear\"", "3", ": found 3, expected a string");
    FIELD(CONFIG, "norm_type", "\"layernorm\"", "\"batchnorm\"", ": found \"batchnorm\", expected");
    OPENED("config: groupnorm", CONFIG, "group norms need multiples of 32 channels, encoder.down1.1.norm1.weight has 4",
           edit(CONFIG_JSON, "\"layernorm\"", "\"groupnorm\""));
    FIELD(CONFIG, "_class_name", "\"WFVAEModel\"", "\"AutoencoderKL\"", ": found \"AutoencoderKL\", expected");
    OPENED("config: of the other generation", CONFIG, "encoder_energy_flow_hidden_size: a field of WFVAEModel; is _class_name right",
           edit(CONFIG_JSON, "\"WFVAEModel\"", "\"WFVAE2Model\""));
    FIELD(CONFIG, "attention_type", "\"AttnBlock3DFix\"", "\"AttnBlock2D\"", ": found \"AttnBlock2D\", expected");
    FIELD(UNSUPPORTED_MODEL, "attention_type", "\"AttnBlock3DFix\"", "\"AttnBlock3D\"", " \"AttnBlock3D\"");
    FIELD(CONFIG, "l1_dowmsample_block", "\"Downsample\"", "\"Upsample\"", ": found \"Upsample\", expected");
    FIELD(CONFIG, "l1_downsample_wavelet", "\"HaarWaveletTransform2D\"", "\"Haar\"", ": found \"Haar\", expected");
    FIELD(UNSUPPORTED_MODEL, "l1_upsample_block", "\"Upsample\"", "\"Spatial2xTime2x3DUpsample\"", " \"Spatial2x");
    FIELD(UNSUPPORTED_MODEL, "l2_upsample_block", "\"Spatial2xTime2x3DUpsample\"", "\"Upsample\"", ": found \"Ups");
    OPENED("config: a number out of range", CONFIG, "number out of range at line",
           edit(CONFIG_JSON, "\"latent_dim\": 4", "\"latent_dim\": 1e999"));
    OPENED("config: absurd sizes", CHECKPOINT, "found shape [",
           (edit(CONFIG_JSON, "\"base_channels\": 4", "\"base_channels\": 65536"),
            edit(CONFIG_JSON, "\"latent_dim\": 4", "\"latent_dim\": 65536")));
    OPENED("config: of another model", CHECKPOINT, WEIGHTS ": tensor encoder.mid.1.norm1.norm.weight is missing",
           edit(CONFIG_JSON, "\"use_attention\": true", "\"use_attention\": false"));
}

#define FIRST "\"decoder.connect_l1.0.conv1.conv.bias\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[0,16]}"
#define HAAR "encoder.wavelet_transform_in."

static void test_weights(void)
{
    const size_t size = weights_size();

    OPENED("weights: cut to 0", CHECKPOINT, WEIGHTS ": the file is empty", put_weights(WEIGHTS, 0));
    OPENED("weights: cut to 5", CHECKPOINT, "found 5 bytes", put_weights(WEIGHTS, 5));
    OPENED("weights: cut to 8", CHECKPOINT, "truncated, or not safetensors", put_weights(WEIGHTS, 8));
    OPENED("weights: cut in the header", CHECKPOINT, "truncated, or not safetensors", put_weights(WEIGHTS, 1000));
    OPENED("weights: cut after the header", CHECKPOINT, "truncated or damaged: tensor", put_weights(WEIGHTS, 30000));
    OPENED("weights: cut by one byte", CHECKPOINT, "truncated or damaged: tensor", put_weights(WEIGHTS, size - 1));
    OPENED("weights: one byte more", CHECKPOINT, WEIGHTS ": 1 bytes after the last tensor", patch(size, "x", 1));
    OPENED("weights: header of 0", CHECKPOINT, WEIGHTS ": invalid JSON in header", header_size(0));
    OPENED("weights: header too short", CHECKPOINT, WEIGHTS ": invalid JSON in header", header_size(1000));
    OPENED("weights: header as long as the file", CHECKPOINT, "invalid UTF-8 in header", header_size(size - 8));
    OPENED("weights: header of 2^63", CHECKPOINT, "the header is 9223372036854775808", header_size(UINT64_C(1) << 63));
    OPENED("weights: header of 2^64 - 1", CHECKPOINT, "the header is 18446744073709551615", header_size(UINT64_MAX));
    OPENED("weights: not safetensors", CHECKPOINT, "not safetensors", put_text(WEIGHTS, "version 1 of something else"));

    HEADER("outside the file", CHECKPOINT, "truncated or damaged: tensor", "[622976,623008]", "[622976,9623008]");
    HEADER("offsets backwards", CHECKPOINT, "truncated or damaged: tensor", "[622976,623008]", "[623008,622976]");
    HEADER("offsets below 0", CHECKPOINT, "tensor decoder.connect_l1.0.conv1.conv.bias", "[0,16]", "[-16,0]");
    HEADER("overlapping", CHECKPOINT,
           "damaged: tensor decoder.connect_l1.0.conv1.conv.weight begins 4 bytes inside the tensor before it", "[16,1744]", "[12,1740]");
    HEADER("a shape that its bytes do not fit", CHECKPOINT,
           "tensor decoder.connect_l1.0.conv1.conv.bias: found 16 bytes, its shape and type need 5 x 4",
           "\"shape\":[4]", "\"shape\":[5]");
    HEADER("a shape that overflows", CHECKPOINT, "tensor decoder.connect_l1.0.conv1.conv.bias: found 16 bytes",
           "\"shape\":[4]", "\"shape\":[4294967296,4294967296,4294967296]");
    HEADER("another shape", CHECKPOINT,
           "tensor decoder.connect_l1.0.conv1.conv.weight: found shape [4, 4, 3, 9, 1], expected [4, 4, 3, 3, 3]",
           "[4,4,3,3,3]", "[4,4,3,9,1]");
    HEADER("integers", CHECKPOINT,
           "tensor decoder.connect_l1.0.conv1.conv.bias: found I32, expected F32, F16, BF16 or F64", "\"F32\"", "\"I32\"");
    OPENED("weights: a type that nobody knows", CHECKPOINT, "found F33, expected F32, F16, BF16 or F64",
           edit(WEIGHTS, "\"F32\"", "\"F33\""));
    HEADER("a key that is missing", CHECKPOINT, "tensor " BIAS " is missing, expected shape [4]", "\"" BIAS, "\"lost");
    HEADER("an encoder key too many", CHECKPOINT,
           "has 1 tensors that config.json does not describe, the first is encoder.x",
           FIRST, FIRST ",\"encoder.x\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[16,16]}");
    HEADER("a Haar band that is missing", CHECKPOINT, "tensor " HAAR "g_v is missing", "\"" HAAR "g_v_conv", "\"lost");
    HEADER("a Haar band of another shape", CHECKPOINT, "tensor " HAAR "g_conv.conv.weight: found shape [8]",
           "\"" HAAR "g_conv.conv.weight\":{\"dtype\":\"F32\",\"shape\":[1,1,2,2,2]",
           "\"" HAAR "g_conv.conv.weight\":{\"dtype\":\"F32\",\"shape\":[8]");
    OPENED("weights: a Haar constant that is another", CHECKPOINT, "tensor " HAAR "h_conv.conv.weight: found [",
           number(HAAR "h_conv.conv.weight", 3, 0.5f));
    OPENED("weights: a Haar constant that is NaN", CHECKPOINT, "expected the Haar kernel",
           number(HAAR "h_conv", 0, NAN));
    OPENED("weights: a Haar sign", CHECKPOINT, "expected the Haar kernel",
           number(HAAR "g_conv.conv.weight", 0, -0.3536f));

    OPENED("weights: a NaN, not looked for", OK, NULL, number(BIAS, 2, NAN));
    PLAIN("weights: a NaN", CHECKPOINT, "tensor " BIAS ": element 2 is NaN, expected a finite number", open_checked());
    OPENED("weights: an infinity, not looked for", OK, NULL, number(BIAS, 0, -INFINITY));
    PLAIN("weights: an infinity", CHECKPOINT, "tensor " BIAS ": element 0 is -inf", open_checked());
    PLAIN("weights: all finite", OK, NULL, (good_files(), open_checked()));

    /* Configs may leave out the number of layers, which then comes from the keys. */
    OPENED("weights: an absurd number of layers", CHECKPOINT, WEIGHTS,
           (edit(CONFIG_JSON, "\"connect_res_layer_num\": 1,", ""),
            edit(WEIGHTS, "decoder.connect_l1.1.bias", "decoder.connect_l1.4000000000.bias")));
}

/* The checkpoint is written to after the model was opened and before the first stream. */
static void test_changed_weights(void)
{
    wfvae_options options = {0};
    wfvae_model *model = NULL;
    wfvae_stream *stream = NULL;

    options.struct_size = sizeof options;
    options.width = options.height = SIDE;
    good_files();
    must(!wfvae_model_open(folder, NULL, &model), "model");
    number(BIAS, 2, 0.25f);
    PLAIN("changed weights: stream", CHECKPOINT, "changed since it was opened; open it again",
          wfvae_create(model, &options, &stream));
    must(!os_make_folder(path_of(folder, "graphs")), "folder");
    PLAIN("changed weights: graphs", CHECKPOINT, "changed since it was opened",
          wfvae_model_save_onnx(model, path_of(folder, "graphs"), WFVAE_GRAPHS_STEPS));
    result("changed weights: no graph", !rmdir(path_of(folder, "graphs")));
    wfvae_model_close(model);
    must(!wfvae_model_open(folder, NULL, &model), "model");
    PLAIN("changed weights: opened again", OK, NULL, wfvae_create(model, &options, &stream));
    wfvae_destroy(stream);
    wfvae_model_close(model);
    good_files();
}

int main(int argc, char **argv)
{
    clip_open(argc, argv);
    folder_make();
    test_null();
    test_folders();
    test_config();
    test_weights();
    test_changed_weights();
    folder_remove();
    return clip_close();
}
