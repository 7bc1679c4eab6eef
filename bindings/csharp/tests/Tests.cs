// Tests Wfvae.cs with real models. Arguments: the folder tests/golden and the folder for temporary files.
//
// SPDX-License-Identifier: MIT OR Apache-2.0

using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Threading;
using Wfvae;

internal static unsafe class Tests
{
    private const int Width = 64, Height = 48, Count = 17;
    private static string golden, folder;
    private static int failures, checks;

    private static int Main(string[] args)
    {
        golden = args[0];
        folder = args[1];
        foreach (MethodInfo test in typeof(Tests).GetMethods(BindingFlags.NonPublic | BindingFlags.Static)
            .Where(m => m.Name.StartsWith("Test")))
        {
            if (args.Length > 2 && !test.Name.Contains(args[2]))
                continue;
            DateTime start = DateTime.UtcNow;
            int before = failures;
            try
            {
                test.Invoke(null, null);
            }
            catch (Exception e)
            {
                failures++;
                Console.WriteLine(test.Name + ": " + (e.InnerException ?? e));
            }
            Console.WriteLine("{0} {1} {2:0.0} s", test.Name, failures == before ? "ok" : "FAILED", (DateTime.UtcNow - start).TotalSeconds);
        }
        Console.WriteLine("{0} checks, {1} failed", checks, failures);
        return failures == 0 && (checks > 100 || args.Length > 2) ? 0 : 1;
    }

    private static void Check(bool condition, string what, [CallerLineNumber] int line = 0)
    {
        checks++;
        if (condition)
            return;
        failures++;
        Console.WriteLine("line " + line + ": " + what);
    }

    private static T Throws<T>(Action action, string text, [CallerLineNumber] int line = 0) where T : Exception
    {
        checks++;
        try
        {
            action();
        }
        catch (T e)
        {
            if (e.Message.Contains(text))
                return e;
            failures++;
            Console.WriteLine("line " + line + ": the text lacks \"" + text + "\": " + e.Message);
            return e;
        }
        catch (Exception e)
        {
            failures++;
            Console.WriteLine("line " + line + ": expected " + typeof(T).Name + ", got " + e);
            return null;
        }
        failures++;
        Console.WriteLine("line " + line + ": expected " + typeof(T).Name + ", nothing was thrown");
        return null;
    }

    private static void Fails(Status status, Action action, string text, [CallerLineNumber] int line = 0)
    {
        WfvaeException e = Throws<WfvaeException>(action, text, line);
        Check(e == null || e.Status == status, "expected " + status + ", got " + (e == null ? "" : e.Status + ": " + e.Message), line);
    }

    // A moving gradient, RGB8.
    private static byte[] Clip(int width, int height, int count)
    {
        byte[] clip = new byte[width * height * 3 * count];
        int i = 0;
        for (int t = 0; t < count; t++)
            for (int y = 0; y < height; y++)
                for (int x = 0; x < width; x++)
                    for (int c = 0; c < 3; c++)
                        clip[i++] = (byte)(128 + 100 * Math.Sin((x + 3 * t) * 0.15 + c) * Math.Cos((y - t) * 0.11));
        return clip;
    }

    private static StreamOptions Size(int width = Width, int height = Height)
    {
        return new StreamOptions { Width = width, Height = height };
    }

    private static double Psnr(byte[] a, byte[] b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
            sum += (a[i] - b[i]) * (a[i] - b[i]);
        return 10 * Math.Log10(255.0 * 255.0 * a.Length / sum);
    }

    private static void TestVersion()
    {
        Check(Library.Version.Length > 0 && Library.ApiVersion >= 1, Library.Version);
        Check(Library.Describe(Status.Busy).Length > 0, "text of a status");
        Check(Library.Describe((Status)12345).Length > 0, "text of an unknown status");
    }

    private static void TestAbi()
    {
        AbiTests.Run(Path.Combine(folder, "..", "abi.txt"), (condition, what) => Check(condition, what));
    }

#if NETCOREAPP
    private static void TestSpans()
    {
        SpanTests.Run((condition, what) => Check(condition, what), Clip(Width, Height, Count), Width, Height, Count);
    }
#endif

