"""Asks the C compiler about wfvae.h, for the tests of C#, Python and Node: abi.py HEADER FOLDER [RUNNER].

RUNNER runs programs of the compiler's system, if that is another, such as wine. Writes FOLDER/abi.txt with lines
    struct NAME SIZE
    field STRUCT NAME OFFSET COUNT KIND
    value ENUM NAME VALUE
    function NAME RESULT ARGUMENT...
    callback NAME RESULT ARGUMENT...
COUNT is the number of elements, 1 if it is no array. KIND, RESULT and ARGUMENT are a letter and the bytes of one element: u unsigned
integer, i signed integer, f float, e enumeration, s `const char *`, r `const float *`, p any other pointer, v nothing.
"""

# SPDX-License-Identifier: MIT OR Apache-2.0

import os
import re
import subprocess
import sys
from pathlib import Path

# What is none of these, such as a struct, has the letter of a pointer and another size, so that no binding matches it.
KIND = """
#define KIND(value) _Generic((value), \\
    _Bool: 'u', unsigned char: 'u', unsigned short: 'u', unsigned: 'u', unsigned long: 'u', unsigned long long: 'u', \\
    signed char: 'i', short: 'i', int: 'i', long: 'i', long long: 'i', float: 'f', double: 'f', \\
    const char *: 's', const float *: 'r', default: 'p')
"""


def kind_of(c_type):
    """printf's arguments for a result or an argument of a function."""
    if c_type == "void":
        return "'v', (size_t)0"
    kind = "'e'" if c_type.startswith("enum ") else f"KIND(*({c_type} *)0)"
    return f"{kind}, sizeof({c_type})"


def program(header):
    """The lines of a C program that prints abi.txt."""
    comments = r'//[^\n]*|/\*.*?\*/|^#[^\n]*|^extern "C" \{|^\}  ?// extern "C"'
    rest = re.sub(comments, "", header.read_text(), flags=re.DOTALL | re.MULTILINE)
    # Empty here, and declspec on Windows.
    rest = rest.replace("WFVAE_API", "")

    def take(pattern):
        nonlocal rest
        found = re.findall(pattern, rest)
        rest = re.sub(pattern, "", rest)
        return found

    take(r"typedef struct (\w+) \1;")
    for name, body in take(r"typedef struct (\w+) \{([^}]*)\} \1;"):
        yield f'printf("struct {name} %zu\\n", sizeof({name}));'
        for field, count in re.findall(r"(\w+)(?:\[(\d+)\])?;", body):
            element = f"(({name} *)0)->{field}" + ("[0]" if count else "")
            yield f'printf("field {name} {field} %zu {count or 1} %c%zu\\n", offsetof({name}, {field}), KIND({element}), sizeof {element});'
    for name, body in take(r"typedef enum (\w+) \{([^}]*)\} \1;"):
        for value in re.findall(r"(\w+)(?: = [^,]*)?,", body):
            yield f'printf("value {name} {value} %d\\n", (int){value});'
    for what, pattern in ("callback", r"typedef (\w[\w *]*?)\(\*(\w+)\)\(([^()]*)\);"), ("function", r"(\w[\w\s*]*?)\b(\w+)\(([^()]*)\);"):
        for result, name, arguments in take(pattern):
            # Without the arguments' names.
            types = [re.sub(r"\b\w+$", "", argument.strip()).strip() for argument in arguments.split(",") if argument != "void"]
            kinds = ", ".join(map(kind_of, [result.strip(), *types]))
            yield f'printf("{what} {name}{" %c%zu" * (1 + len(types))}\\n", {kinds});'
    if rest.strip():
        sys.exit(f"abi.py does not understand this in {header}: {' '.join(rest.split())}")


def main():
    header, folder, runner = Path(sys.argv[1]).resolve(), Path(sys.argv[2]), sys.argv[3:]
    lines = "\n".join(program(header))
    source = folder / "abi.c"
    source.write_text(f'#include "{header}"\n#include <stdio.h>\n{KIND}\nint main(void)\n{{\n{lines}\nreturn 0;\n}}\n')
    compiled = folder / "abi.exe"
    subprocess.run([os.environ.get("CC", "cc"), "-o", compiled, source], check=True)
    (folder / "abi.txt").write_text(subprocess.run([*runner, compiled], check=True, stdout=subprocess.PIPE, text=True).stdout)


main()
