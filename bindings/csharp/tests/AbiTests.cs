// Compares Wfvae.cs with what the C compiler says about wfvae.h: abi.txt beside the folder for temporary files, which
// abi.py made. What Wfvae.cs lacks, or has beyond the header, is a failure too.
//
// SPDX-License-Identifier: MIT OR Apache-2.0

using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Reflection;
using System.Runtime.InteropServices;
using Wfvae;

internal static unsafe class AbiTests
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
        foreach (string what in new[] { "struct", "field", "value", "function", "callback" })
            check(lines.Any(l => l[0] == what), "abi.txt has no " + what);
        HashSet<string> seen = new HashSet<string>();
        foreach (string[] line in lines)
        {
            string name = string.Join(" ", line.Skip(1).Take(line[0] == "field" || line[0] == "value" ? 2 : 1));
            if (line[0] == "struct")
            {
                Type type = Struct(line[1]);
                check(type != null, name + " is not declared");
                if (type != null)
                    check(Marshal.SizeOf(type) == int.Parse(line[2]), name + " has " + line[2] + " bytes, in C# " + Marshal.SizeOf(type));
            }
            else if (line[0] == "field" && Struct(line[1]) != null)
            {
                Type type = Struct(line[1]);
                int offset = int.Parse(line[3]), count = int.Parse(line[4]), size = line[5][1] - '0';
                string own = Pascal(line[2]);
                // planes[4] are Plane0 to Plane3; frame_strides[4] are FrameStrides0 to FrameStrides3.
                string[] elements = count == 1 ? new[] { own } : Enumerable.Range(0, count).Select(i =>
                    (type.GetField(own + i, Any) != null ? own : own.TrimEnd('s')) + i).ToArray();
                for (int i = 0; i < count; i++)
                {
                    FieldInfo field = type.GetField(elements[i], Any);
                    check(field != null, name + " is not declared");
                    if (field == null)
                        continue;
                    seen.Add(type.Name + "." + elements[i]);
                    int at = (int)Marshal.OffsetOf(type, elements[i]);
                    check(at == offset + i * size, name + " is at " + offset + ", in C# " + elements[i] + " at " + at);
                    check(Fits(line[5], field.FieldType), name + " is " + line[5] + ", in C# " + field.FieldType.Name);
                }
            }
            else if (line[0] == "value")
            {
                Type type = Enumeration(line[1]);
                string own = Pascal(line[2].Substring(line[1].Length + 1).ToLowerInvariant());
                check(type != null && Enum.IsDefined(type, own), name + " is not declared");
                if (type == null || !Enum.IsDefined(type, own))
                    continue;
                seen.Add(type.Name + "." + own);
                long value = Convert.ToInt64(Enum.Parse(type, own));
                check(value == long.Parse(line[3]), name + " is " + line[3] + ", in C# " + value);
            }
            else if ((line[0] == "function" && !NotBound.Contains(name)) || line[0] == "callback")
            {
                MethodInfo method = line[0] == "function" ? typeof(Native).GetMethod(name, Any) : Struct(name).GetMethod("Invoke");
                check(method != null, name + " is not declared");
                if (method == null)
                    continue;
                seen.Add("Native." + name);
                Type[] types = new[] { method.ReturnType }.Concat(method.GetParameters().Select(p => p.ParameterType)).ToArray();
                check(types.Length == line.Length - 2 && types.Select((t, i) => Fits(line[i + 2], t)).All(fits => fits),
                    string.Join(" ", line) + ", in C# " + method);
                // The library has it too.
                if (line[0] == "function")
                    Marshal.Prelink(method);
            }
        }
        IEnumerable<MemberInfo> members = typeof(Native).GetNestedTypes(Any).Where(t => t.IsValueType).Concat(new[] { typeof(Frame) })
            .SelectMany(t => (MemberInfo[])t.GetFields(Any));
        members = members.Concat(typeof(Native).GetMethods(Any).Where(m => m.Name.StartsWith("wfvae_")));
        members = members.Concat(lines.Where(l => l[0] == "value").Select(l => Enumeration(l[1])).Where(t => t != null).Distinct()
            .SelectMany(t => (MemberInfo[])t.GetFields(BindingFlags.Public | BindingFlags.Static)));
        foreach (MemberInfo member in members)
            check(seen.Contains(member.DeclaringType.Name + "." + member.Name), member.DeclaringType.Name + "." + member.Name + " is not in wfvae.h");
    }

    // Whether a C# type is the header's, which is in the words of abi.py. IntPtr is a pointer or a signed integer.
    private static bool Fits(string kind, Type type)
    {
        bool pointer = type == typeof(IntPtr) || type.IsPointer || type.IsByRef || typeof(Handle).IsAssignableFrom(type);
        switch (kind)
        {
            case "v0": return type == typeof(void);
            case "e4": return type.IsEnum && Marshal.SizeOf(Enum.GetUnderlyingType(type)) == 4;
            case "u4": return type == typeof(uint) || (type.IsEnum && Enum.GetUnderlyingType(type) == typeof(uint));
            case "i4": return type == typeof(int);
            case "u8": return type == typeof(ulong) || type == typeof(UIntPtr);
            case "i8": return type == typeof(IntPtr);
            case "s8": return type == typeof(IntPtr) || type == typeof(byte*);
            case "p8": return pointer && type != typeof(byte*);
            case "r8": return type == typeof(IntPtr);
            default: return false;
        }
    }

    private static Type Struct(string name)
    {
        string own = Pascal(name.Substring("wfvae_".Length));
        return own == "Frame" ? typeof(Frame) : typeof(Native).GetNestedType(own, Any);
    }

    private static Type Enumeration(string name)
    {
        string own = Pascal(name.Substring("wfvae_".Length));
        return typeof(Model).Assembly.GetType("Wfvae." + (Renamed.ContainsKey(own) ? Renamed[own] : own));
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