    private static void TestRoundTrip()
    {
        byte[] clip = Clip(Width, Height, Count), decoded = new byte[clip.Length];
        FrameLayout layout = FrameLayout.Packed(PixelFormat.Rgb8, Width, Height);
        Check(layout.Size(Count) == clip.Length, "size of a clip");
        using (Model model = Model.Open())
        using (VideoStream stream = model.CreateStream(Size()))
        {
            ModelInfo info = model.Info;
            Check(info.Name == "the built-in model" && info.Provider == "CPU", info.Name + " " + info.Provider);
            Check(info.RuntimeVersion.StartsWith("1.") && File.Exists(info.RuntimePath), info.RuntimePath);
            Check(info.Directions == (Direction.Encode | Direction.Decode), "directions");
            long latents = model.LatentsForFrames(Count);
            Check(latents == 1 + (Count - 1 + info.TemporalCompression - 1) / info.TemporalCompression, "latents");
            Check(model.FramesForLatents(latents) >= Count, "frames");
            Throws<ArgumentException>(() => model.FramesForLatents(long.MaxValue), "more frames");

            float[] whole = stream.EncodeClip(layout, clip, Count);
            StreamInfo sizes = stream.Info;
            Check(whole.LongLength == latents * sizes.EncodedSize / 4, "length of the latents");
            Check(sizes.FramesIn == Count && sizes.LatentsOut == latents && !sizes.NeedsReset, "counters");
            stream.DecodeClip(whole, layout, decoded, Count);
            Check(Psnr(clip, decoded) > 25, "PSNR " + Psnr(clip, decoded));

            // The same in pieces, with other types of arrays.
            stream.Reset();
            float[,,,] pieces = new float[latents, sizes.LatentChannels, sizes.LatentHeight, sizes.LatentWidth];
            int written = 0, at = 0;
            foreach (int n in new[] { 1, 2, 5, 1, 8 })
            {
                int expected = stream.EncodeCount(n);
                int got = stream.Encode(layout, clip, at, n, pieces, written);
                Check(got == expected, "EncodeCount");
                at += n;
                written += got;
            }
            Check(stream.EncodeFlushCount() == latents - written, "EncodeFlushCount");
            written += stream.EncodeFlush(pieces, written);
            Check(written == latents && pieces.Cast<float>().SequenceEqual(whole), "latents in pieces");
            stream.SetFrameCount(Count);
            byte[] again = new byte[clip.Length];
            int frames = 0;
            for (int i = 0; i < latents; i++)
                frames += stream.Decode(whole, i, 1, layout, again, frames, stream.DecodeCount(1));
            Check(stream.DecodeFlushCount() == Count - frames, "DecodeFlushCount");
            frames += stream.DecodeFlush(layout, again, frames, Count - frames);
            Check(frames == Count && again.SequenceEqual(decoded), "frames in pieces");
            Check(stream.Progress.StepsTotal == 0, "progress while nothing runs");
        }
    }

