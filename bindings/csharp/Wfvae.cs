// libwfvae for C#: the whole C API in one file, for Unity, Mono and .NET. README.md beside it shows how to use it.
//
// It needs C# 7.0, unsafe code, a 64-bit process and libwfvae where the runtime finds native libraries. Nothing else.
//
// Errors. A call that fails throws WfvaeException with the library's status and text. Wrong arguments that would make
// the library touch memory outside your arrays throw ArgumentException before it is called. A disposed object throws
// ObjectDisposedException.
//
// Threads. Any thread may call. A Model, a Snapshot and a LatentReader may be used by several threads at once. A
// VideoStream and a LatentWriter serve one thread at a time; a second call meanwhile throws Status.Busy. Only Cancel,
// Progress and Dispose may be called at any time. Calls may take seconds: keep them off the main thread.
//
// Lifetime. Dispose in any order. What you do not dispose, the garbage collector releases. Dispose of a stream cancels
// the call that another thread is running on it; the native stream is destroyed when that call has returned.
//
// Memory. Arrays are pinned during the call only. Calls on arrays, pointers and spans allocate nothing, except for a
// CancellationToken.
//
// SPDX-License-Identifier: MIT OR Apache-2.0

#if NETSTANDARD2_1 || NETSTANDARD2_1_OR_GREATER || NET_STANDARD_2_1 || NETCOREAPP || NET
#define WFVAE_SPANS
#endif

using System;
using System.Collections.Generic;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

namespace Wfvae
{
    /// <summary>What a call returned; see wfvae_status. Treat a value that you do not know as a failure.</summary>
    public enum Status
    {
        /// <summary>Success. Never in an exception.</summary>
        Ok = 0,
        /// <summary>An argument is outside its range. Nothing was consumed.</summary>
        InvalidArgument = 100,
        /// <summary>The model or the stream does not support this width or height. Nothing was consumed.</summary>
        InvalidSize = 101,
        /// <summary>The output is too small. Nothing was consumed.</summary>
        Capacity = 102,
        /// <summary>The call is out of order, such as a chunk after the flush. Nothing was consumed.</summary>
        InvalidState = 103,
        /// <summary>Another thread is inside a call on the same stream or writer. Nothing was consumed.</summary>
        Busy = 104,
        /// <summary>An earlier call on this stream failed: call Reset.</summary>
        NeedsReset = 105,
        /// <summary>The object belongs to the parent of this forked process.</summary>
        Forked = 106,
        /// <summary>A file or folder could not be read or written.</summary>
        Io = 200,
        /// <summary>config.json is malformed.</summary>
        Config = 201,
        /// <summary>The weights are damaged or incomplete.</summary>
        Checkpoint = 202,
        /// <summary>The model is of a kind that this version does not support.</summary>
        UnsupportedModel = 203,
        /// <summary>A latent file is damaged or does not match the model or stream.</summary>
        LatentFile = 204,
        /// <summary>ONNX Runtime was not found or cannot be loaded.</summary>
        RuntimeMissing = 300,
        /// <summary>The ONNX Runtime that was found is too old.</summary>
        RuntimeTooOld = 301,
        /// <summary>The requested execution provider cannot run here.</summary>
        Provider = 302,
        /// <summary>ONNX Runtime failed. The stream needs Reset.</summary>
        Runtime = 303,
        /// <summary>A NaN, an infinity or a value too large for float16.</summary>
        NotFinite = 304,
        /// <summary>The call was cancelled. The stream needs Reset.</summary>
        Cancelled = 400,
        /// <summary>Memory could not be allocated.</summary>
        OutOfMemory = 401,
        /// <summary>A bug in libwfvae: please report it.</summary>
        Internal = 900,
    }

    /// <summary>Directions of a model or a stream.</summary>
    [Flags]
    public enum Direction : uint
    {
        /// <summary>Encoding, frames to latents.</summary>
        Encode = 1,
        /// <summary>Decoding, latents to frames.</summary>
        Decode = 2,
    }

    /// <summary>How pixels are stored; wfvae_pixel_format in wfvae.h describes each.</summary>
    public enum PixelFormat : uint
    {
        /// <summary>Packed bytes R, G, B.</summary>
        Rgb8 = 1,
        /// <summary>Packed bytes R, G, B, A: Unity's RGBA32.</summary>
        Rgba8 = 2,
        /// <summary>3 planes of bytes R, G, B.</summary>
        Rgbp8 = 3,
        /// <summary>3 planes of bytes G, B, R.</summary>
        Gbrp8 = 4,
        /// <summary>3 planes of 16-bit integers R, G, B.</summary>
        Rgbp16 = 5,
        /// <summary>3 planes of 16-bit integers G, B, R.</summary>
        Gbrp16 = 6,
        /// <summary>3 planes of float R, G, B.</summary>
        RgbpF32 = 7,
        /// <summary>3 planes of float G, B, R.</summary>
        GbrpF32 = 8,
        /// <summary>Packed bytes B, G, R.</summary>
        Bgr8 = 9,
        /// <summary>Packed bytes B, G, R, A: Unity's BGRA32.</summary>
        Bgra8 = 10,
        /// <summary>Packed 16-bit integers R, G, B.</summary>
        Rgb16 = 11,
        /// <summary>Packed 16-bit integers R, G, B, A.</summary>
        Rgba16 = 12,
        /// <summary>Packed float16 R, G, B.</summary>
        RgbF16 = 13,
        /// <summary>Packed float16 R, G, B, A: Unity's RGBAHalf.</summary>
        RgbaF16 = 14,
        /// <summary>Packed float R, G, B.</summary>
        RgbF32 = 15,
        /// <summary>Packed float R, G, B, A: Unity's RGBAFloat.</summary>
        RgbaF32 = 16,
        /// <summary>3 planes of float16 R, G, B.</summary>
        RgbpF16 = 17,
        /// <summary>3 planes of bfloat16 R, G, B.</summary>
        RgbpBf16 = 18,
        /// <summary>1 plane of bytes: luma.</summary>
        Gray8 = 19,
        /// <summary>1 plane of 16-bit integers: luma.</summary>
        Gray16 = 20,
        /// <summary>3 planes of bytes Y, Cb, Cr, chroma of half the width and height: I420.</summary>
        Yuv420p8 = 21,
        /// <summary>The same in 16-bit integers.</summary>
        Yuv420p16 = 22,
        /// <summary>3 planes of bytes Y, Cb, Cr, chroma of half the width.</summary>
        Yuv422p8 = 23,
        /// <summary>The same in 16-bit integers.</summary>
        Yuv422p16 = 24,
        /// <summary>3 planes of bytes Y, Cb, Cr of the frame's size.</summary>
        Yuv444p8 = 25,
        /// <summary>The same in 16-bit integers.</summary>
        Yuv444p16 = 26,
        /// <summary>3 planes of bytes Y, Cb, Cr, chroma of a quarter of the width.</summary>
        Yuv411p8 = 27,
        /// <summary>2 planes of bytes: Y, and pairs Cb, Cr of half the width and height.</summary>
        Nv12 = 28,
        /// <summary>The same in the high bits of 16-bit integers.</summary>
        P010 = 29,
    }

    /// <summary>The range of float frames; wfvae_range.</summary>
    public enum FloatRange : uint
    {
        /// <summary>0 is black, 1 is white.</summary>
        Unit = 0,
        /// <summary>-1 is black, 1 is white.</summary>
        Signed = 1,
    }

    /// <summary>How YUV and grey are calculated from RGB; wfvae_matrix.</summary>
    public enum YuvMatrix : uint
    {
        /// <summary>BT.709 from 720 lines up, else BT.601.</summary>
        Auto = 0,
        /// <summary>BT.601.</summary>
        Bt601 = 1,
        /// <summary>BT.709.</summary>
        Bt709 = 2,
        /// <summary>BT.2020, non-constant luminance.</summary>
        Bt2020 = 3,
    }

    /// <summary>Which codes are black and white in YUV and grey; wfvae_yuv_range.</summary>
    public enum YuvRange : uint
    {
        /// <summary>16 to 235 in 8 bits.</summary>
        Limited = 0,
        /// <summary>All codes.</summary>
        Full = 1,
    }

    /// <summary>Where chroma samples lie; wfvae_siting.</summary>
    public enum Siting : uint
    {
        /// <summary>H.264, MPEG-2.</summary>
        Left = 0,
        /// <summary>JPEG, MPEG-1.</summary>
        Centre = 1,
        /// <summary>Most BT.2020 video.</summary>
        TopLeft = 2,
    }

    /// <summary>Where frames or latents are; wfvae_memory_kind.</summary>
    public enum MemoryKind : uint
    {
        /// <summary>In the CPU's memory.</summary>
        Cpu = 0,
        /// <summary>In the memory of the model's CUDA device: give addresses, not arrays or spans.</summary>
        Cuda = 1,
    }

    /// <summary>Where the network runs; wfvae_provider.</summary>
    public enum Provider : uint
    {
        /// <summary>CUDA device 0 if it can be used, otherwise the CPU; ModelInfo.Fallback says why.</summary>
        Auto = 0,
        /// <summary>The CPU.</summary>
        Cpu = 1,
        /// <summary>A CUDA device.</summary>
        Cuda = 2,
    }

    /// <summary>How severe a message is; wfvae_log_level.</summary>
    public enum LogLevel : uint
    {
        /// <summary>As Info.</summary>
        Default = 0,
        /// <summary>Something failed.</summary>
        Error = 1,
        /// <summary>Something unusual was worked around.</summary>
        Warn = 2,
        /// <summary>What was opened and where it runs.</summary>
        Info = 3,
        /// <summary>Loading times and choices.</summary>
        Debug = 4,
        /// <summary>Everything, from ONNX Runtime's threads too.</summary>
        Trace = 5,
    }

    /// <summary>How latents are stored; wfvae_latent_type.</summary>
    public enum LatentType : uint
    {
        /// <summary>float, 4 bytes.</summary>
        F32 = 0,
        /// <summary>IEEE half precision, 2 bytes: ushort[], short[] or byte[] here.</summary>
        F16 = 1,
    }

    /// <summary>Which latent the encoder writes; wfvae_posterior.</summary>
    public enum Posterior : uint
    {
        /// <summary>The mean: C channels.</summary>
        Mean = 0,
        /// <summary>A sample: C channels.</summary>
        Sample = 1,
        /// <summary>Mean and log-variance: 2C channels.</summary>
        Moments = 2,
    }

    /// <summary>How streams store their causal caches; wfvae_cache_type.</summary>
    public enum CacheType : uint
    {
        /// <summary>float: exact.</summary>
        F32 = 0,
        /// <summary>Half the memory, not exact.</summary>
        F16 = 1,
    }

    /// <summary>How 3x3 convolutions are computed; wfvae_convolution.</summary>
    public enum Convolution : uint
    {
        /// <summary>The fastest that is exact to the rounding of float32.</summary>
        Exact = 0,
        /// <summary>A few per cent faster, less exact.</summary>
        Fast = 1,
        /// <summary>ONNX Runtime's 2D convolutions.</summary>
        Direct = 2,
        /// <summary>ONNX Runtime's 2D convolution of stacked frames.</summary>
        Stacked = 3,
        /// <summary>ONNX Runtime's 3D convolution.</summary>
        Volume = 4,
    }

    /// <summary>The memory layout between layers; wfvae_layout.</summary>
    public enum Layout : uint
    {
        /// <summary>ChannelsLast on a CUDA device, where that is possible; otherwise Planes.</summary>
        Auto = 0,
        /// <summary>One plane per channel.</summary>
        Planes = 1,
        /// <summary>Channels side by side.</summary>
        ChannelsLast = 2,
    }

    /// <summary>The type in which the network computes; wfvae_precision.</summary>
    public enum Precision : uint
    {
        /// <summary>float32.</summary>
        F32 = 0,
        /// <summary>float32 with products in TF32 on CUDA devices.</summary>
        Tf32 = 1,
        /// <summary>IEEE half precision.</summary>
        F16 = 2,
        /// <summary>bfloat16; on CUDA devices, and on CPUs with a matrix unit (Intel AMX).</summary>
        Bf16 = 3,
    }

    /// <summary>Whether frames are processed in tiles; wfvae_tiling.</summary>
    public enum Tiling : uint
    {
        /// <summary>The whole frame at once.</summary>
        Off = 0,
        /// <summary>Tiles whose result equals the whole frame's up to rounding.</summary>
        Exact = 1,
        /// <summary>Overlapping tiles with a cross-fade.</summary>
        Blended = 2,
    }

    /// <summary>Which graphs SaveOnnx writes; wfvae_graphs.</summary>
    public enum Graphs : uint
    {
        /// <summary>Those that the library runs, one frame a step.</summary>
        Steps = 0,
        /// <summary>The whole clip in one graph.</summary>
        Clip = 1,
    }

