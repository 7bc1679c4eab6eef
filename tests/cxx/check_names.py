#!/usr/bin/env python3
"""Checks that include/wfvae.hpp has a way to every function, enumerator and option of include/wfvae.h, defines no macro but
its guard, and no name outside its namespace, and works beside the macros of headers that embedders include before it."""

import pathlib
import re
import sys

# What the C++ types replace: every struct's size, the error text that exceptions carry, the callback and its argument.
REPLACED = {"struct_size", "error_text", "error_size", "log_callback", "log_user", "reserved"}
# Results that are the C structs themselves.
SAME = {"wfvae_model_info", "wfvae_info", "wfvae_memory", "wfvae_progress", "wfvae_frame"}
# Macros of Xlib, of Unreal and old macOS headers, of Windows, of Qt and of glibc, in the spelling of a C++ name.
MACROS = set(
    "Status Bool Screen check verify require ensure min max interface small near far slots signals emit foreach forever"
    " major minor unix linux None Success True False Always".split()
)


def code(path):
    text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    return re.sub(r"//.*", "", text)


def main():
    include = pathlib.Path(__file__).resolve().parent.parent.parent / "include"
    c, cxx = code(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else include / "wfvae.h"), code(include / "wfvae.hpp")
    words = set(re.findall(r"\w+", cxx))
    functions = re.findall(r"\b(wfvae_\w+)\(", c)
    enumerators = re.findall(r"\b(WFVAE_\w+) =", c)
    problems = [f"{name} is not used" for name in functions + enumerators if name not in words]
    fields = 0
    for body, name in re.findall(r"typedef struct \w+ \{(.*?)\} (\w+);", c, re.DOTALL):
        if name in SAME:
            continue
        for field in re.findall(r"(\w+)(?:\[\d+\])?;", body):
            fields += 1
            if field not in words | REPLACED:
                problems.append(f"{name}.{field} is not used")
    problems += [f"{name} is a macro elsewhere" for name in words & MACROS]
    macros = set(re.findall(r"# *define +(\w+)", cxx)) - {"WFVAE_HPP"}
    problems += [f"the macro {name} leaks" for name in macros]
    problems += ["it has a using directive"] if re.search(r"using\s+namespace", cxx) else []
    outside = re.sub(r"namespace wfvae \{.*\} *\n*#endif", "", cxx, flags=re.DOTALL)
    outside = [line for line in outside.splitlines() if line.strip() and not line.startswith("#")]
    problems += [f"outside the namespace: {line}" for line in outside]
    if len(functions) < 40 or len(enumerators) < 60 or fields < 30:
        problems.append(f"only {len(functions)} functions, {len(enumerators)} enumerators and {fields} fields were found")
    for problem in problems:
        print(f"include/wfvae.hpp: {problem}")
    print(f"names: {len(functions)} functions, {len(enumerators)} enumerators, {fields} fields, {len(problems)} problems")
    return len(problems) > 0


sys.exit(main())
