// As much of Unity as README.md's program needs to compile.
//
// SPDX-License-Identifier: MIT OR Apache-2.0

namespace UnityEngine
{
    public class MonoBehaviour
    {
    }

    public struct Color32
    {
        public byte r, g, b, a;
    }

    public class Texture2D
    {
        public int width, height;

        public Color32[] GetPixels32()
        {
            return new Color32[width * height];
        }

        public void SetPixels32(Color32[] pixels)
        {
        }

        public void Apply()
        {
        }
    }

    public static class Debug
    {
        public static void LogError(object message)
        {
        }
    }
}