    /// <summary>A call of libwfvae that failed.</summary>
    public sealed class WfvaeException : Exception
    {
        internal WfvaeException(Status status, string text) : base(text)
        {
            Status = status;
        }

        /// <summary>What kind of error it is. Message says what is wrong and what to do.</summary>
        public Status Status { get; }
    }

    /// <summary>The loaded library.</summary>
    public static unsafe class Library
    {
        /// <summary>The release, such as "0.1.0".</summary>
        public static string Version
        {
            get { return Native.Text(Native.wfvae_version()); }
        }

        /// <summary>WFVAE_API_VERSION of the loaded library.</summary>
        public static int ApiVersion
        {
            get { return (int)Native.wfvae_api_version(); }
        }

        /// <summary>A short English text for a status. Any value is allowed.</summary>
        public static string Describe(Status status)
        {
            return Native.Text(Native.wfvae_status_str((int)status));
        }

        /// <summary>Converts one picture to another format, as encoding reads frames and decoding writes them.</summary>
        /// <param name="from">Where the pixels lie in source.</param>
        /// <param name="source">The picture.</param>
        /// <param name="to">Where the pixels lie in target; of the same size.</param>
        /// <param name="target">Another array, which receives the picture.</param>
        public static void Convert(FrameLayout from, Array source, FrameLayout to, Array target)
        {
            using (Pinned read = new Pinned(source, "source"))
            using (Pinned write = new Pinned(target, "target"))
            {
                read.CheckFrames(from.Format);
                write.CheckFrames(to.Format);
                from.Check("source", read.Size, 1);
                to.Check("target", write.Size, 1);
                Frame input, output;
                from.Fill(read.Address, &input);
                to.Fill(write.Address, &output);
                Native.Check(Native.wfvae_convert_frame(&input, &output));
            }
        }
    }

    /// <summary>How to open a model; wfvae_model_options. The defaults suit most programs.</summary>
    public sealed class ModelOptions
    {
        /// <summary>Path of ONNX Runtime's library. Null: it is searched for, see wfvae_model_options.</summary>
        public string RuntimePath;
        /// <summary>Where to run.</summary>
        public Provider Provider;
        /// <summary>Index of the provider's device.</summary>
        public int Device;
        /// <summary>Threads for one call, up to 1024; 0: one for each CPU.</summary>
        public int Threads;
        /// <summary>Read all weights now, and refuse those that hold a NaN or an infinity.</summary>
        public bool CheckFinite;
        /// <summary>
        /// Receives messages, from any thread that is inside a call on the model or its streams, possibly from several
        /// at once. It must not call this library. What it throws is dropped. Null: no messages.
        /// </summary>
        public Action<LogLevel, string> Log;
        /// <summary>Which messages Log receives.</summary>
        public LogLevel LogLevel;
        /// <summary>Type of the streams' causal caches.</summary>
        public CacheType CacheType;
        /// <summary>Bytes of the attention score matrix; 0: 64 MiB. Does not change the results.</summary>
        public long AttentionBytes;
        /// <summary>How convolutions are computed.</summary>
        public Convolution Convolution;
        /// <summary>The memory layout between layers.</summary>
        public Layout Layout;
        /// <summary>The encoder's precision.</summary>
        public Precision EncodePrecision;
        /// <summary>The decoder's precision.</summary>
        public Precision DecodePrecision;
        /// <summary>Options of the CUDA provider, "name=value" separated by commas. Null: none.</summary>
        public string ProviderOptions;
    }

    /// <summary>How to create a stream; wfvae_options. Set Width and Height.</summary>
    public sealed class StreamOptions
    {
        /// <summary>Width of the frames in pixels, 1 to 32768.</summary>
        public int Width;
        /// <summary>Height of the frames in pixels, 1 to 32768.</summary>
        public int Height;
        /// <summary>0: all directions of the model.</summary>
        public Direction Directions;
        /// <summary>Allow sizes that are no multiple of the model's SpatialCompression.</summary>
        public bool Padding;
        /// <summary>Type of the latents in your memory.</summary>
        public LatentType LatentType;
        /// <summary>Which latents encoding writes.</summary>
        public Posterior Posterior;
        /// <summary>Seed of the noise of Posterior.Sample.</summary>
        public ulong Seed;
        /// <summary>Latents are (z - shift) * scale with the lists in config.json.</summary>
        public bool Scaled;
        /// <summary>Whether frames are processed in tiles.</summary>
        public Tiling Tiling;
        /// <summary>Width of the tiles in pixels; 0: the frame's, or what MemoryLimit allows.</summary>
        public int TileWidth;
        /// <summary>Height of the tiles, likewise.</summary>
        public int TileHeight;
        /// <summary>The least overlap of blended tiles in pixels; 0: a quarter of a tile's shorter side.</summary>
        public int TileOverlap;
        /// <summary>LatentReader.Check accepts latents of other encoders.</summary>
        public bool AnyEncoder;
        /// <summary>0: streaming. Above: each call takes one whole clip of at most this many frames.</summary>
        public long ClipFrames;
        /// <summary>Above 0: creating the stream fails if it would take more bytes than this.</summary>
        public long MemoryLimit;
        /// <summary>Keep the alpha of each input frame and write it to the output frame of the same index.</summary>
        public bool Alpha;
        /// <summary>Where frames are.</summary>
        public MemoryKind FrameMemory;
        /// <summary>Where latents are.</summary>
        public MemoryKind LatentMemory;
        /// <summary>The CUDA stream in which the program works on them; zero: the device's legacy default stream.</summary>
        public IntPtr CudaStream;
    }

    /// <summary>What a model is and what it runs on; wfvae_model_info.</summary>
    public sealed class ModelInfo
    {
        /// <summary>The checkpoint that was opened, or "the built-in model".</summary>
        public string Name { get; internal set; }
        /// <summary>"CPU" or "CUDA".</summary>
        public string Provider { get; internal set; }
        /// <summary>ONNX Runtime's library.</summary>
        public string RuntimePath { get; internal set; }
        /// <summary>Its version.</summary>
        public string RuntimeVersion { get; internal set; }
        /// <summary>Why Provider.Auto chose the CPU; otherwise empty.</summary>
        public string Fallback { get; internal set; }
        /// <summary>Trainable parameters.</summary>
        public long Parameters { get; internal set; }
        /// <summary>Identifies the model.</summary>
        public ulong Identity { get; internal set; }
        /// <summary>Identifies the encoder and thereby its latents; 0: the checkpoint has none.</summary>
        public ulong EncoderIdentity { get; internal set; }
        /// <summary>Identifies the decoder; 0: the checkpoint has none.</summary>
        public ulong DecoderIdentity { get; internal set; }
        /// <summary>Bytes of the weights loaded so far.</summary>
        public long WeightBytes { get; internal set; }
        /// <summary>Bytes that the streams hold on the device.</summary>
        public long DeviceBytes { get; internal set; }
        /// <summary>ONNX Runtime sessions loaded so far.</summary>
        public int Sessions { get; internal set; }
        /// <summary>1: WFVAEModel, 2: WFVAE2Model.</summary>
        public int Generation { get; internal set; }
        /// <summary>C of the latents.</summary>
        public int LatentChannels { get; internal set; }
        /// <summary>Pixels per latent value, in each direction.</summary>
        public int SpatialCompression { get; internal set; }
        /// <summary>Frames per latent, after the first.</summary>
        public int TemporalCompression { get; internal set; }
        /// <summary>The most frames that wait in the encoder.</summary>
        public int EncodeDelay { get; internal set; }
        /// <summary>Frames that the decoder holds back until the next latent or the flush.</summary>
        public int DecodeDelay { get; internal set; }
        /// <summary>Whether the network has attention.</summary>
        public bool HasAttention { get; internal set; }
        /// <summary>Whether StreamOptions.Scaled can be used.</summary>
        public bool HasScaling { get; internal set; }
        /// <summary>Whether each call takes one whole clip.</summary>
        public bool WholeClips { get; internal set; }
        /// <summary>Whether decode calls take whole clips, too; if not, latents are decoded in any number of calls.</summary>
        public bool DecodeWholeClips { get; internal set; }
        /// <summary>Pixels of context of an exact encoder tile; 0: exact tiles are impossible.</summary>
        public int EncodeHalo { get; internal set; }
        /// <summary>The same for the decoder.</summary>
        public int DecodeHalo { get; internal set; }
        /// <summary>The device's index.</summary>
        public int Device { get; internal set; }
        /// <summary>The encoder's precision.</summary>
        public Precision EncodePrecision { get; internal set; }
        /// <summary>The decoder's precision.</summary>
        public Precision DecodePrecision { get; internal set; }
        /// <summary>What streams of the model can do.</summary>
        public Direction Directions { get; internal set; }
    }

    /// <summary>Sizes and counters of a stream; wfvae_info.</summary>
    public struct StreamInfo
    {
        /// <summary>Width of the frames, in pixels.</summary>
        public int Width { get; internal set; }
        /// <summary>Height of the frames, in pixels.</summary>
        public int Height { get; internal set; }
        /// <summary>w of the latents.</summary>
        public int LatentWidth { get; internal set; }
        /// <summary>h of the latents.</summary>
        public int LatentHeight { get; internal set; }
        /// <summary>C of the latents that decoding reads.</summary>
        public int LatentChannels { get; internal set; }
        /// <summary>Channels that encoding writes: C, or 2C with Posterior.Moments.</summary>
        public int EncodedChannels { get; internal set; }
        /// <summary>Bytes of one latent that decoding reads.</summary>
        public long LatentSize { get; internal set; }
        /// <summary>Bytes of one latent that encoding writes.</summary>
        public long EncodedSize { get; internal set; }
        /// <summary>Bytes of the encoder's caches and buffers.</summary>
        public long EncodeStateBytes { get; internal set; }
        /// <summary>Bytes of the decoder's caches and buffers.</summary>
        public long DecodeStateBytes { get; internal set; }
        /// <summary>Frames encoded since the clip's start.</summary>
        public long FramesIn { get; internal set; }
        /// <summary>Latents written since the clip's start.</summary>
        public long LatentsOut { get; internal set; }
        /// <summary>Latents decoded since the clip's start.</summary>
        public long LatentsIn { get; internal set; }
        /// <summary>Frames written since the clip's start.</summary>
        public long FramesOut { get; internal set; }
        /// <summary>Runs of the encoder's steps since the stream was created.</summary>
        public long EncodeSteps { get; internal set; }
        /// <summary>Runs of the decoder's steps since the stream was created.</summary>
        public long DecodeSteps { get; internal set; }
        /// <summary>An earlier call failed: call Reset.</summary>
        public bool NeedsReset { get; internal set; }
    }

    /// <summary>How far a stream's running call is, in steps of the network; 0 of 0 if no call is running.</summary>
    public struct Progress
    {
        /// <summary>Steps that have run.</summary>
        public long StepsDone { get; internal set; }
        /// <summary>Steps in all.</summary>
        public long StepsTotal { get; internal set; }
    }

    /// <summary>The memory that a stream takes, in bytes, and its tiles; wfvae_memory.</summary>
    public struct MemoryEstimate
    {
        /// <summary>The sum of the following four.</summary>
        public long TotalBytes { get; internal set; }
        /// <summary>The model's weights, shared with its other streams.</summary>
        public long WeightBytes { get; internal set; }
        /// <summary>The encoder's caches and buffers.</summary>
        public long EncodeStateBytes { get; internal set; }
        /// <summary>The decoder's caches and buffers.</summary>
        public long DecodeStateBytes { get; internal set; }
        /// <summary>The tensors between the layers.</summary>
        public long WorkingBytes { get; internal set; }
        /// <summary>Width of the encoder's tiles, in pixels.</summary>
        public int EncodeTileWidth { get; internal set; }
        /// <summary>Height of the encoder's tiles, in pixels.</summary>
        public int EncodeTileHeight { get; internal set; }
        /// <summary>The encoder's tiles per frame.</summary>
        public int EncodeTiles { get; internal set; }
        /// <summary>Width of the decoder's tiles, in pixels.</summary>
        public int DecodeTileWidth { get; internal set; }
        /// <summary>Height of the decoder's tiles, in pixels.</summary>
        public int DecodeTileHeight { get; internal set; }
        /// <summary>The decoder's tiles per frame.</summary>
        public int DecodeTiles { get; internal set; }
    }

