// Compares Wfvae.cs with what the C compiler says about wfvae.h: abi.txt beside the folder for temporary files, which
// abi.py made. A field, a value or a function that Wfvae.cs lacks is a failure too.
//
// SPDX-License-Identifier: MIT OR Apache-2.0

using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;
using Wfvae;

internal static class AbiTests
{
    private const BindingFlags Any = BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance | BindingFlags.Static;

    // Enumerations whose names C# or other libraries take already.
    private static readonly Dictionary<string, string> Renamed = new Dictionary<string, string>
    {
        { "Range", "FloatRange" }, { "Matrix", "YuvMatrix" },
    };

    // Read by nothing: exceptions carry the text of the thread.
    private static readonly string[] NotBound = { "wfvae_latent_writer_last_error" };

    internal static void Run(string path, Action<bool, string> check)
    {
        string[][] lines = File.ReadAllLines(path).Select(l => l.Split(' ')).ToArray();
        string[] kinds = { "struct", "field", "value", "function" };
        foreach (string kind in kinds)
            check(lines.Count(l => l[0] == kind) > 5, "abi.txt has no " + kind);
        HashSet<string> seen = new HashSet<string>();
        foreach (string[] line in lines)
        {
            if (line[0] == "struct")
            {
                Type type = Struct(line[1]);
                check(type != null, line[1] + " is not declared");
                if (type != null)
                    check(Marshal.SizeOf(type) == int.Parse(line[2]), line[1] + " has " + line[2] + " bytes, in C# " + Marshal.SizeOf(type));
            }
            else if (line[0] == "field")
            {
                Type type = Struct(line[1]);
                int offset = int.Parse(line[3]), size = int.Parse(line[4]);
                string name = Pascal(line[2]);
                // planes[4] are Plane0 to Plane3; frame_strides[4] are FrameStrides0 to FrameStrides3.
                string[] elements = size == 32 ? Enumerable.Range(0, 4).Select(i =>
                    (type.GetField(name + i, Any) != null ? name : name.TrimEnd('s')) + i).ToArray() : new[] { name };
                for (int i = 0; i < elements.Length; i++)
                {
                    FieldInfo field = type.GetField(elements[i], Any);
                    check(field != null, line[1] + "." + line[2] + " is not declared");
                    if (field == null)
                        continue;
                    seen.Add(type.Name + "." + elements[i]);
                    int at = (int)Marshal.OffsetOf(type, elements[i]);
                    Type plain = field.FieldType.IsEnum ? Enum.GetUnderlyingType(field.FieldType) : field.FieldType;
                    int bytes = field.FieldType.IsPointer ? IntPtr.Size : Marshal.SizeOf(plain);
                    check(at == offset + i * size / elements.Length && bytes == size / elements.Length,
                        line[1] + "." + line[2] + " is at " + offset + ", in C# at " + at + " with " + bytes + " bytes");
                }
            }
            else if (line[0] == "value")
            {
                object value = Value(line[1]);
                check(value != null, line[1] + " is not declared");
                if (value != null)
                    check(Convert.ToInt64(value) == long.Parse(line[2]), line[1] + " is " + line[2] + ", in C# " + Convert.ToInt64(value));
            }
            else if (!NotBound.Contains(line[1]))
            {
                MethodInfo method = typeof(Native).GetMethod(line[1], Any);
                check(method != null, line[1] + " is not declared");
                // The library has it too.
                if (method != null)
                    Marshal.Prelink(method);
            }
        }
        foreach (Type type in typeof(Native).GetNestedTypes(Any).Where(t => t.IsValueType).Concat(new[] { typeof(Frame) }))
            foreach (FieldInfo field in type.GetFields(BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.Instance))
                check(seen.Contains(type.Name + "." + field.Name), type.Name + "." + field.Name + " is not in wfvae.h");
    }

    private static Type Struct(string name)
    {
        string own = Pascal(name.Substring("wfvae_".Length));
        return own == "Frame" ? typeof(Frame) : typeof(Native).GetNestedType(own, Any);
    }

    // WFVAE_PIXEL_FORMAT_RGBP_F32 is PixelFormat.RgbpF32.
    private static object Value(string name)
    {
        string[] words = name.ToLowerInvariant().Split('_');
        for (int i = words.Length - 1; i > 1; i--)
        {
            string type = string.Concat(words.Skip(1).Take(i - 1).Select(Capital));
            if (Renamed.ContainsKey(type))
                type = Renamed[type];
            Type found = typeof(Model).Assembly.GetType("Wfvae." + type);
            string value = string.Concat(words.Skip(i).Select(Capital));
            if (found != null && found.IsEnum && Enum.IsDefined(found, value))
                return Enum.Parse(found, value);
        }
        return null;
    }

    private static string Pascal(string name)
    {
        return string.Concat(name.Split('_').Select(Capital));
    }

    private static string Capital(string word)
    {
        return char.ToUpperInvariant(word[0]) + word.Substring(1);
    }
}