    // All layouts of the same picture give the same latents, and decode to the same picture.
    private static void TestLayouts()
    {
        const int n = 5;
        byte[] rgb = Clip(Width, Height, n);
        using (Model model = Model.Open())
        using (VideoStream stream = model.CreateStream(Size()))
        {
            FrameLayout packed = FrameLayout.Packed(PixelFormat.Rgb8, Width, Height);
            float[] latents = stream.EncodeClip(packed, rgb, n);
            byte[] expected = new byte[rgb.Length];
            stream.DecodeClip(latents, packed, expected, n);

            // As Unity's textures: RGBA32, the bottom row first.
            Color32[] texture = new Color32[Width * Height * n];
            for (int t = 0; t < n; t++)
                for (int y = 0; y < Height; y++)
                    for (int x = 0; x < Width; x++)
                    {
                        int i = ((t * Height + y) * Width + x) * 3;
                        texture[(t * Height + Height - 1 - y) * Width + x] = new Color32 { R = rgb[i], G = rgb[i + 1], B = rgb[i + 2] };
                    }
            FrameLayout unity = FrameLayout.BottomUp(PixelFormat.Rgba8, Width, Height);
            Check(stream.EncodeClip(unity, texture, n).SequenceEqual(latents), "bottom-up RGBA32");
            Color32[] decoded = new Color32[texture.Length];
            stream.DecodeClip(latents, unity, decoded, n);
            bool same = true;
            for (int t = 0; t < n; t++)
                for (int y = 0; y < Height; y++)
                    for (int x = 0; x < Width; x++)
                    {
                        int i = ((t * Height + y) * Width + x) * 3;
                        Color32 p = decoded[(t * Height + Height - 1 - y) * Width + x];
                        same &= p.R == expected[i] && p.G == expected[i + 1] && p.B == expected[i + 2] && p.A == 255;
                    }
            Check(same, "decoded bottom-up RGBA32");

            // Every format and row alignment: sizes must be what the library reads and writes, to the byte.
            foreach (PixelFormat format in Enum.GetValues(typeof(PixelFormat)))
                foreach (bool odd in new[] { false, true })
                    foreach (int alignment in new[] { 1, 64 })
                    {
                        int w = odd ? 13 : 16, h = odd ? 11 : 8;
                        FrameLayout source = FrameLayout.Packed(PixelFormat.Rgb8, w, h);
                        FrameLayout target = FrameLayout.Packed(format, w, h, alignment);
                        FrameLayout flipped = FrameLayout.BottomUp(format, w, h);
                        byte[] there = new byte[target.Size(1)], turned = new byte[flipped.Size(1)], back = new byte[source.Size(1)];
                        byte[] other = new byte[back.Length];
                        Library.Convert(source, Clip(w, h, 1), target, there);
                        Library.Convert(target, there, source, back);
                        Library.Convert(source, Clip(w, h, 1), flipped, turned);
                        Library.Convert(flipped, turned, source, other);
                        Check(back.SequenceEqual(other), format + ": bottom-up");
                        Check(format.ToString().StartsWith("Gray") || Psnr(Clip(w, h, 1), back) > 22, format + " " + Psnr(Clip(w, h, 1), back));
                        if (alignment == 1)
                            Check(there[there.Length - 1] != 0 || there[there.Length - 2] != 0 || format == PixelFormat.P010, format + ": the last element is not written");
                    }
            Throws<ArgumentException>(() => FrameLayout.Packed((PixelFormat)77, 8, 8), "unknown");
            Throws<ArgumentException>(() => FrameLayout.Packed(PixelFormat.Rgb8, 0, 8), "1 to 32768");

            // Every format that can have a plane of alpha keeps it.
            PixelFormat[] without = { PixelFormat.Rgb8, PixelFormat.Rgba8, PixelFormat.Bgr8, PixelFormat.Bgra8, PixelFormat.Rgb16, PixelFormat.Rgba16,
                PixelFormat.RgbF16, PixelFormat.RgbaF16, PixelFormat.RgbF32, PixelFormat.RgbaF32 };
            FrameLayout rgba = FrameLayout.Packed(PixelFormat.Rgba8, Width, Height);
            byte[] picture = Enumerable.Range(0, Width * Height * 4).Select(i => (byte)(i * 7)).ToArray(), converted = new byte[picture.Length];
            foreach (PixelFormat format in Enum.GetValues(typeof(PixelFormat)))
            {
                if (without.Contains(format))
                {
                    Throws<ArgumentException>(() => FrameLayout.Packed(format, 8, 8, 1, true), "packed");
                    continue;
                }
                FrameLayout alpha = FrameLayout.Packed(format, Width, Height, 1, true);
                byte[] there = new byte[alpha.Size(1)];
                Library.Convert(rgba, picture, alpha, there);
                Library.Convert(alpha, there, rgba, converted);
                Check(converted.Where((v, i) => i % 4 == 3).SequenceEqual(picture.Where((v, i) => i % 4 == 3)), "alpha of " + format);
            }

            // NV12 from a video decoder's surface, by pointer; frames at unrelated addresses.
            FrameLayout nv12 = FrameLayout.Packed(PixelFormat.Nv12, Width, Height, 128);
            byte[] surface = new byte[nv12.Size(1)];
            Library.Convert(packed, rgb, nv12, surface);
            float[] one = new float[latents.Length], two = new float[latents.Length];
            stream.Reset();
            stream.Encode(nv12, surface, 0, 1, one, 0);
            stream.Reset();
            fixed (byte* y = surface)
            fixed (float* to = two)
            {
                Frame frame = new Frame { Format = PixelFormat.Nv12, Width = Width, Height = Height };
                frame.Plane0 = (IntPtr)y;
                frame.Plane1 = (IntPtr)(y + 128 * Height);
                frame.Stride0 = frame.Stride1 = (IntPtr)128;
                Check(stream.Encode(&frame, 1, to, 1) == 1 && one.SequenceEqual(two), "NV12 by pointers");
                stream.Reset();
                Check(stream.Encode(nv12, (IntPtr)y, 1, (IntPtr)to, 1) == 1 && one.SequenceEqual(two), "NV12 by address");
                Check(stream.Decode(to, 1, &frame, 1) + stream.DecodeFlush(&frame, 1) == 1, "decoded to NV12");
            }
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct Color32
    {
        public byte R, G, B, A;
    }

    private struct Named
    {
        internal int Value;
        internal string Name;

        internal Named(int value, string name)
        {
            Value = value;
            Name = name;
        }
    }

    private static void TestBounds()
    {
        byte[] clip = Clip(Width, Height, 2);
        FrameLayout layout = FrameLayout.Packed(PixelFormat.Rgb8, Width, Height);
        using (Model model = Model.Open())
        using (VideoStream stream = model.CreateStream(Size()))
        using (VideoStream halves = model.CreateStream(new StreamOptions { Width = Width, Height = Height, LatentType = LatentType.F16 }))
        using (VideoStream encoder = model.CreateStream(new StreamOptions { Width = Width, Height = Height, Directions = Direction.Encode }))
        using (VideoStream decoder = model.CreateStream(new StreamOptions { Width = Width, Height = Height, Directions = Direction.Decode }))
        {
            float[] latents = new float[stream.Info.LatentSize / 4];
            Throws<ArgumentNullException>(() => stream.Encode(layout, null, 0, 1, latents, 0), "frames");
            Throws<ArgumentNullException>(() => stream.Encode(layout, clip, 0, 1, null, 0), "latents");
            Throws<ArgumentException>(() => stream.Encode(layout, clip, 0, 3, latents, 0), "need 27648 bytes; there are 18432");
            Throws<ArgumentException>(() => stream.Encode(layout, clip, 1, 2, latents, 0), "need");
            Throws<ArgumentException>(() => stream.Encode(layout, clip, 3, 1, latents, 0), "frame 3 begins");
            Throws<ArgumentException>(() => stream.Encode(layout, clip, -1, 1, latents, 0), "0 or more");
            Throws<ArgumentException>(() => stream.Encode(layout, clip, 0, -1, latents, 0), "negative");
            Throws<ArgumentException>(() => stream.Encode(layout, clip, 0, 1, latents, -1), "0 or more");
            Throws<ArgumentException>(() => stream.Encode(layout, clip, 0, 1, latents, 2), "no latent 2");
            Throws<ArgumentException>(() => stream.Encode(layout, new string[100], 0, 1, latents, 0), "String");
            Throws<ArgumentException>(() => stream.Encode(layout, new byte[9][], 0, 1, latents, 0), "Byte[]");
            Throws<ArgumentException>(() => stream.Encode(layout, new float[99999], 0, 1, latents, 0), "Single[] holds no pixels of Rgb");
            foreach (Array wrongType in new Array[] { new ushort[99999], new short[99999], new char[99999], new double[99999] })
                Throws<ArgumentException>(() => stream.Encode(layout, wrongType, 0, 1, latents, 0), "[] holds no pixels of");
            Throws<ArgumentException>(() => stream.Decode(latents, 0, 1, layout, new Named[99999], 0, 1), "Named holds references");
            Throws<ArgumentException>(() => stream.Decode(latents, 0, 1, layout, new KeyValuePair<int, Named>[99999], 0, 1), "references");
            Throws<ArgumentException>(() => stream.Encode(layout, clip, 0, 1, latents, int.MaxValue), "no latent 2147483647");
            Throws<ArgumentException>(() => VideoStream.Latents(null, 1 << 20, 1L << 40, int.MaxValue, int.MaxValue), "need more");
            Throws<ArgumentException>(() => stream.EncodeClip(layout, clip, int.MaxValue), "need");
            Throws<ArgumentException>(() => stream.Decode(IntPtr.Zero, 1, layout, IntPtr.Zero, -1), "frameCapacity");
            FrameLayout bottomUp = FrameLayout.BottomUp(PixelFormat.Rgb8, Width, Height);
            Fails(Status.InvalidArgument, () => stream.Encode(bottomUp, IntPtr.Zero, 1, IntPtr.Zero, 0), "plane 0 is NULL");
            Throws<ArgumentException>(() => halves.DecodeClip(new float[9], layout, clip, 1), "2 bytes a value");
            Throws<OverflowException>(() => stream.DecodeCount(int.MaxValue), "8589934583");
            Throws<ArgumentException>(() => stream.Encode(layout, clip, 0, 1, new ushort[9999], 0), "4 bytes a value");
            Throws<ArgumentException>(() => halves.Encode(layout, clip, 0, 1, latents, 0), "2 bytes a value");
            Throws<ArgumentException>(() => stream.Encode(default(FrameLayout), clip, 0, 1, latents, 0), "size is 0x0");
            FrameLayout wrong = layout;
            wrong.Stride0 = -wrong.Stride0;
            Throws<ArgumentException>(() => stream.Encode(wrong, clip, 0, 1, latents, 0), "before the array");
            wrong = layout;
            wrong.Stride0 = long.MaxValue / 2;
            Throws<ArgumentException>(() => stream.Encode(wrong, clip, 0, 1, latents, 0), "too large");
            Throws<ArgumentException>(() => stream.Decode(latents, 0, 2, layout, clip, 0, 1), "from number 0 on need");
            Throws<ArgumentException>(() => stream.Decode(latents, 0, -2, layout, clip, 0, 1), "0 or more");
            Throws<ArgumentException>(() => stream.Decode(latents, 0, 1, layout, clip, 0, 3), "need");
            Throws<ArgumentException>(() => stream.DecodeFlush(layout, clip, 0, -3), "negative");
            Throws<ArgumentException>(() => stream.DecodeClip(new float[7], layout, clip, 1), "whole number");
            Throws<InvalidOperationException>(() => halves.EncodeClip(layout, clip, 1), "F16");
            Fails(Status.Capacity, () => stream.Encode(layout, clip, 0, 1, new float[0], 0), "latent");
            Fails(Status.InvalidArgument, () => stream.Encode(layout, clip, 0, 0, latents, 0), "frame");
            Fails(Status.InvalidSize, () => stream.Encode(FrameLayout.Packed(PixelFormat.Rgb8, 8, 8), clip, 0, 1, latents, 0), "8x8");
            Fails(Status.InvalidState, () => decoder.Encode(layout, clip, 0, 1, latents, 0), "encod");
            Fails(Status.InvalidState, () => encoder.Decode(latents, 0, 1, layout, clip, 0, 1), "decod");
            Fails(Status.InvalidSize, () => model.CreateStream(Size(63, 48)), "63");
            Throws<ArgumentException>(() => model.CreateStream(Size(-1, 48)), "0 or more");
            Throws<ArgumentNullException>(() => model.CreateStream(null), "options");
            ushort[] half = new ushort[halves.Info.LatentSize / 2];
            Check(halves.Encode(layout, clip, 0, 1, half, 0) == 1 && half.Any(v => v != 0), "float16 latents");
            // None of these consumed anything.
            Check(stream.Info.FramesIn == 0 && !stream.Info.NeedsReset, "consumed");
            MemoryEstimate estimate = model.Estimate(Size());
            Check(estimate.TotalBytes == estimate.WeightBytes + estimate.EncodeStateBytes + estimate.DecodeStateBytes + estimate.WorkingBytes
                && estimate.TotalBytes > 0 && estimate.EncodeTiles == 1, "estimate");
        }
    }

    /// Whether bfloat16 must work on this CPU.
    private static bool HasMatrixUnit()
    {
        string forced = Environment.GetEnvironmentVariable("WFVAE_CPU");
        return Environment.OSVersion.Platform == PlatformID.Unix && File.Exists("/proc/cpuinfo") && File.ReadAllText("/proc/cpuinfo").Contains(" amx_bf16 ")
            && (string.IsNullOrEmpty(forced) || forced == "amx");
    }

    private static void TestErrors()
    {
        Fails(Status.Io, () => Model.Open(Path.Combine(folder, "Grüße 世界 🎬")), "Grüße 世界 🎬");
        Throws<ArgumentException>(() => Model.Open("a\0b"), "zero character");
        Throws<ArgumentException>(() => Model.Open("a\ud800b"), "surrogate pair, at index 1");
        Fails(Status.InvalidArgument, () => Model.Open(null, new ModelOptions { Provider = (Provider)77 }), "77");
        Fails(Status.InvalidArgument, () => Model.Open(null, new ModelOptions { Threads = 100000 }), "threads");
        Throws<ArgumentException>(() => Model.Open(null, new ModelOptions { Threads = -1 }), "Threads");
        ModelOptions narrow = new ModelOptions { Provider = Provider.Cpu, EncodePrecision = Precision.Bf16, DecodePrecision = Precision.Bf16 };
        using (Model model = Model.Open(null, narrow))
        {
            Check(model.Info.DecodePrecision == Precision.Bf16, "bfloat16");
            StreamOptions small = new StreamOptions { Width = 64, Height = 64 };
            if (HasMatrixUnit())
                model.CreateStream(small).Dispose();
            else
                Fails(Status.Provider, () => model.CreateStream(small), "matrix unit");
        }
        using (Model model = Model.Open(null, new ModelOptions { Provider = Provider.Cpu }))
            foreach (StreamOptions there in new[]
            {
                new StreamOptions { Width = 64, Height = 64, FrameMemory = MemoryKind.Cuda },
                new StreamOptions { Width = 64, Height = 64, LatentMemory = MemoryKind.Cuda, CudaStream = (IntPtr)8 },
            })
                Fails(Status.InvalidArgument, () => model.CreateStream(there), "_memory cuda: the model runs on the CPU");
        // Each thread has its own text.
        string[] texts = new string[4];
        Thread[] threads = Enumerable.Range(0, 4).Select(i => new Thread(() =>
        {
            for (int n = 0; n < 200; n++)
                try
                {
                    Model.Open("missing-" + i + "-" + n);
                }
                catch (WfvaeException e)
                {
                    if (e.Message.Contains("missing-" + i + "-" + n))
                        texts[i] = e.Message;
                    else
                        texts[i] = "wrong: " + e.Message;
                }
        })).ToArray();
        foreach (Thread thread in threads)
            thread.Start();
        foreach (Thread thread in threads)
            thread.Join();
        for (int i = 0; i < 4; i++)
            Check(texts[i].Contains("missing-" + i + "-199"), texts[i]);
    }

    private static void TestModels()
    {
        string copy = Path.Combine(folder, "modèle 模型");
        Directory.CreateDirectory(copy);
        foreach (string file in Directory.GetFiles(Path.Combine(golden, "v1-tiny-8x")))
            File.Copy(file, Path.Combine(copy, Path.GetFileName(file)), true);
        byte[] clip = Clip(16, 24, 9), decoded = new byte[clip.Length];
        FrameLayout layout = FrameLayout.Packed(PixelFormat.Rgb8, 16, 24);
        using (Model model = Model.Open(copy))
        using (VideoStream stream = model.CreateStream(Size(16, 24)))
        {
            Check(model.Info.TemporalCompression == 8 && model.Info.Name.Contains("模型"), model.Info.Name);
            float[] latents = stream.EncodeClip(layout, clip, 9);
            stream.DecodeClip(latents, layout, decoded, 9);
            Check(decoded.Any(v => v != 0), "decoded");
            foreach (int wrong in new[] { -1, 0, 1, 10, 18 })
                Throws<ArgumentException>(() => stream.DecodeClip(latents, layout, new byte[clip.Length * 2], wrong), "clips of 2 to 9 frames");
            Throws<ArgumentException>(() => stream.DecodeClip(new float[stream.Info.LatentSize / 4], layout, decoded, 2), "clips of 1 to 1 frames");
            stream.DecodeClip(latents, layout, decoded, 2);
            string graphs = Path.Combine(folder, "graphs");
            Directory.CreateDirectory(graphs);
            model.SaveOnnx(graphs, Graphs.Steps);
            Check(Directory.GetFiles(graphs, "*.onnx").Length > 0, "graphs");
            Fails(Status.InvalidArgument, () => model.SaveOnnx(copy, Graphs.Steps), "模型");
        }
    }

    private static void TestSnapshotsAndFiles()
    {
        byte[] clip = Clip(Width, Height, Count);
        FrameLayout layout = FrameLayout.Packed(PixelFormat.Rgb8, Width, Height);
        string path = Path.Combine(folder, "Aufnahme ünï 録画.safetensors");
        using (Model model = Model.Open())
        using (VideoStream stream = model.CreateStream(Size()))
        {
            float[] whole = stream.EncodeClip(layout, clip, Count);
            int latent = (int)stream.Info.LatentSize / 4;
            stream.Reset();
            float[] head = new float[whole.Length], tail = new float[whole.Length], forked = new float[whole.Length], fromBytes = new float[whole.Length];
            int written = stream.Encode(layout, clip, 0, 6, head, 0);
            using (Snapshot snapshot = stream.CreateSnapshot())
            using (Snapshot copy = Snapshot.FromBytes(snapshot.ToBytes()))
            using (VideoStream fork = stream.Fork())
            using (VideoStream other = model.CreateStream(Size()))
            {
                int a = stream.Encode(layout, clip, 6, Count - 6, tail, 0);
                stream.Restore(snapshot);
                int b = stream.Encode(layout, clip, 6, Count - 6, head, written);
                int c = fork.Encode(layout, clip, 6, Count - 6, forked, 0);
                other.Restore(copy);
                int d = other.Encode(layout, clip, 6, Count - 6, fromBytes, 0);
                Check(a == b && b == c && c == d, "counts");
                Check(tail.Take(a * latent).SequenceEqual(whole.Skip(written * latent).Take(a * latent)), "after the snapshot");
                Check(head.Take((written + b) * latent).SequenceEqual(whole.Take((written + b) * latent)), "restored");
                Check(forked.SequenceEqual(tail) && fromBytes.SequenceEqual(tail), "forked, and from bytes");
                byte[] damaged = snapshot.ToBytes();
                damaged[damaged.Length / 2] ^= 1;
                Fails(Status.InvalidArgument, () => Snapshot.FromBytes(damaged), "snapshot");
                Fails(Status.InvalidArgument, () => Snapshot.FromBytes(new byte[0]), "");
            }

            using (LatentWriter writer = new LatentWriter(stream, path, uint.MaxValue, 1001, "Notiz: 世界 🎬"))
            {
                Throws<ArgumentException>(() => writer.Write(whole, 0, 999), "need");
                writer.Write(whole, 0, 2);
                writer.Write(whole, 2, whole.Length / latent - 2);
                Check(!File.Exists(path), "the file is there before Finish");
                Fails(Status.InvalidState, () => writer.Finish(1000), "1000");
                writer.Finish(Count);
                Check(File.Exists(path), "the file");
                Fails(Status.InvalidState, () => writer.Write(whole, 0, 1), "finish");
            }
            // Each clip has its seed, and so has its file.
            StreamOptions sampled = Size();
            sampled.Posterior = Posterior.Sample;
            Fails(Status.InvalidArgument, () => stream.SetSeed(1), "not a sample");
            using (VideoStream sampler = model.CreateStream(sampled))
            {
                float[] first = sampler.EncodeClip(layout, clip, Count);
                Fails(Status.InvalidState, () => sampler.SetSeed(1), "encoded already");
                sampler.Reset();
                sampler.SetSeed(ulong.MaxValue);
                float[] second = sampler.EncodeClip(layout, clip, Count);
                sampled.Seed = ulong.MaxValue;
                using (VideoStream other = model.CreateStream(sampled))
                    Check(!second.SequenceEqual(first) && other.EncodeClip(layout, clip, Count).SequenceEqual(second), "SetSeed");
                using (LatentWriter writer = new LatentWriter(sampler, path + "-sampled"))
                {
                    writer.Write(second, 0, second.Length / latent);
                    writer.Finish(Count);
                }
                using (LatentReader file = new LatentReader(path + "-sampled"))
                    Check(file.Info.Posterior == Posterior.Sample && file.Info.Seed == ulong.MaxValue, "seed of the file");
            }

            LatentReader reader = new LatentReader(path);
            LatentFileInfo info = reader.Info;
            Check(info.Note == "Notiz: 世界 🎬" && info.FpsNum == uint.MaxValue && info.FpsDen == 1001 && info.Frames == Count && info.Generator.StartsWith("libwfvae"), info.Note);
            Check(info.EncoderIdentity == model.Info.EncoderIdentity && info.Latents == whole.Length / latent, "info of the file");
            reader.Check(model);
            reader.Check(stream);
            float[] read = new float[whole.Length];
            reader.Read(0, whole.Length / latent, read);
            Check(read.SequenceEqual(whole), "latents of the file");
            ushort[] halves = new ushort[whole.Length];
            reader.Read(1, 1, halves, LatentType.F16);
            Check(halves.Any(v => v != 0), "float16 of the file");
            Throws<ArgumentException>(() => reader.Read(0, 99, read), "need");
            Fails(Status.InvalidArgument, () => reader.Read(99, 1, read), "99");
            Fails(Status.InvalidState, () => reader.ReadMoments(0, 1, read), "moments");
            using (Model tiny = Model.Open(Path.Combine(golden, "v1-tiny")))
                Fails(Status.LatentFile, () => reader.Check(tiny), "");
            reader.Dispose();
            reader.Dispose();
            Throws<ObjectDisposedException>(() => reader.Read(0, 1, read), "");
            Check(reader.Info.Note.StartsWith("Notiz"), "info after Dispose");
            Fails(Status.Io, () => new LatentReader(path + "-missing"), "録画");
            Fails(Status.Io, () => new LatentWriter(stream, "/nonexistent-folder/x"), "nonexistent");
        }
    }

    private static void TestDispose()
    {
        byte[] clip = Clip(Width, Height, 1);
        float[] latents;
        FrameLayout layout = FrameLayout.Packed(PixelFormat.Rgb8, Width, Height);
        Model model = Model.Open();
        VideoStream stream = model.CreateStream(Size());
        model.Dispose();
        model.Dispose();
        Throws<ObjectDisposedException>(() => model.CreateStream(Size()), "");
        Throws<ObjectDisposedException>(() => model.Info.ToString(), "");
        latents = stream.EncodeClip(layout, clip, 1);
        Check(latents.Length > 0, "a stream outlives its model");
        Snapshot snapshot = stream.CreateSnapshot();
        stream.Dispose();
        stream.Dispose();
        Throws<ObjectDisposedException>(() => stream.Cancel(), "");
        Throws<ObjectDisposedException>(() => stream.Progress.ToString(), "");
        Throws<ObjectDisposedException>(() => stream.EncodeClip(layout, clip, 1), "");
        Throws<ObjectDisposedException>(() => stream.Encode(layout, clip, 0, 1, latents, 0, new CancellationTokenSource().Token), "");
        Throws<ObjectDisposedException>(() => stream.Restore(snapshot), "");
        snapshot.Dispose();
        Throws<ObjectDisposedException>(() => snapshot.ToBytes(), "");

        // Dispose while another thread is inside a call, or rarely just after it.
        int ended = 0;
        for (int i = 0; i < 3; i++)
            using (Model big = Model.Open())
            {
                VideoStream running = big.CreateStream(Size(256, 192));
                byte[] large = Clip(256, 192, 9);
                float[] room = new float[4 * running.Info.LatentSize / 4];
                Exception seen = null;
                Thread thread = new Thread(() =>
                {
                    try
                    {
                        for (;;)
                        {
                            running.Encode(FrameLayout.Packed(PixelFormat.Rgb8, 256, 192), large, 0, 9, room, 0);
                        }
                    }
                    catch (Exception e)
                    {
                        seen = e;
                    }
                });
                thread.Start();
                while (running.Progress.StepsDone == 0)
                    Thread.Sleep(1);
                running.Dispose();
                thread.Join();
                WfvaeException cancelled = seen as WfvaeException;
                Check(seen is ObjectDisposedException || (cancelled != null && cancelled.Status == Status.Cancelled), "" + seen);
                ended += cancelled != null ? 1 : 0;
            }
        Check(ended > 0, "Dispose cancelled no call");
    }

    private static void TestCancel()
    {
        byte[] clip = Clip(512, 384, 33);
        FrameLayout layout = FrameLayout.Packed(PixelFormat.Rgb8, 512, 384);
        using (Model model = Model.Open())
        using (VideoStream stream = model.CreateStream(Size(512, 384)))
        {
            float[] latents = new float[9 * stream.Info.LatentSize / 4];
            CancellationTokenSource before = new CancellationTokenSource();
            before.Cancel();
            Throws<OperationCanceledException>(() => stream.Encode(layout, clip, 0, 33, latents, 0, before.Token), "");
            Check(stream.Encode(layout, clip, 0, 1, latents, 0) == 1, "a token that was cancelled before leaves the stream alone");
            stream.Reset();

            CancellationTokenSource source = new CancellationTokenSource();
            DateTime cancelled = DateTime.MaxValue;
            long total = 0;
            Thread canceller = new Thread(() =>
            {
                while (stream.Progress.StepsDone < 2)
                    Thread.Sleep(1);
                total = stream.Progress.StepsTotal;
                try
                {
                    stream.Reset();
                    Check(false, "two calls at once");
                }
                catch (WfvaeException e)
                {
                    Check(e.Status == Status.Busy, e.Message);
                }
                cancelled = DateTime.UtcNow;
                source.Cancel();
            });
            canceller.Start();
            OperationCanceledException thrown =
                Throws<OperationCanceledException>(() => stream.Encode(layout, clip, 0, 33, latents, 0, source.Token), "Reset");
            double delay = (DateTime.UtcNow - cancelled).TotalSeconds;
            canceller.Join();
            Check(thrown != null && thrown.CancellationToken == source.Token && thrown.InnerException is WfvaeException, "the exception's token");
            Check(total > 2, "progress " + total);
            Check(delay < 1, "cancelled after " + delay + " s");
            Fails(Status.NeedsReset, () => stream.Encode(layout, clip, 0, 1, latents, 0), "reset");
            stream.Reset();
            Check(stream.Encode(layout, clip, 0, 1, latents, 0) == 1, "after Reset");
            // A token that is cancelled during a call that fails for another reason.
            CancellationTokenSource during = new CancellationTokenSource();
            Call failing = new Call(stream.Handle, during.Token);
            during.Cancel();
            failing.Returned(Status.Capacity);
            failing.End();
            thrown = Throws<OperationCanceledException>(() => failing.Result(UIntPtr.Zero), "Reset");
            Check(thrown != null && thrown.InnerException is WfvaeException, "the call's own error");
            stream.Reset();
            Check(stream.Encode(layout, clip, 0, 1, latents, 0) == 1, "after Reset");
            stream.Cancel();
            Fails(Status.Cancelled, () => stream.Encode(layout, clip, 1, 1, latents, 0), "cancel");

            // Tokens that are cancelled at the end of a call, here of one that only keeps a frame: a call that returns leaves
            // no cancellation behind, which the next one would meet.
            VideoStream small = model.CreateStream(Size());
            FrameLayout part = FrameLayout.Packed(PixelFormat.Rgb8, Width, Height);
            CancellationTokenSource shared = null;
            bool done = false;
            Thread spinning = new Thread(() =>
            {
                while (!Volatile.Read(ref done))
                {
                    CancellationTokenSource now = Interlocked.Exchange(ref shared, null);
                    if (now != null)
                        now.Cancel();
                }
            });
            spinning.Start();
            int late = 0;
            try
            {
                // On a busy machine few cancellations come in time.
                DateTime start = DateTime.UtcNow;
                for (int i = 0; i < 600 || (late <= 10 && (DateTime.UtcNow - start).TotalSeconds < 60); i++)
                {
                    small.Reset();
                    small.Encode(part, clip, 0, 1, latents, 0);
                    CancellationTokenSource source2 = new CancellationTokenSource();
                    Interlocked.Exchange(ref shared, source2);
                    Thread.SpinWait(i % 100);
                    try
                    {
                        small.Encode(part, clip, 1, 1, latents, 0, source2.Token);
                        small.Encode(part, clip, 2, 1, latents, 0);
                    }
                    catch (OperationCanceledException)
                    {
                        late++;
                    }
                }
            }
            finally
            {
                Volatile.Write(ref done, true);
                spinning.Join();
            }
            Check(late > 10, "only " + late + " cancellations came in time");
        }
    }

    private static void TestLog()
    {
        List<string> messages = new List<string>();
        Model model = Model.Open(null, new ModelOptions
        {
            LogLevel = LogLevel.Debug,
            Log = (level, text) =>
            {
                lock (messages)
                    messages.Add(level + " " + text);
                throw new InvalidOperationException("must be dropped");
            },
        });
        VideoStream stream = model.CreateStream(Size());
        model.Dispose();
        int before = messages.Count;
        Check(before > 0 && messages.All(m => m.Contains(" ")), "messages");
        VideoStream fork = stream.Fork();
        stream.Dispose();
        // The callback is used after the model and its delegates have no other reference.
        GC.Collect();
        GC.WaitForPendingFinalizers();
        fork.EncodeClip(FrameLayout.Packed(PixelFormat.Rgb8, Width, Height), Clip(Width, Height, 1), 1);
        fork.Dispose();
        System.Collections.ICollection targets = (System.Collections.ICollection)typeof(LogTarget)
            .GetField("Targets", BindingFlags.NonPublic | BindingFlags.Static).GetValue(null);
        Check(targets.Count == 0, targets.Count + " targets are left");
        Fails(Status.Io, () => Model.Open("missing", new ModelOptions { Log = (l, t) => { } }), "missing");
        Check(targets.Count == 0, "a target is left of a model that was not opened");
        // The model is closed after a stream was created and before the stream counts as a user.
        LogTarget target = new LogTarget((l, t) => { });
        target.Release();
        target.AddUser();
        Check(targets.Count == 1, "the stream's messages would go nowhere");
        target.Release();
        Check(targets.Count == 0, "the stream's target is left");
    }

    // The collector runs all the time, while two threads encode and drop what they made.
    private static void TestCollector()
    {
        bool stop = false;
        Thread collector = new Thread(() =>
        {
            while (!Volatile.Read(ref stop))
            {
                byte[][] waste = Enumerable.Range(0, 50).Select(i => new byte[5000]).ToArray();
                GC.KeepAlive(waste);
                GC.Collect();
                Thread.Sleep(1);
            }
        });
        collector.Start();
        try
        {
            FrameLayout layout = FrameLayout.Packed(PixelFormat.Rgb8, Width, Height);
            byte[] clip = Clip(Width, Height, 5);
            float[] expected;
            using (Model model = Model.Open())
            using (VideoStream stream = model.CreateStream(Size()))
                expected = stream.EncodeClip(layout, clip, 5);
            int same = 0;
            Thread[] threads = Enumerable.Range(0, 2).Select(t => new Thread(() =>
            {
                for (int i = 0; i < 8; i++)
                    // Neither is disposed: the collector may take them as soon as the call no longer needs them.
                    if (Model.Open().CreateStream(Size()).EncodeClip(layout, (byte[])clip.Clone(), 5).SequenceEqual(expected))
                        Interlocked.Increment(ref same);
            })).ToArray();
            foreach (Thread thread in threads)
                thread.Start();
            foreach (Thread thread in threads)
                thread.Join();
            Check(same == 16, same + " of 16 results are right");
        }
        finally
        {
            Volatile.Write(ref stop, true);
            collector.Join();
        }
        GC.Collect();
        GC.WaitForPendingFinalizers();
    }

    // After the first call, calls make no garbage.
    private static void TestNoGarbage()
    {
        FrameLayout layout = FrameLayout.Packed(PixelFormat.Rgb8, Width, Height);
        byte[] clip = Clip(Width, Height, 1);
        using (Model model = Model.Open(Path.Combine(golden, "v1-image")))
        using (VideoStream stream = model.CreateStream(Size()))
        {
            float[] latents = new float[stream.Info.EncodedSize / 4];
            stream.Encode(layout, clip, 0, 1, latents, 0);
            stream.Reset();
            GC.Collect();
            long before = GC.GetTotalMemory(true);
            for (int i = 0; i < 50; i++)
            {
                stream.Encode(layout, clip, 0, 1, latents, 0);
                stream.Reset();
            }
            long grown = GC.GetTotalMemory(false) - before;
            Check(grown < 16384, grown + " bytes of garbage");
        }
    }
}