    /// <summary>What a latent file holds; wfvae_latent_file_info.</summary>
    public sealed class LatentFileInfo
    {
        /// <summary>Identity of the model that made the latents.</summary>
        public ulong ModelIdentity { get; internal set; }
        /// <summary>Identity of its encoder; 0: the file does not say.</summary>
        public ulong EncoderIdentity { get; internal set; }
        /// <summary>Identity of its decoder; 0: it had none, or the file does not say.</summary>
        public ulong DecoderIdentity { get; internal set; }
        /// <summary>Frames of the clip.</summary>
        public long Frames { get; internal set; }
        /// <summary>T: latents in the file.</summary>
        public long Latents { get; internal set; }
        /// <summary>The seed of Posterior.Sample.</summary>
        public ulong Seed { get; internal set; }
        /// <summary>Width of the frames, in pixels.</summary>
        public int Width { get; internal set; }
        /// <summary>Height of the frames, in pixels.</summary>
        public int Height { get; internal set; }
        /// <summary>Decode with StreamOptions.Padding.</summary>
        public bool Padded { get; internal set; }
        /// <summary>Pixels per latent value, in each direction.</summary>
        public int SpatialCompression { get; internal set; }
        /// <summary>Frames per latent, after the first.</summary>
        public int TemporalCompression { get; internal set; }
        /// <summary>C of the latents that decoding reads.</summary>
        public int LatentChannels { get; internal set; }
        /// <summary>w of the latents.</summary>
        public int LatentWidth { get; internal set; }
        /// <summary>h of the latents.</summary>
        public int LatentHeight { get; internal set; }
        /// <summary>What the file holds.</summary>
        public Posterior Posterior { get; internal set; }
        /// <summary>How the file stores the values.</summary>
        public LatentType LatentType { get; internal set; }
        /// <summary>Decode with StreamOptions.Scaled.</summary>
        public bool Scaled { get; internal set; }
        /// <summary>Frames per second are FpsNum / FpsDen; both 0: unknown.</summary>
        public uint FpsNum { get; internal set; }
        /// <summary>See FpsNum.</summary>
        public uint FpsDen { get; internal set; }
        /// <summary>The model's scale; null: it has no usable lists.</summary>
        public float[] Scale { get; internal set; }
        /// <summary>The model's shift, likewise.</summary>
        public float[] Shift { get; internal set; }
        /// <summary>The program that wrote the file.</summary>
        public string Generator { get; internal set; }
        /// <summary>The writer's note, empty if there is none. Do not trust its contents.</summary>
        public string Note { get; internal set; }
    }

    /// <summary>One picture in memory that does not move; wfvae_frame. For frames at unrelated addresses.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Frame
    {
        /// <summary>Set by the calls that take frames.</summary>
        internal UIntPtr StructSize;
        /// <summary>How the pixels are stored.</summary>
        public PixelFormat Format;
        /// <summary>Width in pixels.</summary>
        public uint Width;
        /// <summary>Height in pixels.</summary>
        public uint Height;
        /// <summary>Significant bits of the 16-bit formats, 9 to 16; 0: 16 (P010: 10).</summary>
        public uint BitDepth;
        /// <summary>Range of the float formats.</summary>
        public FloatRange Range;
        /// <summary>Matrix of YUV and grey formats.</summary>
        public YuvMatrix Matrix;
        /// <summary>First sample of the first row of a plane.</summary>
        public IntPtr Plane0, Plane1, Plane2, Plane3;
        /// <summary>Bytes from one row to the next; negative for bottom-up pictures.</summary>
        public IntPtr Stride0, Stride1, Stride2, Stride3;
        /// <summary>Bytes from one pixel to the next; 0: what the format says.</summary>
        public IntPtr PixelStep0, PixelStep1, PixelStep2, PixelStep3;
        /// <summary>Range of YUV and grey formats.</summary>
        public YuvRange YuvRange;
        /// <summary>Siting of formats with fewer chroma samples than pixels.</summary>
        public Siting Siting;
    }

    /// <summary>
    /// Where the pixels of frames lie in one array: frame i of the array begins at byte i * FrameStride, and plane p of
    /// it at the byte Offset_p further on. Packed and BottomUp make the usual ones; change the fields for others.
    /// </summary>
    public struct FrameLayout
    {
        /// <summary>How the pixels are stored.</summary>
        public PixelFormat Format;
        /// <summary>Width in pixels; must be the stream's.</summary>
        public int Width;
        /// <summary>Height in pixels; must be the stream's.</summary>
        public int Height;
        /// <summary>Significant bits of the 16-bit formats, 9 to 16; 0: 16 (P010: 10).</summary>
        public int BitDepth;
        /// <summary>Range of the float formats.</summary>
        public FloatRange Range;
        /// <summary>Matrix of YUV and grey formats.</summary>
        public YuvMatrix Matrix;
        /// <summary>Range of YUV and grey formats.</summary>
        public YuvRange YuvRange;
        /// <summary>Siting of formats with fewer chroma samples than pixels.</summary>
        public Siting Siting;
        /// <summary>YUV, grey and planar RGB have an alpha plane, which Offset3, Stride3 and PixelStep3 describe.</summary>
        public bool AlphaPlane;
        /// <summary>Bytes from a frame's begin to the first sample of the top row of a plane.</summary>
        public long Offset0, Offset1, Offset2, Offset3;
        /// <summary>Bytes from one row to the next below it; negative for bottom-up pictures.</summary>
        public long Stride0, Stride1, Stride2, Stride3;
        /// <summary>Bytes from one pixel of a row to the next; 0: what the format says.</summary>
        public long PixelStep0, PixelStep1, PixelStep2, PixelStep3;
        /// <summary>Bytes from one frame to the next.</summary>
        public long FrameStride;

        /// <summary>Frames without gaps, the top row first, planes one after another.</summary>
        /// <param name="format">How the pixels are stored.</param>
        /// <param name="width">1 to 32768.</param>
        /// <param name="height">1 to 32768.</param>
        /// <param name="rowAlignment">Rows begin at multiples of this many bytes.</param>
        /// <param name="alphaPlane">YUV, grey and planar RGB only: append a plane of alpha.</param>
        public static FrameLayout Packed(PixelFormat format, int width, int height, int rowAlignment = 1, bool alphaPlane = false)
        {
            if (width < 1 || width > 32768)
                throw new ArgumentOutOfRangeException("width", width, "1 to 32768 pixels");
            if (height < 1 || height > 32768)
                throw new ArgumentOutOfRangeException("height", height, "1 to 32768 pixels");
            if (rowAlignment < 1 || rowAlignment > 65536)
                throw new ArgumentOutOfRangeException("rowAlignment", rowAlignment, "1 to 65536 bytes");
            FrameLayout layout = new FrameLayout { Format = format, Width = width, Height = height, AlphaPlane = alphaPlane };
            long end = 0;
            for (int plane = 0; plane < 4; plane++)
            {
                int columns, rows, bytes;
                if (!layout.Shape(plane, out columns, out rows, out bytes))
                    continue;
                long stride = ((long)columns * bytes + rowAlignment - 1) / rowAlignment * rowAlignment;
                layout.SetPlane(plane, end, stride);
                end += stride * rows;
            }
            layout.FrameStride = end;
            return layout;
        }

        /// <summary>As Packed, but the bottom row is first in memory, as in the data of Unity's textures.</summary>
        /// <param name="format">How the pixels are stored.</param>
        /// <param name="width">1 to 32768.</param>
        /// <param name="height">1 to 32768.</param>
        public static FrameLayout BottomUp(PixelFormat format, int width, int height)
        {
            FrameLayout layout = Packed(format, width, height);
            for (int plane = 0; plane < 4; plane++)
            {
                int columns, rows, bytes;
                if (layout.Shape(plane, out columns, out rows, out bytes))
                    layout.SetPlane(plane, layout.Offset(plane) + (rows - 1) * layout.Stride(plane), -layout.Stride(plane));
            }
            return layout;
        }

        /// <summary>Bytes that n frames take: the length of an array for them.</summary>
        /// <param name="frames">0 or more.</param>
        public long Size(int frames)
        {
            if (frames < 0)
                throw new ArgumentOutOfRangeException("frames", frames, "0 or more");
            long low, high;
            Extent(frames, out low, out high);
            return high;
        }

        // What the format says about a plane: its samples (a pixel, or a pair of chroma), and their bytes. False if the
        // layout has no such plane.
        private bool Shape(int plane, out int columns, out int rows, out int bytes)
        {
            int planes = 3, across = 1, down = 1, elements = 1;
            switch (Format)
            {
                case PixelFormat.Rgb8: case PixelFormat.Bgr8: case PixelFormat.Rgb16: case PixelFormat.RgbF16:
                case PixelFormat.RgbF32: elements = 3; break;
                case PixelFormat.Rgba8: case PixelFormat.Bgra8: case PixelFormat.Rgba16: case PixelFormat.RgbaF16:
                case PixelFormat.RgbaF32: elements = 4; break;
                case PixelFormat.Rgbp8: case PixelFormat.Gbrp8: case PixelFormat.Rgbp16: case PixelFormat.Gbrp16:
                case PixelFormat.RgbpF16: case PixelFormat.RgbpBf16: case PixelFormat.RgbpF32: case PixelFormat.GbrpF32:
                case PixelFormat.Yuv444p8: case PixelFormat.Yuv444p16: break;
                case PixelFormat.Gray8: case PixelFormat.Gray16: planes = 1; break;
                case PixelFormat.Yuv420p8: case PixelFormat.Yuv420p16: across = down = 2; break;
                case PixelFormat.Yuv422p8: case PixelFormat.Yuv422p16: across = 2; break;
                case PixelFormat.Yuv411p8: across = 4; break;
                case PixelFormat.Nv12: case PixelFormat.P010: planes = 2; elements = plane == 1 ? 2 : 1; across = down = 2; break;
                default: throw new ArgumentException("the pixel format " + (uint)Format + " is unknown");
            }
            bool packed = elements > 2;
            bytes = elements * ElementBytes(Format);
            if (plane == 0 || plane == 3)
                across = down = 1;
            columns = (Width + across - 1) / across;
            rows = (Height + down - 1) / down;
            if (packed && AlphaPlane)
                throw new ArgumentException(Format + " is packed, so it has no plane of alpha");
            return plane < (packed ? 1 : planes) || (plane == 3 && AlphaPlane);
        }

        // Bytes of an element.
        internal static int ElementBytes(PixelFormat format)
        {
            switch (format)
            {
                case PixelFormat.Rgb8:
                case PixelFormat.Rgba8:
                case PixelFormat.Rgbp8:
                case PixelFormat.Gbrp8:
                case PixelFormat.Bgr8:
                case PixelFormat.Bgra8:
                case PixelFormat.Gray8:
                case PixelFormat.Yuv420p8:
                case PixelFormat.Yuv422p8:
                case PixelFormat.Yuv444p8:
                case PixelFormat.Yuv411p8:
                case PixelFormat.Nv12:
                    return 1;
                case PixelFormat.RgbpF32:
                case PixelFormat.GbrpF32:
                case PixelFormat.RgbF32:
                case PixelFormat.RgbaF32:
                    return 4;
                default:
                    return 2;
            }
        }

        private void SetPlane(int plane, long offset, long stride)
        {
            switch (plane)
            {
                case 0: Offset0 = offset; Stride0 = stride; break;
                case 1: Offset1 = offset; Stride1 = stride; break;
                case 2: Offset2 = offset; Stride2 = stride; break;
                default: Offset3 = offset; Stride3 = stride; break;
            }
        }

        private long Offset(int plane)
        {
            return plane == 0 ? Offset0 : plane == 1 ? Offset1 : plane == 2 ? Offset2 : Offset3;
        }

        private long Stride(int plane)
        {
            return plane == 0 ? Stride0 : plane == 1 ? Stride1 : plane == 2 ? Stride2 : Stride3;
        }

        private long PixelStep(int plane)
        {
            return plane == 0 ? PixelStep0 : plane == 1 ? PixelStep1 : plane == 2 ? PixelStep2 : PixelStep3;
        }

        // The first byte that the frames touch, and the end of the last.
        private void Extent(int frames, out long low, out long high)
        {
            low = 0;
            high = 0;
            if (frames == 0)
                return;
            if (Width < 1 || Width > 32768 || Height < 1 || Height > 32768)
                throw new ArgumentException("the layout's size is " + Width + "x" + Height + "; make it with FrameLayout.Packed");
            try
            {
                checked
                {
                    long later = (frames - 1) * FrameStride;
                    for (int plane = 0; plane < 4; plane++)
                    {
                        int columns, rows, bytes;
                        if (!Shape(plane, out columns, out rows, out bytes))
                            continue;
                        long step = PixelStep(plane) == 0 ? bytes : PixelStep(plane);
                        long down = (rows - 1) * Stride(plane), across = (columns - 1) * step;
                        low = Math.Min(low, Offset(plane) + Math.Min(0, later) + Math.Min(0, down) + Math.Min(0, across));
                        high = Math.Max(high, Offset(plane) + Math.Max(0, later) + Math.Max(0, down) + Math.Max(0, across) + bytes);
                    }
                }
            }
            catch (OverflowException)
            {
                throw new ArgumentException("the layout's offsets and strides are too large");
            }
        }

