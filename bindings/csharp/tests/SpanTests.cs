// The overloads for spans give what those for arrays give.
//
// SPDX-License-Identifier: MIT OR Apache-2.0

using System;
using System.Linq;
using System.Runtime.InteropServices;
using Wfvae;

internal static class SpanTests
{
    internal static void Run(Action<bool, string> check, byte[] clip, int width, int height, int count)
    {
        FrameLayout layout = FrameLayout.Packed(PixelFormat.Rgb8, width, height);
        using (Model model = Model.Open())
        using (VideoStream stream = model.CreateStream(new StreamOptions { Width = width, Height = height }))
        {
            float[] expected = stream.EncodeClip(layout, clip, count);
            byte[] frames = new byte[clip.Length], same = new byte[clip.Length];
            stream.DecodeClip(expected, layout, frames, count);
            stream.Reset();
            float[] latents = new float[expected.Length];
            Span<byte> room = MemoryMarshal.AsBytes(latents.AsSpan());
            int latent = (int)stream.Info.LatentSize;
            int written = stream.Encode(layout, clip.AsSpan(), count, room);
            written += stream.EncodeFlush(room.Slice(written * latent));
            check(written * latent == room.Length && latents.SequenceEqual(expected), "encoded from spans");
            stream.SetFrameCount(count);
            int got = stream.Decode(room, written, layout, same.AsSpan(), count);
            got += stream.DecodeFlush(layout, same.AsSpan().Slice((int)layout.FrameStride * got), count - got);
            check(got == count && same.SequenceEqual(frames), "decoded to spans");
            // A byte[] is a span and an Array.
            check(stream.EncodeFlush(new byte[latent]) == 0, "a second flush");
            bool thrown = false;
            try
            {
                stream.Encode(layout, clip.AsSpan().Slice(1), count, room);
            }
            catch (ArgumentException)
            {
                thrown = true;
            }
            check(thrown, "a span that is too short");
        }
    }
}
