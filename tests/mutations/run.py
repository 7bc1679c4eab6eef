#!/usr/bin/env python3
"""Breaks the library in the ways of list.txt, one at a time, and tells which test notices.

A copy of the tree is built once, with all of them in it; WFVAE_MUTATION=N switches the N-th on. So each costs only the time of the tests.
The unit tests of its module run first, then the shortest program, and none after one that failed. With names or numbers as arguments:
only the mutations whose file or text holds them, or that have these numbers."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
TREE = ROOT / "target/mutations/tree"
HANGS = "it does not end"
SWITCH = '''
/// The mutation that is switched on. Asked everywhere, so it neither allocates nor locks.
pub(crate) fn mutated(number: i32) -> bool {
    static ON: std::sync::atomic::AtomicI32 = std::sync::atomic::AtomicI32::new(-1);
    let on = match ON.load(std::sync::atomic::Ordering::Relaxed) {
        -1 => {
            // SAFETY: nothing changes the environment here.
            let text = unsafe { libc::getenv(c"WFVAE_MUTATION".as_ptr()) };
            // SAFETY: a string, if it is there.
            let on = if text.is_null() { 0 } else { unsafe { libc::atoi(text) } };
            ON.store(on, std::sync::atomic::Ordering::Relaxed);
            on
        }
        on => on,
    };
    on == number
}
'''
# They look at the sources, or need a whole machine for themselves.
LEFT_OUT = {"checksums", "cuda", "cuda_stub", "documented_limits", "header", "layering", "scaling"}


class Mutation:
    def __init__(self, number, paragraph):
        head, rest = paragraph.split("\n", 1)
        self.number = number
        self.file, self.what = head.split(": ", 1)
        old, self.new = re.fullmatch(r"- (.*?)\n\+ ?(.*)", rest, re.DOTALL).groups()
        self.before, self.old, self.after = re.fullmatch(r"(.*)<<(.*)>>(.*)", old, re.DOTALL).groups() if "<<" in old else ("", old, "")

    def apply(self, source):
        plain = self.before + self.old + self.after
        if source.count(plain) != 1:
            sys.exit(f"{self.file}: {source.count(plain)} times, expected once:\n{plain}")
        switched = f"if crate::mutated({self.number}) {{ {self.new} }} else {{ {self.old} }}"
        if not self.old.endswith(";"):
            switched = f"({switched})"
        return source.replace(plain, self.before + switched + self.after)


def mutations():
    text = (pathlib.Path(__file__).parent / "list.txt").read_text()
    paragraphs = [p.strip("\n") for p in re.split(r"\n\n", text) if p.strip() and not p.startswith("#")]
    return [Mutation(i, paragraph) for i, paragraph in enumerate(paragraphs, 1)]


def copy_tree(all_mutations):
    TREE.mkdir(parents=True, exist_ok=True)
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    files = {name: (ROOT / name).read_bytes() for name in names if name and (ROOT / name).is_file()}
    for mutation in all_mutations:
        files[mutation.file] = mutation.apply(files[mutation.file].decode()).encode()
    # The compiler would warn of parentheses.
    files["src/lib.rs"] = b"#![allow(warnings)]\n" + files["src/lib.rs"] + SWITCH.encode()
    for name, content in files.items():
        path = TREE / name
        # Only what differs, so that cargo compiles no more than it must.
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod((ROOT / name).stat().st_mode)
    (TREE / "target").mkdir(exist_ok=True)
    for name in ("onnxruntime", "onnxruntime.txt", "venv"):
        if (ROOT / "target" / name).exists() and not (TREE / "target" / name).exists():
            (TREE / "target" / name).symlink_to(ROOT / "target" / name)


def build():
    def run(*command):
        subprocess.run(command, cwd=TREE, check=True, stdout=subprocess.DEVNULL)

    features = subprocess.run(["tools/features.sh"], cwd=TREE, check=True, capture_output=True, text=True).stdout.split()
    run("make", "-s", "all", "c-tests", "target/demo/box-320x240.y4m")
    names = sorted(path.stem for path in (TREE / "tests").glob("*.rs") if path.stem not in LEFT_OUT)
    integration = [option for name in names for option in ("--test", name)]
    flags = [option for flag in ("overflow-checks", "debug-assertions") for option in ("--config", f"profile.release.package.wfvae.{flag}=true")]
    programs = []
    for options in ([*flags, "--lib"], integration):
        built = subprocess.run(["cargo", "test", "--release", "--no-run", *features, *options], cwd=TREE, check=True, capture_output=True, text=True)
        programs += re.findall(r"Executable (?:unittests )?(\S+) \((\S+)\)", built.stderr)
    return programs


def tests(programs):
    """Name and command of each."""
    for source, program in programs:
        yield source, [str(TREE / program)]
    c = "target/release/c"
    for source in sorted((TREE / "tests/c").glob("test_*.c")):
        name = source.stem
        if name in ("test_telemetry", "test_y4m_header", "test_y4m_round_trip", "test_y4m_colour", "test_y4m_broken", "test_png"):
            continue
        golden = name.startswith("test_errors") or name in ("test_info", "test_messages", "test_other_threads", "test_alpha", "test_options", "test_bfloat16")
        yield name, [f"{c}/{name}", *(["tests/golden"] if golden else [])]
    yield "check_programs.py", ["python3", "tests/check_programs.py", c]
    yield "check_latents.py", ["target/venv/bin/python", "tests/check_latents.py", c, "target/release/libwfvae.so"]
    yield "python-fork", ["python3", "tests/check_fork.py", "target/release/libwfvae.so"]
    yield "batch", ["python3", "tests/batch/check.py", "target/release"]


def fails(command, number, log, limit):
    """Whether the program fails, or does not end within so many seconds."""
    environment = dict(os.environ, WFVAE_MUTATION=str(number), CARGO_MANIFEST_DIR=str(TREE), WFVAE_PROPERTY_SEED="1",
                       WFVAE_ONNXRUNTIME=str(ROOT / "target/onnxruntime/libonnxruntime.so.1"))
    with open(log, "w") as output:
        process = subprocess.Popen(command, cwd=TREE, env=environment, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            status = HANGS
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    return status


def first_failure(log):
    text = pathlib.Path(log).read_text(errors="replace")
    # A panic comes last, as tests that pass may panic on purpose.
    patterns = r"^---- (\S+) stdout|^test (\S+) \.\.\. FAILED", r"^(?:FAILED|failed):? (.*)|^(.*(?:not ok|FAILED|expected).*)", r"panicked at (\S+)"
    found = next((match for pattern in patterns if (match := re.search(pattern, text, re.MULTILINE))), None)
    return next((group for group in found.groups() if group), "").strip()[:100] if found else ""


def main():
    every = mutations()
    asked = sys.argv[1:]
    chosen = [m for m in every if not asked or any(a == str(m.number) or (not a.isdigit() and a in f"{m.file}: {m.what}") for a in asked)]
    copy_tree(every)
    all_tests = list(tests(build()))
    log = ROOT / "target/mutations/log"
    print(f"{len(every)} mutations, {len(all_tests)} programs; without a mutation:", flush=True)
    seconds = {}
    for name, command in all_tests:
        start = time.time()
        if status := fails(command, 0, log, 1800):
            sys.exit(f"{name} fails ({status}) without a mutation: {log}")
        seconds[name] = time.time() - start
        print(f"  {name}: {seconds[name]:.0f} s", flush=True)
    all_tests.sort(key=lambda test: seconds[test[0]])
    unit_tests = next(command for name, command in all_tests if name == "src/lib.rs")
    alive = []
    for mutation in chosen:
        start = time.time()
        # A mutation may make a program wait for ever.
        limits = {name: 60 + 10 * seconds[name] for name, _ in all_tests}
        # "src/kernels/conv/pack.rs" and "src/finite.rs" lie in the modules "kernels" and "finite".
        module = pathlib.PurePath(mutation.file).parts[1].removesuffix(".rs")
        own = [("src/lib.rs", [*unit_tests, f"{module}::"])]
        by = next(((name, status) for name, command in own + all_tests if (status := fails(command, mutation.number, log, limits[name]))), None)
        found = "NO TEST" if not by else f"{by[0]}: {HANGS if by[1] == HANGS else first_failure(log) or by[1]}"
        print(f"{mutation.number:3} {mutation.file}: {mutation.what}: {found} ({time.time() - start:.0f} s)", flush=True)
        if not by:
            alive.append(mutation)
    print(f"mutations: {len(chosen) - len(alive)} caught, {len(alive)} alive: {', '.join(str(m.number) for m in alive) or 'none'}")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