        internal void Check(string name, long size, int frames)
        {
            if (frames < 0)
                throw new ArgumentOutOfRangeException(name, frames, "the number of frames is negative");
            long low, high;
            Extent(frames, out low, out high);
            if (low < 0)
                throw new ArgumentException("the layout begins " + (ulong)-low + " bytes before the array; check its offsets and strides", name);
            if (high > size)
                throw new ArgumentException(frames + " frames of " + Width + "x" + Height + " in " + Format + " need " + high
                    + " bytes; there are " + size, name);
        }

        internal unsafe void Fill(byte* memory, Frame* frame)
        {
            *frame = new Frame
            {
                StructSize = (UIntPtr)(uint)sizeof(Frame),
                Format = Format,
                Width = (uint)Width,
                Height = (uint)Height,
                BitDepth = (uint)BitDepth,
                Range = Range,
                Matrix = Matrix,
                YuvRange = YuvRange,
                Siting = Siting,
            };
            IntPtr* planes = &frame->Plane0;
            IntPtr* strides = &frame->Stride0;
            IntPtr* steps = &frame->PixelStep0;
            for (int plane = 0; plane < 4; plane++)
            {
                int columns, rows, bytes;
                if (!Shape(plane, out columns, out rows, out bytes))
                    continue;
                // NULL stays NULL, which the library refuses.
                planes[plane] = memory == null ? IntPtr.Zero : (IntPtr)(memory + Offset(plane));
                strides[plane] = (IntPtr)Stride(plane);
                steps[plane] = (IntPtr)PixelStep(plane);
            }
        }
    }

    /// <summary>An open model. Any number of streams in any threads share it and its weights.</summary>
    public sealed unsafe class Model : IDisposable
    {
        private readonly ModelHandle handle;

        private Model(ModelHandle handle)
        {
            this.handle = handle;
        }

        internal ModelHandle Handle
        {
            get { return handle; }
        }

        /// <summary>Opens a checkpoint and checks all of it.</summary>
        /// <param name="path">A folder or file, see wfvae_model_open; null: the built-in model.</param>
        /// <param name="options">Null: the defaults.</param>
        public static Model Open(string path = null, ModelOptions options = null)
        {
            if (IntPtr.Size != 8)
                throw new PlatformNotSupportedException("libwfvae needs a 64-bit process");
            options = options ?? new ModelOptions();
            LogTarget log = options.Log == null ? null : new LogTarget(options.Log);
            ModelHandle handle = null;
            try
            {
                fixed (byte* pathBytes = Native.Bytes(path, "path"))
                fixed (byte* runtimeBytes = Native.Bytes(options.RuntimePath, "RuntimePath"))
                fixed (byte* providerBytes = Native.Bytes(options.ProviderOptions, "ProviderOptions"))
                {
                    Native.ModelOptions native = new Native.ModelOptions
                    {
                        StructSize = (UIntPtr)(uint)sizeof(Native.ModelOptions),
                        RuntimePath = (IntPtr)runtimeBytes,
                        Provider = (uint)options.Provider,
                        Device = Native.Unsigned(options.Device, "Device"),
                        NThreads = Native.Unsigned(options.Threads, "Threads"),
                        CheckFinite = options.CheckFinite ? 1u : 0,
                        LogCallback = log == null ? IntPtr.Zero : LogTarget.Callback,
                        LogUser = log == null ? IntPtr.Zero : log.User,
                        LogLevel = (uint)options.LogLevel,
                        CacheType = (uint)options.CacheType,
                        AttentionBytes = Native.Unsigned(options.AttentionBytes, "AttentionBytes"),
                        Convolution = (uint)options.Convolution,
                        Layout = (uint)options.Layout,
                        EncodePrecision = (uint)options.EncodePrecision,
                        DecodePrecision = (uint)options.DecodePrecision,
                        ProviderOptions = (IntPtr)providerBytes,
                    };
                    Native.Check(Native.wfvae_model_open(pathBytes, &native, out handle));
                }
                handle.Log = log;
                log = null;
            }
            finally
            {
                if (log != null)
                    log.Release();
            }
            return new Model(handle);
        }

        /// <summary>What the model is and what it runs on.</summary>
        public ModelInfo Info
        {
            get
            {
                Native.ModelInfo info = new Native.ModelInfo { StructSize = (UIntPtr)(uint)sizeof(Native.ModelInfo) };
                Native.Check(Native.wfvae_model_get_info(handle, &info));
                return new ModelInfo
                {
                    Name = Native.Text(info.Name),
                    Provider = Native.Text(info.Provider),
                    RuntimePath = Native.Text(info.RuntimePath),
                    RuntimeVersion = Native.Text(info.RuntimeVersion),
                    Fallback = Native.Text(info.Fallback),
                    Parameters = (long)info.Parameters,
                    Identity = info.Identity,
                    EncoderIdentity = info.EncoderIdentity,
                    DecoderIdentity = info.DecoderIdentity,
                    WeightBytes = (long)info.WeightBytes,
                    DeviceBytes = (long)info.DeviceBytes,
                    Sessions = (int)info.Sessions,
                    Generation = (int)info.Generation,
                    LatentChannels = (int)info.LatentChannels,
                    SpatialCompression = (int)info.SpatialCompression,
                    TemporalCompression = (int)info.TemporalCompression,
                    EncodeDelay = (int)info.EncodeDelay,
                    DecodeDelay = (int)info.DecodeDelay,
                    HasAttention = info.HasAttention != 0,
                    HasScaling = info.HasScaling != 0,
                    WholeClips = info.WholeClips != 0,
                    DecodeWholeClips = info.DecodeWholeClips != 0,
                    EncodeHalo = (int)info.EncodeHalo,
                    DecodeHalo = (int)info.DecodeHalo,
                    Device = (int)info.Device,
                    EncodePrecision = (Precision)info.EncodePrecision,
                    DecodePrecision = (Precision)info.DecodePrecision,
                    Directions = (Direction)info.Directions,
                };
            }
        }

        /// <summary>Latents of a whole clip, with the flush's.</summary>
        /// <param name="frames">0 or more.</param>
        public long LatentsForFrames(long frames)
        {
            return (long)Native.wfvae_latents_for_frames(handle, Native.Unsigned(frames, "frames"));
        }

        /// <summary>Frames of a whole clip of so many latents.</summary>
        /// <param name="latents">0 or more.</param>
        public long FramesForLatents(long latents)
        {
            ulong frames = Native.wfvae_frames_for_latents(handle, Native.Unsigned(latents, "latents"));
            if (frames > long.MaxValue)
                throw new ArgumentOutOfRangeException("latents", latents, "more frames than a long can count");
            return (long)frames;
        }

        /// <summary>Creates a stream. The first one that uses a direction loads its weights, which may take seconds.</summary>
        /// <param name="options">Width and height, and what else you need.</param>
        public VideoStream CreateStream(StreamOptions options)
        {
            Native.Options native = Native.Convert(options);
            long group = FramesForLatents(2) - 1;
            StreamHandle stream;
            Native.Check(Native.wfvae_create(handle, &native, out stream));
            stream.Share(handle.Log);
            return new VideoStream(stream, options.LatentType, group);
        }

        /// <summary>Estimates the memory of a stream with these options. Allocates nothing.</summary>
        /// <param name="options">As for CreateStream.</param>
        public MemoryEstimate Estimate(StreamOptions options)
        {
            Native.Options native = Native.Convert(options);
            Native.Memory memory = new Native.Memory { StructSize = (UIntPtr)(uint)sizeof(Native.Memory) };
            Native.Check(Native.wfvae_estimate(handle, &native, &memory));
            return new MemoryEstimate
            {
                TotalBytes = (long)memory.TotalBytes,
                WeightBytes = (long)memory.WeightBytes,
                EncodeStateBytes = (long)memory.EncodeStateBytes,
                DecodeStateBytes = (long)memory.DecodeStateBytes,
                WorkingBytes = (long)memory.WorkingBytes,
                EncodeTileWidth = (int)memory.EncodeTileWidth,
                EncodeTileHeight = (int)memory.EncodeTileHeight,
                EncodeTiles = (int)memory.EncodeTiles,
                DecodeTileWidth = (int)memory.DecodeTileWidth,
                DecodeTileHeight = (int)memory.DecodeTileHeight,
                DecodeTiles = (int)memory.DecodeTiles,
            };
        }

        /// <summary>Writes the model's ONNX graphs and their weights.</summary>
        /// <param name="folder">Must exist; files of the same names are replaced.</param>
        /// <param name="graphs">Which graphs.</param>
        public void SaveOnnx(string folder, Graphs graphs)
        {
            if (folder == null)
                throw new ArgumentNullException("folder");
            fixed (byte* bytes = Native.Bytes(folder, "folder"))
                Native.Check(Native.wfvae_model_save_onnx(handle, bytes, (uint)graphs));
        }

        /// <summary>Closes the model. Its streams keep what they need.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }

    /// <summary>
    /// A stream: wfvae_stream. It encodes frames to latents and decodes latents to frames, one clip at a time, in calls
    /// of any number of frames or latents. (System.IO has a Stream, hence the name.)
    /// </summary>
    /// <remarks>
    /// Latents are [T, C, h, w] without gaps: float[] or byte[], with LatentType.F16 ushort[], short[] or byte[]. A
    /// cancelled CancellationToken ends a call within milliseconds by an OperationCanceledException; then call Reset.
    /// </remarks>
    public sealed unsafe class VideoStream : IDisposable
    {
        private readonly StreamHandle handle;
        private readonly LatentType latentType;
        private readonly long latentSize, encodedSize;
        // Frames per latent, after the first.
        private readonly long group;

        internal VideoStream(StreamHandle handle, LatentType latentType, long group)
        {
            this.handle = handle;
            this.latentType = latentType;
            this.group = group;
            StreamInfo info = Info;
            latentSize = info.LatentSize;
            encodedSize = info.EncodedSize;
        }

        internal StreamHandle Handle
        {
            get { return handle; }
        }

        internal LatentType LatentType
        {
            get { return latentType; }
        }

        /// <summary>Sizes and counters.</summary>
        public StreamInfo Info
        {
            get
            {
                Native.Info info = new Native.Info { StructSize = (UIntPtr)(uint)sizeof(Native.Info) };
                Native.Check(Native.wfvae_get_info(handle, &info));
                return new StreamInfo
                {
                    Width = (int)info.Width,
                    Height = (int)info.Height,
                    LatentWidth = (int)info.LatentWidth,
                    LatentHeight = (int)info.LatentHeight,
                    LatentChannels = (int)info.LatentChannels,
                    EncodedChannels = (int)info.EncodedChannels,
                    LatentSize = (long)info.LatentSize,
                    EncodedSize = (long)info.EncodedSize,
                    EncodeStateBytes = (long)info.EncodeStateBytes,
                    DecodeStateBytes = (long)info.DecodeStateBytes,
                    FramesIn = (long)info.FramesIn,
                    LatentsOut = (long)info.LatentsOut,
                    LatentsIn = (long)info.LatentsIn,
                    FramesOut = (long)info.FramesOut,
                    EncodeSteps = (long)info.EncodeSteps,
                    DecodeSteps = (long)info.DecodeSteps,
                    NeedsReset = info.NeedsReset != 0,
                };
            }
        }

        /// <summary>How far the running call is. For any thread at any time.</summary>
        public Progress Progress
        {
            get
            {
                Native.Progress progress = new Native.Progress { StructSize = (UIntPtr)(uint)sizeof(Native.Progress) };
                Native.Check(Native.wfvae_get_progress(handle, &progress));
                return new Progress { StepsDone = (long)progress.StepsDone, StepsTotal = (long)progress.StepsTotal };
            }
        }

