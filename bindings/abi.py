"""Asks the C compiler for the sizes, offsets and values of wfvae.h, for the tests of C# and Node: abi.py HEADER FOLDER.

Writes FOLDER/abi.txt with lines "struct NAME SIZE", "field STRUCT NAME OFFSET SIZE", "value NAME VALUE" and
"function NAME".
"""

# SPDX-License-Identifier: MIT OR Apache-2.0

import os
import re
import subprocess
import sys
from pathlib import Path


def main():
    header, folder = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    text = re.sub(r"//[^\n]*|/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    lines = []
    for body, name in re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", text, re.DOTALL):
        lines.append(f'printf("struct {name} %zu\\n", sizeof({name}));')
        for field in re.findall(r"(\w+)(?:\[\d+\])?;", body):
            value = f"(({name} *)0)->{field}"
            lines.append(f'printf("field {name} {field} %zu %zu\\n", offsetof({name}, {field}), sizeof {value});')
    for body, name in re.findall(r"typedef enum \w+ \{(.*?)\} (\w+);", text, re.DOTALL):
        for value in re.findall(r"(\w+) = ", body):
            lines.append(f'printf("value {value} %d\\n", (int){value});')
    for name in re.findall(r"\b(wfvae_\w+)\(", text):
        if name != "wfvae_log_callback":
            lines.append(f'printf("function {name}\\n");')
    source = folder / "abi.c"
    program = f'#include "{header}"\n#include <stdio.h>\nint main(void)\n{{\n' + "\n".join(lines) + "\nreturn 0;\n}\n"
    source.write_text(program)
    subprocess.run([os.environ.get("CC", "cc"), "-o", folder / "abi", source], check=True)
    (folder / "abi.txt").write_bytes(subprocess.run([folder / "abi"], check=True, capture_output=True).stdout)


main()