        /// <summary>Encodes frames and writes the latents that they complete.</summary>
        /// <param name="layout">Where the pixels lie in the array.</param>
        /// <param name="frames">An array of any value type without references, such as byte[], float[] or Color32[].</param>
        /// <param name="firstFrame">Index of the first frame to encode in the array.</param>
        /// <param name="frameCount">1 to 65536.</param>
        /// <param name="latents">Receives the latents. EncodeCount says how many a call needs room for.</param>
        /// <param name="firstLatent">Index in the array of the first latent to write.</param>
        /// <param name="token">Cancels the call.</param>
        /// <returns>The number of latents written.</returns>
        public int Encode(FrameLayout layout, Array frames, int firstFrame, int frameCount, Array latents, int firstLatent,
            CancellationToken token = default(CancellationToken))
        {
            using (Pinned from = new Pinned(frames, "frames"))
            using (Pinned to = new Pinned(latents, "latents"))
            {
                from.CheckFrames(layout.Format);
                byte* pixels = Frames(from.Address, from.Size, ref layout, firstFrame, frameCount, "frames");
                to.CheckLatents(latentType);
                int capacity;
                byte* target = Room(to.Address, to.Size, encodedSize, firstLatent, out capacity);
                return Encode(layout, pixels, frameCount, target, capacity, token);
            }
        }

        /// <summary>The same for memory that does not move. No array bounds are checked.</summary>
        /// <param name="layout">Where the pixels lie.</param>
        /// <param name="frames">The first frame, such as NativeArray's pointer.</param>
        /// <param name="frameCount">1 to 65536.</param>
        /// <param name="latents">Room for latentCapacity latents.</param>
        /// <param name="latentCapacity">0 or more.</param>
        /// <param name="token">Cancels the call.</param>
        public int Encode(FrameLayout layout, IntPtr frames, int frameCount, IntPtr latents, int latentCapacity,
            CancellationToken token = default(CancellationToken))
        {
            return Encode(layout, (byte*)frames, frameCount, (byte*)latents, latentCapacity, token);
        }

        private int Encode(FrameLayout layout, byte* frames, int frameCount, byte* latents, int latentCapacity, CancellationToken token)
        {
            Frame frame;
            layout.Fill(frames, &frame);
            Native.Frames many = Native.Many(&frame, frameCount, "frameCount", layout.FrameStride);
            UIntPtr written = UIntPtr.Zero, capacity = Native.Count(latentCapacity, "latentCapacity");
            Call call = new Call(handle, token);
            try
            {
                call.Returned(Native.wfvae_encode_frames(handle, &many, latents, capacity, out written));
            }
            finally
            {
                call.End();
            }
            return call.Result(written);
        }

        /// <summary>The same for frames at unrelated addresses.</summary>
        /// <param name="frames">frameCount frames.</param>
        /// <param name="frameCount">1 to 65536.</param>
        /// <param name="latents">Room for latentCapacity latents.</param>
        /// <param name="latentCapacity">0 or more.</param>
        /// <param name="token">Cancels the call.</param>
        public int Encode(Frame* frames, int frameCount, void* latents, int latentCapacity,
            CancellationToken token = default(CancellationToken))
        {
            UIntPtr count = Native.Count(frameCount, "frameCount");
            Native.SetSizes(frames, frameCount);
            UIntPtr written = UIntPtr.Zero, capacity = Native.Count(latentCapacity, "latentCapacity");
            Call call = new Call(handle, token);
            try
            {
                call.Returned(Native.wfvae_encode_chunk(handle, frames, count, latents, capacity, out written));
            }
            finally
            {
                call.End();
            }
            return call.Result(written);
        }

        /// <summary>Ends the clip for encoding: writes the latent of an incomplete last group.</summary>
        /// <param name="latents">Room for one latent is always enough.</param>
        /// <param name="firstLatent">Index in the array of the first latent to write.</param>
        /// <param name="token">Cancels the call.</param>
        public int EncodeFlush(Array latents, int firstLatent = 0, CancellationToken token = default(CancellationToken))
        {
            using (Pinned to = new Pinned(latents, "latents"))
            {
                to.CheckLatents(latentType);
                int capacity;
                byte* target = Room(to.Address, to.Size, encodedSize, firstLatent, out capacity);
                return EncodeFlush((IntPtr)target, capacity, token);
            }
        }

        /// <summary>The same for memory that does not move.</summary>
        /// <param name="latents">Room for latentCapacity latents.</param>
        /// <param name="latentCapacity">0 or more.</param>
        /// <param name="token">Cancels the call.</param>
        public int EncodeFlush(IntPtr latents, int latentCapacity, CancellationToken token = default(CancellationToken))
        {
            UIntPtr written = UIntPtr.Zero, capacity = Native.Count(latentCapacity, "latentCapacity");
            Call call = new Call(handle, token);
            try
            {
                call.Returned(Native.wfvae_encode_flush(handle, (void*)latents, capacity, out written));
            }
            finally
            {
                call.End();
            }
            return call.Result(written);
        }

        /// <summary>Decodes latents and writes the frames that are final.</summary>
        /// <param name="latents">The latents.</param>
        /// <param name="firstLatent">Index of the first latent to decode in the array.</param>
        /// <param name="latentCount">1 to 65536.</param>
        /// <param name="layout">Where the pixels lie in the array of frames.</param>
        /// <param name="frames">Receives the frames.</param>
        /// <param name="firstFrame">Index in the array of the first frame to write.</param>
        /// <param name="frameCapacity">The most frames to write; DecodeCount says how many a call needs.</param>
        /// <param name="token">Cancels the call.</param>
        /// <returns>The number of frames written.</returns>
        public int Decode(Array latents, int firstLatent, int latentCount, FrameLayout layout, Array frames, int firstFrame,
            int frameCapacity, CancellationToken token = default(CancellationToken))
        {
            using (Pinned from = new Pinned(latents, "latents"))
            using (Pinned to = new Pinned(frames, "frames"))
            {
                from.CheckLatents(latentType);
                to.CheckFrames(layout.Format);
                byte* source = Latents(from.Address, from.Size, latentSize, firstLatent, latentCount);
                byte* pixels = Frames(to.Address, to.Size, ref layout, firstFrame, frameCapacity, "frames");
                return Decode(source, latentCount, layout, pixels, frameCapacity, token);
            }
        }

        /// <summary>The same for memory that does not move. No array bounds are checked.</summary>
        /// <param name="latents">latentCount latents.</param>
        /// <param name="latentCount">1 to 65536.</param>
        /// <param name="layout">Where the pixels lie.</param>
        /// <param name="frames">Room for frameCapacity frames.</param>
        /// <param name="frameCapacity">0 or more.</param>
        /// <param name="token">Cancels the call.</param>
        public int Decode(IntPtr latents, int latentCount, FrameLayout layout, IntPtr frames, int frameCapacity,
            CancellationToken token = default(CancellationToken))
        {
            return Decode((byte*)latents, latentCount, layout, (byte*)frames, frameCapacity, token);
        }

        private int Decode(byte* latents, int latentCount, FrameLayout layout, byte* frames, int frameCapacity, CancellationToken token)
        {
            Frame frame;
            layout.Fill(frames, &frame);
            Native.Frames many = Native.Many(&frame, frameCapacity, "frameCapacity", layout.FrameStride);
            UIntPtr written = UIntPtr.Zero, count = Native.Count(latentCount, "latentCount");
            Call call = new Call(handle, token);
            try
            {
                call.Returned(Native.wfvae_decode_frames(handle, latents, count, &many, out written));
            }
            finally
            {
                call.End();
            }
            return call.Result(written);
        }

        /// <summary>The same for frames at unrelated addresses.</summary>
        /// <param name="latents">latentCount latents.</param>
        /// <param name="latentCount">1 to 65536.</param>
        /// <param name="frames">frameCapacity frames.</param>
        /// <param name="frameCapacity">0 or more.</param>
        /// <param name="token">Cancels the call.</param>
        public int Decode(void* latents, int latentCount, Frame* frames, int frameCapacity,
            CancellationToken token = default(CancellationToken))
        {
            UIntPtr capacity = Native.Count(frameCapacity, "frameCapacity");
            Native.SetSizes(frames, frameCapacity);
            UIntPtr written = UIntPtr.Zero, count = Native.Count(latentCount, "latentCount");
            Call call = new Call(handle, token);
            try
            {
                call.Returned(Native.wfvae_decode_chunk(handle, latents, count, frames, capacity, out written));
            }
            finally
            {
                call.End();
            }
            return call.Result(written);
        }

        /// <summary>Ends the clip for decoding: writes the frames that were held back.</summary>
        /// <param name="layout">Where the pixels lie in the array.</param>
        /// <param name="frames">Receives the frames.</param>
        /// <param name="firstFrame">Index in the array of the first frame to write.</param>
        /// <param name="frameCapacity">The most frames to write; ModelInfo.DecodeDelay is always enough.</param>
        /// <param name="token">Cancels the call.</param>
        public int DecodeFlush(FrameLayout layout, Array frames, int firstFrame, int frameCapacity,
            CancellationToken token = default(CancellationToken))
        {
            using (Pinned to = new Pinned(frames, "frames"))
            {
                to.CheckFrames(layout.Format);
                byte* pixels = Frames(to.Address, to.Size, ref layout, firstFrame, frameCapacity, "frames");
                return DecodeFlush(layout, (IntPtr)pixels, frameCapacity, token);
            }
        }

        /// <summary>The same for memory that does not move. No array bounds are checked.</summary>
        /// <param name="layout">Where the pixels lie.</param>
        /// <param name="frames">Room for frameCapacity frames.</param>
        /// <param name="frameCapacity">0 or more.</param>
        /// <param name="token">Cancels the call.</param>
        public int DecodeFlush(FrameLayout layout, IntPtr frames, int frameCapacity, CancellationToken token = default(CancellationToken))
        {
            Frame frame;
            layout.Fill((byte*)frames, &frame);
            Native.Frames many = Native.Many(&frame, frameCapacity, "frameCapacity", layout.FrameStride);
            UIntPtr written = UIntPtr.Zero;
            Call call = new Call(handle, token);
            try
            {
                call.Returned(Native.wfvae_decode_flush_frames(handle, &many, out written));
            }
            finally
            {
                call.End();
            }
            return call.Result(written);
        }

        /// <summary>The same for frames at unrelated addresses.</summary>
        /// <param name="frames">frameCapacity frames.</param>
        /// <param name="frameCapacity">0 or more.</param>
        /// <param name="token">Cancels the call.</param>
        public int DecodeFlush(Frame* frames, int frameCapacity, CancellationToken token = default(CancellationToken))
        {
            UIntPtr capacity = Native.Count(frameCapacity, "frameCapacity");
            Native.SetSizes(frames, frameCapacity);
            UIntPtr written = UIntPtr.Zero;
            Call call = new Call(handle, token);
            try
            {
                call.Returned(Native.wfvae_decode_flush(handle, frames, capacity, out written));
            }
            finally
            {
                call.End();
            }
            return call.Result(written);
        }

#if WFVAE_SPANS
        /// <summary>Encode for spans. MemoryMarshal.AsBytes makes them from spans of other types.</summary>
        /// <param name="layout">Where the pixels lie in frames.</param>
        /// <param name="frames">frameCount frames.</param>
        /// <param name="frameCount">1 to 65536.</param>
        /// <param name="latents">Receives the latents.</param>
        /// <param name="token">Cancels the call.</param>
        public int Encode(FrameLayout layout, ReadOnlySpan<byte> frames, int frameCount, Span<byte> latents,
            CancellationToken token = default(CancellationToken))
        {
            fixed (byte* from = &MemoryMarshal.GetReference(frames))
            fixed (byte* to = &MemoryMarshal.GetReference(latents))
            {
                int capacity;
                byte* pixels = Frames(from, frames.Length, ref layout, 0, frameCount, "frames");
                byte* target = Room(to, latents.Length, encodedSize, 0, out capacity);
                return Encode(layout, pixels, frameCount, target, capacity, token);
            }
        }

        /// <summary>EncodeFlush for spans.</summary>
        /// <param name="latents">Room for one latent is always enough.</param>
        /// <param name="token">Cancels the call.</param>
        public int EncodeFlush(Span<byte> latents, CancellationToken token = default(CancellationToken))
        {
            fixed (byte* to = &MemoryMarshal.GetReference(latents))
            {
                int capacity;
                byte* target = Room(to, latents.Length, encodedSize, 0, out capacity);
                return EncodeFlush((IntPtr)target, capacity, token);
            }
        }

        /// <summary>A byte[] is an Array and a span.</summary>
        /// <param name="latents">Room for one latent is always enough.</param>
        /// <param name="token">Cancels the call.</param>
        public int EncodeFlush(byte[] latents, CancellationToken token = default(CancellationToken))
        {
            return EncodeFlush(latents, 0, token);
        }

        /// <summary>Decode for spans.</summary>
        /// <param name="latents">latentCount latents.</param>
        /// <param name="latentCount">1 to 65536.</param>
        /// <param name="layout">Where the pixels lie in frames.</param>
        /// <param name="frames">Receives the frames.</param>
        /// <param name="frameCapacity">The most frames to write.</param>
        /// <param name="token">Cancels the call.</param>
        public int Decode(ReadOnlySpan<byte> latents, int latentCount, FrameLayout layout, Span<byte> frames, int frameCapacity,
            CancellationToken token = default(CancellationToken))
        {
            fixed (byte* from = &MemoryMarshal.GetReference(latents))
            fixed (byte* to = &MemoryMarshal.GetReference(frames))
            {
                byte* source = Latents(from, latents.Length, latentSize, 0, latentCount);
                byte* pixels = Frames(to, frames.Length, ref layout, 0, frameCapacity, "frames");
                return Decode(source, latentCount, layout, pixels, frameCapacity, token);
            }
        }

        /// <summary>DecodeFlush for spans.</summary>
        /// <param name="layout">Where the pixels lie in frames.</param>
        /// <param name="frames">Receives the frames.</param>
        /// <param name="frameCapacity">The most frames to write.</param>
        /// <param name="token">Cancels the call.</param>
        public int DecodeFlush(FrameLayout layout, Span<byte> frames, int frameCapacity,
            CancellationToken token = default(CancellationToken))
        {
            fixed (byte* to = &MemoryMarshal.GetReference(frames))
            {
                byte* pixels = Frames(to, frames.Length, ref layout, 0, frameCapacity, "frames");
                return DecodeFlush(layout, (IntPtr)pixels, frameCapacity, token);
            }
        }
#endif

        /// <summary>Encodes a whole clip to new memory. Resets the stream before. For LatentType.F32.</summary>
        /// <param name="layout">Where the pixels lie in the array.</param>
        /// <param name="frames">The clip.</param>
        /// <param name="frameCount">1 to 65536.</param>
        /// <param name="token">Cancels the call.</param>
        /// <returns>[T, C, h, w]</returns>
        public float[] EncodeClip(FrameLayout layout, Array frames, int frameCount, CancellationToken token = default(CancellationToken))
        {
            if (latentType != LatentType.F32)
                throw new InvalidOperationException("EncodeClip returns float[]; this stream's latents are " + latentType);
            // Before memory is taken for its latents.
            using (Pinned from = new Pinned(frames, "frames"))
                Frames(from.Address, from.Size, ref layout, 0, frameCount, "frames");
            Reset();
            // The flush writes at most one latent.
            long values = (EncodeCount(frameCount) + 1L) * (encodedSize / 4);
            float[] latents = new float[values];
            int written = Encode(layout, frames, 0, frameCount, latents, 0, token);
            written += EncodeFlush(latents, written, token);
            if (written * (encodedSize / 4) != values)
                Array.Resize(ref latents, checked((int)(written * (encodedSize / 4))));
            return latents;
        }

        /// <summary>Decodes a whole clip of known length to the caller's array. Resets the stream before.</summary>
        /// <param name="latents">All latents of the clip, [T, C, h, w].</param>
        /// <param name="layout">Where the pixels lie in the array.</param>
        /// <param name="frames">Receives the clip.</param>
        /// <param name="frameCount">The clip's length: a number of frames that gives this many latents.</param>
        /// <param name="token">Cancels the call.</param>
        public void DecodeClip(Array latents, FrameLayout layout, Array frames, int frameCount,
            CancellationToken token = default(CancellationToken))
        {
            // 0 in a stream that does not decode, which Decode reports.
            long count = 1;
            using (Pinned from = new Pinned(latents, "latents"))
            {
                from.CheckLatents(latentType);
                if (latentSize > 0 && from.Size % latentSize != 0)
                    throw new ArgumentException("a latent has " + latentSize + " bytes; " + from.Size + " are no whole number of them", "latents");
                if (latentSize > 0)
                    count = from.Size / latentSize;
            }
            if (count > 65536)
                throw new ArgumentException("a call takes at most 65536 latents; there are " + count, "latents");
            long most = 1 + (count - 1) * group;
            if (latentSize > 0 && count > 0 && (frameCount > most || frameCount <= most - group || frameCount < 1))
                throw new ArgumentOutOfRangeException("frameCount", frameCount, count + " latents are those of clips of "
                    + Math.Max(1, most - group + 1) + " to " + most + " frames");
            Reset();
            SetFrameCount(frameCount);
            int written = Decode(latents, 0, (int)count, layout, frames, 0, frameCount, token);
            DecodeFlush(layout, frames, written, frameCount - written, token);
        }

        /// <summary>Latents that Encode would write for so many more frames.</summary>
        /// <param name="frames">0 or more.</param>
        public int EncodeCount(int frames)
        {
            UIntPtr count;
            Native.Check(Native.wfvae_encode_count(handle, Native.Count(frames, "frames"), out count));
            return Native.Int(count);
        }

        /// <summary>Latents that EncodeFlush would write: 0 or 1.</summary>
        public int EncodeFlushCount()
        {
            UIntPtr count;
            Native.Check(Native.wfvae_encode_flush_count(handle, out count));
            return Native.Int(count);
        }

        /// <summary>Frames that Decode would write for so many more latents.</summary>
        /// <param name="latents">0 or more.</param>
        public int DecodeCount(int latents)
        {
            UIntPtr count;
            Native.Check(Native.wfvae_decode_count(handle, Native.Count(latents, "latents"), out count));
            return Native.Int(count);
        }

        /// <summary>Frames that DecodeFlush would write.</summary>
        public int DecodeFlushCount()
        {
            UIntPtr count;
            Native.Check(Native.wfvae_decode_flush_count(handle, out count));
            return Native.Int(count);
        }

        /// <summary>Tells the decoder how many frames the clip has; call it before the last latents are decoded.</summary>
        /// <param name="frames">Null: no limit.</param>
        public void SetFrameCount(long? frames)
        {
            Native.Check(Native.wfvae_set_frame_count(handle, frames.HasValue ? Native.Unsigned(frames.Value, "frames") : ulong.MaxValue));
        }

        /// <summary>Gives the samples of the next clip the noise of another seed than StreamOptions.Seed; not in the middle of a
        /// clip. A reset keeps it. A LatentWriter writes the seed that is set when it is made.</summary>
        public void SetSeed(ulong seed)
        {
            Native.Check(Native.wfvae_set_seed(handle, seed));
        }

        /// <summary>Starts a new clip, and forgets any failure and any cancellation.</summary>
        public void Reset()
        {
            Native.Check(Native.wfvae_reset(handle));
        }

        /// <summary>Stops the running call, or else the next one. Lasts until Reset or Restore. For any thread.</summary>
        public void Cancel()
        {
            Native.Check(handle.Cancel(false));
        }

        /// <summary>Takes a snapshot, to return to later.</summary>
        public Snapshot CreateSnapshot()
        {
            SnapshotHandle snapshot;
            Native.Check(Native.wfvae_snapshot_create(handle, out snapshot));
            return new Snapshot(snapshot);
        }

        /// <summary>Returns to the state of a snapshot, in both directions.</summary>
        /// <param name="snapshot">Can be used again.</param>
        public void Restore(Snapshot snapshot)
        {
            if (snapshot == null)
                throw new ArgumentNullException("snapshot");
            Native.Check(Native.wfvae_snapshot_restore(handle, snapshot.Handle));
        }

        /// <summary>A second stream at the same point of the clip, independent of this one.</summary>
        public VideoStream Fork()
        {
            StreamHandle fork;
            Native.Check(Native.wfvae_fork(handle, out fork));
            fork.Share(handle.Log);
            return new VideoStream(fork, latentType, group);
        }

        /// <summary>Cancels a call that another thread is running, and destroys the stream when it has returned.</summary>
        public void Dispose()
        {
            try
            {
                handle.Cancel(true);
            }
            catch (ObjectDisposedException)
            {
                // Once more is allowed.
            }
        }

        internal static byte* Frames(byte* memory, long size, ref FrameLayout layout, int first, int count, string name)
        {
            if (first < 0)
                throw new ArgumentOutOfRangeException("firstFrame", first, "0 or more");
            if (count < 0)
                throw new ArgumentOutOfRangeException(name, count, "the number of frames is negative");
            if (count == 0)
                return memory;
            long skip;
            try
            {
                skip = checked(first * layout.FrameStride);
            }
            catch (OverflowException)
            {
                throw new ArgumentException("the layout's FrameStride is too large", name);
            }
            if (skip < 0 || skip > size)
                throw new ArgumentException("frame " + first + " begins at byte " + skip + "; there are " + size, name);
            layout.Check(name, size - skip, count);
            return memory + skip;
        }

        internal static byte* Latents(byte* memory, long size, long latentSize, int first, int count)
        {
            if (first < 0)
                throw new ArgumentOutOfRangeException("firstLatent", first, "0 or more");
            if (count < 0)
                throw new ArgumentOutOfRangeException("latentCount", count, "0 or more");
            // By division, as products may overflow. A stream without this direction has latents of 0 bytes.
            if (latentSize > 0 && (long)first + count > size / latentSize)
                throw new ArgumentException(count + " latents of " + latentSize + " bytes from number " + first + " on need more than the "
                    + size + " bytes that are there", "latents");
            return memory + first * latentSize;
        }

        private static byte* Room(byte* memory, long size, long latentSize, int first, out int capacity)
        {
            if (first < 0)
                throw new ArgumentOutOfRangeException("firstLatent", first, "0 or more");
            capacity = 0;
            // A stream that does not encode: the call reports it.
            if (latentSize == 0)
                return memory;
            if (first > size / latentSize)
                throw new ArgumentException("there is no latent " + first + " of " + latentSize + " bytes in " + size, "latents");
            capacity = (int)Math.Min(size / latentSize - first, int.MaxValue);
            return memory + first * latentSize;
        }
    }

    /// <summary>A stream's state at one point of its clip. It never changes; several streams may use it at once.</summary>
    public sealed unsafe class Snapshot : IDisposable
    {
        private readonly SnapshotHandle handle;

        internal Snapshot(SnapshotHandle handle)
        {
            this.handle = handle;
        }

        internal SnapshotHandle Handle
        {
            get { return handle; }
        }

        /// <summary>The snapshot as bytes, for FromBytes in this or another process.</summary>
        public byte[] ToBytes()
        {
            byte[] bytes = new byte[(ulong)Native.wfvae_snapshot_size(handle)];
            UIntPtr written;
            fixed (byte* buffer = bytes)
                Native.Check(Native.wfvae_snapshot_write(handle, buffer, (UIntPtr)(ulong)bytes.LongLength, out written));
            return bytes;
        }

        /// <summary>Reads what ToBytes returned. Damaged bytes are Status.InvalidArgument.</summary>
        /// <param name="bytes">All bytes.</param>
        public static Snapshot FromBytes(byte[] bytes)
        {
            if (bytes == null)
                throw new ArgumentNullException("bytes");
            SnapshotHandle handle;
            // An empty array is pinned at NULL, which the library refuses with another text.
            byte[] some = bytes.Length == 0 ? new byte[1] : bytes;
            fixed (byte* buffer = some)
                Native.Check(Native.wfvae_snapshot_read(buffer, (UIntPtr)(ulong)bytes.LongLength, out handle));
            return new Snapshot(handle);
        }

        /// <summary>Destroys the snapshot. Streams that were restored from it do not need it.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }

    /// <summary>A latent file that is being written. It appears at its path when Finish has returned.</summary>
    public sealed unsafe class LatentWriter : IDisposable
    {
        private readonly LatentWriterHandle handle;
        private readonly LatentType latentType;
        private readonly long latentSize;

        /// <summary>Starts a file for the latents that a stream encodes.</summary>
        /// <param name="stream">Read during this call only.</param>
        /// <param name="path">A file's name, in a folder that can be written to.</param>
        /// <param name="fpsNum">Frames per second are fpsNum / fpsDen; both 0: unknown.</param>
        /// <param name="fpsDen">See fpsNum.</param>
        /// <param name="note">A text that is stored with the latents, up to 65536 bytes in UTF-8; null: none.</param>
        public LatentWriter(VideoStream stream, string path, uint fpsNum = 0, uint fpsDen = 0, string note = null)
        {
            if (stream == null)
                throw new ArgumentNullException("stream");
            if (path == null)
                throw new ArgumentNullException("path");
            latentType = stream.LatentType;
            latentSize = stream.Info.EncodedSize;
            fixed (byte* pathBytes = Native.Bytes(path, "path"))
            fixed (byte* noteBytes = Native.Bytes(note, "note"))
            {
                Native.LatentWriterOptions options = new Native.LatentWriterOptions
                {
                    StructSize = (UIntPtr)(uint)sizeof(Native.LatentWriterOptions),
                    FpsNum = fpsNum,
                    FpsDen = fpsDen,
                    Note = (IntPtr)noteBytes,
                };
                Native.Check(Native.wfvae_latent_writer_create(stream.Handle, pathBytes, &options, out handle));
            }
        }

        /// <summary>Appends latents that the stream's Encode and EncodeFlush wrote.</summary>
        /// <param name="latents">An array of the stream's latent type.</param>
        /// <param name="firstLatent">Index of the first latent in the array.</param>
        /// <param name="latentCount">0 to 65536.</param>
        public void Write(Array latents, int firstLatent, int latentCount)
        {
            using (Pinned from = new Pinned(latents, "latents"))
            {
                from.CheckLatents(latentType);
                byte* source = VideoStream.Latents(from.Address, from.Size, latentSize, firstLatent, latentCount);
                Native.Check(Native.wfvae_latent_writer_write(handle, source, (UIntPtr)(uint)latentCount));
            }
        }

        /// <summary>Completes the file and atomically replaces the target with it.</summary>
        /// <param name="frames">Frames of the clip: StreamInfo.FramesIn.</param>
        public void Finish(long frames)
        {
            Native.Check(Native.wfvae_latent_writer_finish(handle, Native.Unsigned(frames, "frames")));
        }

        /// <summary>If the file was not finished, nothing of it remains.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }

    /// <summary>A latent file that is open for reading. Several threads may use it at once.</summary>
    public sealed unsafe class LatentReader : IDisposable
    {
        private readonly LatentReaderHandle handle;
        private readonly LatentFileInfo info;

        /// <summary>Opens a latent file and checks all of it but the latents' values.</summary>
        /// <param name="path">The file.</param>
        public LatentReader(string path)
        {
            if (path == null)
                throw new ArgumentNullException("path");
            fixed (byte* bytes = Native.Bytes(path, "path"))
                Native.Check(Native.wfvae_latent_reader_open(bytes, out handle));
            Native.LatentFileInfo native = new Native.LatentFileInfo { StructSize = (UIntPtr)(uint)sizeof(Native.LatentFileInfo) };
            Native.Check(Native.wfvae_latent_reader_get_info(handle, &native));
            info = new LatentFileInfo
            {
                ModelIdentity = native.ModelIdentity,
                EncoderIdentity = native.EncoderIdentity,
                DecoderIdentity = native.DecoderIdentity,
                Frames = (long)native.NFrames,
                Latents = (long)native.NLatents,
                Seed = native.Seed,
                Width = (int)native.Width,
                Height = (int)native.Height,
                Padded = native.Padded != 0,
                SpatialCompression = (int)native.SpatialCompression,
                TemporalCompression = (int)native.TemporalCompression,
                LatentChannels = (int)native.LatentChannels,
                LatentWidth = (int)native.LatentWidth,
                LatentHeight = (int)native.LatentHeight,
                Posterior = (Posterior)native.Posterior,
                LatentType = (LatentType)native.LatentType,
                Scaled = native.Scaled != 0,
                FpsNum = native.FpsNum,
                FpsDen = native.FpsDen,
                Scale = Floats(native.Scale, native.LatentChannels),
                Shift = Floats(native.Shift, native.LatentChannels),
                Generator = Native.Text(native.Generator),
                Note = Native.Text(native.Note),
            };
            // The pointers in it are valid as long as the file is open.
            GC.KeepAlive(handle);
        }

        /// <summary>What the file holds. Can be used after Dispose.</summary>
        public LatentFileInfo Info
        {
            get { return info; }
        }

        /// <summary>Checks that the model's encoder made the latents; throws Status.LatentFile if not.</summary>
        /// <param name="model">A model.</param>
        public void Check(Model model)
        {
            if (model == null)
                throw new ArgumentNullException("model");
            Native.Check(Native.wfvae_latent_reader_check_model(handle, model.Handle));
        }

        /// <summary>Checks that a stream can decode the latents; throws Status.LatentFile if not.</summary>
        /// <param name="stream">A stream.</param>
        public void Check(VideoStream stream)
        {
            if (stream == null)
                throw new ArgumentNullException("stream");
            Native.Check(Native.wfvae_latent_reader_check_stream(handle, stream.Handle));
        }

        /// <summary>Reads latents for decoding; of moments the means.</summary>
        /// <param name="start">Index of the first latent in the file.</param>
        /// <param name="latentCount">1 to 65536.</param>
        /// <param name="latents">Receives [latentCount, C, h, w].</param>
        /// <param name="type">The type of the values in the array.</param>
        public void Read(long start, int latentCount, Array latents, LatentType type = LatentType.F32)
        {
            using (Pinned to = new Pinned(latents, "latents"))
            {
                byte* target = Target(to, latentCount, 1, type);
                Native.Check(Native.wfvae_latent_reader_read(handle, Native.Unsigned(start, "start"), (UIntPtr)(uint)latentCount,
                    (uint)type, target));
            }
        }

        /// <summary>Reads both moments from a file of Posterior.Moments.</summary>
        /// <param name="start">Index of the first latent in the file.</param>
        /// <param name="latentCount">1 to 65536.</param>
        /// <param name="latents">Receives [latentCount, 2C, h, w].</param>
        /// <param name="type">The type of the values in the array.</param>
        public void ReadMoments(long start, int latentCount, Array latents, LatentType type = LatentType.F32)
        {
            using (Pinned to = new Pinned(latents, "latents"))
            {
                byte* target = Target(to, latentCount, 2, type);
                Native.Check(Native.wfvae_latent_reader_read_moments(handle, Native.Unsigned(start, "start"),
                    (UIntPtr)(uint)latentCount, (uint)type, target));
            }
        }

        private byte* Target(Pinned to, int latentCount, int tensors, LatentType type)
        {
            if (type != LatentType.F32 && type != LatentType.F16)
                throw new ArgumentOutOfRangeException("type", type, "F32 or F16");
            to.CheckLatents(type);
            long values = (long)info.LatentChannels * info.LatentHeight * info.LatentWidth * tensors;
            return VideoStream.Latents(to.Address, to.Size, values * (type == LatentType.F16 ? 2 : 4), 0, latentCount);
        }

        private static float[] Floats(IntPtr values, uint count)
        {
            if (values == IntPtr.Zero)
                return null;
            float[] copy = new float[count];
            Marshal.Copy(values, copy, 0, copy.Length);
            return copy;
        }

        /// <summary>Closes the file.</summary>
        public void Dispose()
        {
            handle.Dispose();
        }
    }

    // One call that a token can cancel.
    internal struct Call
    {
        private static readonly Action<object> Cancel = delegate(object stream)
        {
            try
            {
                ((StreamHandle)stream).Cancel(false);
            }
            catch (ObjectDisposedException)
            {
                // Dispose cancelled the call.
            }
        };

        private readonly CancellationToken token;
        private CancellationTokenRegistration registration;
        private WfvaeException error;

        internal Call(StreamHandle stream, CancellationToken token)
        {
            token.ThrowIfCancellationRequested();
            this.token = token;
            error = null;
            registration = token.CanBeCanceled ? token.Register(Cancel, stream) : default(CancellationTokenRegistration);
        }

        // At once in the thread that called, whose text it is.
        internal void Returned(Status status)
        {
            if (status != Status.Ok)
                error = Native.LastError(status);
        }

        // Afterwards, the token no longer cancels the stream.
        internal void End()
        {
            registration.Dispose();
        }

        internal int Result(UIntPtr written)
        {
            // The token has cancelled the stream, also if the call had ended by then or failed for another reason.
            if (token.IsCancellationRequested)
                throw new OperationCanceledException("The call was cancelled; call Reset", error, token);
            if (error != null)
                throw error;
            return Native.Int(written);
        }
    }

    // An array that the garbage collector does not move.
    internal unsafe struct Pinned : IDisposable
    {
        private static readonly Dictionary<Type, bool> Plain = new Dictionary<Type, bool>();
        private GCHandle pin;
        private readonly Type type;
        private readonly int element;
        private readonly string name;
        internal readonly byte* Address;
        internal readonly long Size;

        internal Pinned(Array array, string name)
        {
            if (array == null)
                throw new ArgumentNullException(name);
            this.name = name;
            type = array.GetType().GetElementType();
            if (!IsPlain(type))
                throw new ArgumentException("an array of " + type.Name + " holds references, no pixels or latents", name);
            pin = GCHandle.Alloc(array, GCHandleType.Pinned);
            byte* start = (byte*)Marshal.UnsafeAddrOfPinnedArrayElement(array, 0);
            element = (int)((byte*)Marshal.UnsafeAddrOfPinnedArrayElement(array, 1) - start);
            Size = array.LongLength * element;
            Address = start;
        }

        // Whether elements hold no references, which must not be overwritten. Mono pins arrays of them all the same.
        private static bool IsPlain(Type type)
        {
            if (!type.IsValueType)
                return type.IsPointer;
            if (type.IsPrimitive || type.IsEnum)
                return true;
            lock (Plain)
            {
                bool plain;
                if (Plain.TryGetValue(type, out plain))
                    return plain;
            }
            bool all = true;
            foreach (FieldInfo field in type.GetFields(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance))
                all &= IsPlain(field.FieldType);
            lock (Plain)
                Plain[type] = all;
            return all;
        }

        // Bytes, integers of 4 and 8 bytes and structs may hold several elements each, as Color32 does.
        internal void CheckFrames(PixelFormat format)
        {
            bool half = type == typeof(short) || type == typeof(ushort) || type == typeof(char);
            bool wrong = half && FrameLayout.ElementBytes(format) != 2 || type == typeof(float) && FrameLayout.ElementBytes(format) != 4;
            if (wrong || type == typeof(double) || type == typeof(decimal))
                throw new ArgumentException(type.Name + "[] holds no pixels of " + format, name);
        }

        internal void CheckLatents(LatentType latents)
        {
            int size = latents == LatentType.F16 ? 2 : 4;
            if (element != 1 && element != size)
                throw new ArgumentException("latents of " + latents + " have " + size + " bytes a value; an array of " + type.Name + " has "
                    + element, name);
        }

        public void Dispose()
        {
            pin.Free();
        }
    }

    // Who receives a model's messages. Counted, because a model's streams may outlive it. The library holds a number, not
    // an address, so that a late message finds nobody instead of freed memory.
    internal sealed class LogTarget
    {
        private static readonly Dictionary<long, LogTarget> Targets = new Dictionary<long, LogTarget>();
        // Kept for the process's life, as the library may call at any time.
        private static readonly Native.LogCallback Receiver = Receive;
        private static long last;

        internal static readonly IntPtr Callback = Marshal.GetFunctionPointerForDelegate(Receiver);
        internal readonly IntPtr User;
        private readonly Action<LogLevel, string> log;
        private int users;

        internal LogTarget(Action<LogLevel, string> log)
        {
            this.log = log;
            User = (IntPtr)Interlocked.Increment(ref last);
            AddUser();
        }

        // Of a stream, after its model's Release, if that was closed in the meantime.
        internal void AddUser()
        {
            lock (Targets)
            {
                users++;
                Targets[(long)User] = this;
            }
        }

        internal void Release()
        {
            lock (Targets)
                if (--users == 0)
                    Targets.Remove((long)User);
        }

        [MonoPInvokeCallback(typeof(Native.LogCallback))]
        private static void Receive(IntPtr user, uint level, IntPtr text)
        {
            try
            {
                LogTarget target;
                lock (Targets)
                    Targets.TryGetValue((long)user, out target);
                if (target != null)
                    target.log((LogLevel)level, Native.Text(text));
            }
            catch (Exception)
            {
                // An exception must not unwind through native code.
            }
        }
    }

    // Ahead-of-time compilers such as Unity's IL2CPP look for an attribute of this name.
    [AttributeUsage(AttributeTargets.Method)]
    internal sealed class MonoPInvokeCallbackAttribute : Attribute
    {
        internal MonoPInvokeCallbackAttribute(Type type)
        {
        }
    }

    // The marshaller counts the calls that use a handle, so that one that is disposed meanwhile is released after them.
    internal abstract class Handle : SafeHandle
    {
        internal LogTarget Log;

        protected Handle() : base(IntPtr.Zero, true)
        {
        }

        public override bool IsInvalid
        {
            get { return handle == IntPtr.Zero; }
        }

        internal void Share(LogTarget log)
        {
            if (log == null)
                return;
            log.AddUser();
            Log = log;
        }

        protected abstract void Destroy(IntPtr native);

        protected override bool ReleaseHandle()
        {
            Destroy(handle);
            if (Log != null)
                Log.Release();
            return true;
        }
    }

    internal sealed class ModelHandle : Handle
    {
        protected override void Destroy(IntPtr native)
        {
            Native.wfvae_model_close(native);
        }
    }

    internal sealed class StreamHandle : Handle
    {
        // Disposes before it cancels: otherwise another thread could reset the stream and begin a call in between.
        internal Status Cancel(bool dispose)
        {
            bool added = false;
            try
            {
                DangerousAddRef(ref added);
                if (dispose)
                    Dispose();
                return Native.wfvae_cancel(handle);
            }
            finally
            {
                if (added)
                    DangerousRelease();
            }
        }

        protected override void Destroy(IntPtr native)
        {
            Native.wfvae_destroy(native);
        }
    }

    internal sealed class SnapshotHandle : Handle
    {
        protected override void Destroy(IntPtr native)
        {
            Native.wfvae_snapshot_destroy(native);
        }
    }

    internal sealed class LatentWriterHandle : Handle
    {
        protected override void Destroy(IntPtr native)
        {
            Native.wfvae_latent_writer_destroy(native);
        }
    }

    internal sealed class LatentReaderHandle : Handle
    {
        protected override void Destroy(IntPtr native)
        {
            Native.wfvae_latent_reader_close(native);
        }
    }

    // wfvae.h. Structs have the fields and the order of the header; tests compare them with the C compiler's.
    internal static unsafe class Native
    {
        private const string Name = "wfvae";

        [UnmanagedFunctionPointer(CallingConvention.Cdecl)]
        internal delegate void LogCallback(IntPtr user, uint level, IntPtr text);

        [StructLayout(LayoutKind.Sequential)]
        internal struct ModelOptions
        {
            internal UIntPtr StructSize;
            internal IntPtr RuntimePath;
            internal uint Provider, Device, NThreads, CheckFinite;
            internal IntPtr LogCallback, LogUser;
            internal uint LogLevel, CacheType;
            internal ulong AttentionBytes;
            internal uint Convolution, Layout, EncodePrecision, DecodePrecision;
            internal IntPtr ProviderOptions, ErrorText;
            internal UIntPtr ErrorSize;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct ModelInfo
        {
            internal UIntPtr StructSize;
            internal IntPtr Name, Provider, RuntimePath, RuntimeVersion;
            internal ulong Parameters, Identity, WeightBytes;
            internal uint Sessions, Generation, LatentChannels, SpatialCompression, TemporalCompression, EncodeDelay, DecodeDelay;
            internal uint HasAttention, HasScaling, WholeClips, EncodeHalo, DecodeHalo;
            internal IntPtr Fallback;
            internal ulong DeviceBytes;
            internal uint Device, EncodePrecision, DecodePrecision, Directions;
            internal ulong EncoderIdentity, DecoderIdentity;
            internal uint DecodeWholeClips;
            internal uint Reserved;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Options
        {
            internal UIntPtr StructSize;
            internal uint Width, Height, Directions, Padding, LatentType, Posterior;
            internal ulong Seed;
            internal uint Scaled, Tiling, TileWidth, TileHeight, TileOverlap, AnyEncoder;
            internal ulong ClipFrames, MemoryLimit;
            internal uint Alpha, FrameMemory, LatentMemory, Reserved;
            internal IntPtr CudaStream;
            internal IntPtr ErrorText;
            internal UIntPtr ErrorSize;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Memory
        {
            internal UIntPtr StructSize;
            internal ulong TotalBytes, WeightBytes, EncodeStateBytes, DecodeStateBytes, WorkingBytes;
            internal uint EncodeTileWidth, EncodeTileHeight, EncodeTiles, DecodeTileWidth, DecodeTileHeight, DecodeTiles;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Frames
        {
            internal UIntPtr StructSize;
            internal Frame* First;
            internal UIntPtr NFrames;
            internal IntPtr FrameStrides0, FrameStrides1, FrameStrides2, FrameStrides3;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Info
        {
            internal UIntPtr StructSize;
            internal uint Width, Height, LatentWidth, LatentHeight, LatentChannels, EncodedChannels;
            internal ulong LatentSize, EncodedSize, EncodeStateBytes, DecodeStateBytes;
            internal ulong FramesIn, LatentsOut, LatentsIn, FramesOut, EncodeSteps, DecodeSteps;
            internal uint NeedsReset, Reserved;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct Progress
        {
            internal UIntPtr StructSize;
            internal ulong StepsDone, StepsTotal;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct LatentWriterOptions
        {
            internal UIntPtr StructSize;
            internal uint FpsNum, FpsDen;
            internal IntPtr Note, ErrorText;
            internal UIntPtr ErrorSize;
        }

        [StructLayout(LayoutKind.Sequential)]
        internal struct LatentFileInfo
        {
            internal UIntPtr StructSize;
            internal ulong ModelIdentity, NFrames, NLatents, Seed;
            internal uint Width, Height, Padded, SpatialCompression, TemporalCompression, LatentChannels, LatentWidth, LatentHeight;
            internal uint Posterior, LatentType, Scaled, FpsNum, FpsDen, Reserved;
            internal IntPtr Scale, Shift, Generator, Note;
            internal ulong EncoderIdentity, DecoderIdentity;
        }

        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr wfvae_status_str(int status);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr wfvae_last_error(IntPtr stream);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_model_open(byte* path, ModelOptions* options, out ModelHandle model);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void wfvae_model_close(IntPtr model);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_model_get_info(ModelHandle model, ModelInfo* info);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern ulong wfvae_latents_for_frames(ModelHandle model, ulong frames);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern ulong wfvae_frames_for_latents(ModelHandle model, ulong latents);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_model_save_onnx(ModelHandle model, byte* folder, uint graphs);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_convert_frame(Frame* from, Frame* to);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_create(ModelHandle model, Options* options, out StreamHandle stream);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void wfvae_destroy(IntPtr stream);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_estimate(ModelHandle model, Options* options, Memory* memory);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_encode_chunk(StreamHandle stream, Frame* frames, UIntPtr count, void* latents,
            UIntPtr capacity, out UIntPtr written);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_encode_frames(StreamHandle stream, Frames* frames, void* latents, UIntPtr capacity,
            out UIntPtr written);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_encode_flush(StreamHandle stream, void* latents, UIntPtr capacity, out UIntPtr written);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_decode_chunk(StreamHandle stream, void* latents, UIntPtr count, Frame* frames,
            UIntPtr capacity, out UIntPtr written);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_decode_frames(StreamHandle stream, void* latents, UIntPtr count, Frames* frames,
            out UIntPtr written);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_decode_flush(StreamHandle stream, Frame* frames, UIntPtr capacity, out UIntPtr written);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_decode_flush_frames(StreamHandle stream, Frames* frames, out UIntPtr written);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_reset(StreamHandle stream);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_cancel(IntPtr stream);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_set_frame_count(StreamHandle stream, ulong frames);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_set_seed(StreamHandle stream, ulong seed);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_encode_count(StreamHandle stream, UIntPtr frames, out UIntPtr count);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_encode_flush_count(StreamHandle stream, out UIntPtr count);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_decode_count(StreamHandle stream, UIntPtr latents, out UIntPtr count);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_decode_flush_count(StreamHandle stream, out UIntPtr count);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_get_info(StreamHandle stream, Info* info);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_get_progress(StreamHandle stream, Progress* progress);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_snapshot_create(StreamHandle stream, out SnapshotHandle snapshot);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_snapshot_restore(StreamHandle stream, SnapshotHandle snapshot);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void wfvae_snapshot_destroy(IntPtr snapshot);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern UIntPtr wfvae_snapshot_size(SnapshotHandle snapshot);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_snapshot_write(SnapshotHandle snapshot, void* buffer, UIntPtr capacity, out UIntPtr written);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_snapshot_read(void* bytes, UIntPtr size, out SnapshotHandle snapshot);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_fork(StreamHandle stream, out StreamHandle fork);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_latent_writer_create(StreamHandle stream, byte* path, LatentWriterOptions* options,
            out LatentWriterHandle writer);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_latent_writer_write(LatentWriterHandle writer, void* latents, UIntPtr count);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_latent_writer_finish(LatentWriterHandle writer, ulong frames);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void wfvae_latent_writer_destroy(IntPtr writer);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_latent_reader_open(byte* path, out LatentReaderHandle reader);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_latent_reader_get_info(LatentReaderHandle reader, LatentFileInfo* info);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_latent_reader_check_model(LatentReaderHandle reader, ModelHandle model);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_latent_reader_check_stream(LatentReaderHandle reader, StreamHandle stream);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_latent_reader_read(LatentReaderHandle reader, ulong start, UIntPtr count, uint type,
            void* latents);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern Status wfvae_latent_reader_read_moments(LatentReaderHandle reader, ulong start, UIntPtr count, uint type,
            void* latents);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern void wfvae_latent_reader_close(IntPtr reader);
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern uint wfvae_api_version();
        [DllImport(Name, CallingConvention = CallingConvention.Cdecl)]
        internal static extern IntPtr wfvae_version();

        internal static Options Convert(StreamOptions options)
        {
            if (options == null)
                throw new ArgumentNullException("options");
            return new Options
            {
                StructSize = (UIntPtr)(uint)sizeof(Options),
                Width = Unsigned(options.Width, "Width"),
                Height = Unsigned(options.Height, "Height"),
                Directions = (uint)options.Directions,
                Padding = options.Padding ? 1u : 0,
                LatentType = (uint)options.LatentType,
                Posterior = (uint)options.Posterior,
                Seed = options.Seed,
                Scaled = options.Scaled ? 1u : 0,
                Tiling = (uint)options.Tiling,
                TileWidth = Unsigned(options.TileWidth, "TileWidth"),
                TileHeight = Unsigned(options.TileHeight, "TileHeight"),
                TileOverlap = Unsigned(options.TileOverlap, "TileOverlap"),
                AnyEncoder = options.AnyEncoder ? 1u : 0,
                ClipFrames = Unsigned(options.ClipFrames, "ClipFrames"),
                MemoryLimit = Unsigned(options.MemoryLimit, "MemoryLimit"),
                Alpha = options.Alpha ? 1u : 0,
                FrameMemory = (uint)options.FrameMemory,
                LatentMemory = (uint)options.LatentMemory,
                CudaStream = options.CudaStream,
            };
        }

        internal static Frames Many(Frame* first, int count, string name, long stride)
        {
            IntPtr step = (IntPtr)stride;
            return new Frames
            {
                StructSize = (UIntPtr)(uint)sizeof(Frames),
                First = first,
                NFrames = Count(count, name),
                FrameStrides0 = step,
                FrameStrides1 = step,
                FrameStrides2 = step,
                FrameStrides3 = step,
            };
        }

        internal static void SetSizes(Frame* frames, int count)
        {
            for (int i = 0; frames != null && i < count; i++)
                frames[i].StructSize = (UIntPtr)(uint)sizeof(Frame);
        }

        internal static void Check(Status status)
        {
            if (status != Status.Ok)
                throw LastError(status);
        }

        internal static WfvaeException LastError(Status status)
        {
            string text = Text(wfvae_last_error(IntPtr.Zero));
            return new WfvaeException(status, text.Length > 0 ? text : Text(wfvae_status_str((int)status)));
        }

        // A cast to int or long would take the lower 32 bits under Mono.
        internal static int Int(UIntPtr count)
        {
            if ((ulong)count > int.MaxValue)
                throw new OverflowException("the count is " + (ulong)count + ", more than an int can hold");
            return (int)(ulong)count;
        }

        internal static UIntPtr Count(int value, string name)
        {
            return (UIntPtr)Unsigned(value, name);
        }

        internal static uint Unsigned(int value, string name)
        {
            if (value < 0)
                throw new ArgumentOutOfRangeException(name, value, "0 or more");
            return (uint)value;
        }

        internal static ulong Unsigned(long value, string name)
        {
            if (value < 0)
                throw new ArgumentOutOfRangeException(name, value, "0 or more");
            return (ulong)value;
        }

        private static readonly UTF8Encoding Strict = new UTF8Encoding(false, true);

        // UTF-8 with a terminating zero. Text that UTF-8 cannot hold is an ArgumentException, not another text.
        internal static byte[] Bytes(string text, string name)
        {
            if (text == null)
                return null;
            if (text.IndexOf('\0') >= 0)
                throw new ArgumentException("the text contains a zero character", name);
            try
            {
                byte[] bytes = new byte[Strict.GetByteCount(text) + 1];
                Strict.GetBytes(text, 0, text.Length, bytes, 0);
                return bytes;
            }
            catch (EncoderFallbackException e)
            {
                throw new ArgumentException("the text holds one half of a surrogate pair, at index " + e.Index, name);
            }
        }

        internal static string Text(IntPtr text)
        {
            if (text == IntPtr.Zero)
                return "";
            byte* bytes = (byte*)text;
            int length = 0;
            while (bytes[length] != 0)
                length++;
            byte[] copy = new byte[length];
            Marshal.Copy(text, copy, 0, length);
            return Encoding.UTF8.GetString(copy);
        }
    }
}
