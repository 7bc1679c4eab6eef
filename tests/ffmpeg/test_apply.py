"""Tests of ffmpeg-filter/apply, on every FFmpeg source that tools/ffmpeg.sh has fetched."""

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FILTER = "libavfilter/vf_wfvae.c"
EDITED = ["configure", "libavfilter/Makefile", "libavfilter/allfilters.c", "doc/filters.texi", "Changelog"]
NEEDED = [*EDITED, "libavfilter/version_major.h", "RELEASE"]
# What apply holds on to, each in one place.
ANCHORS = [
    ("configure", r"^  --enable-libwebp .*\n"),
    ("configure", r"^    libwebp\n"),
    ("configure", r"^xfade_opencl_filter_deps=.*\n"),
    ("configure", r"^enabled libx264 .*\n"),
    ("libavfilter/Makefile", r"^OBJS-\$\(CONFIG_XBR_FILTER\).*\n"),
    ("libavfilter/allfilters.c", r"^extern const \w+ ff_vf_xbr;\n"),
    ("doc/filters.texi", r"^@section xbr\n"),
    ("Changelog", r"^version .*\n"),
]


def blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def snapshot(tree):
    """Hashes, modes and times of all files."""
    return {
        path.relative_to(tree).as_posix(): (blob(path.read_bytes()), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in sorted(tree.rglob("*"))
        if path.is_file()
    }


def contents(tree):
    return {name: value[:2] for name, value in snapshot(tree).items()}


def edit(path, pattern, replacement, count=0):
    text = path.read_text(errors="surrogateescape")
    new, found = re.subn(pattern, replacement, text, count=count, flags=re.M)
    assert found, f"{path} has no {pattern}"
    path.write_text(new, errors="surrogateescape")


class Tree(unittest.TestCase):
    archive = None

    @classmethod
    def setUpClass(cls):
        cls.pristine = pathlib.Path(tempfile.mkdtemp())
        with tarfile.open(cls.archive) as archive:
            for member in archive:
                name = member.name.partition("/")[2]
                if name in NEEDED and member.isfile():
                    path = cls.pristine / name
                    path.parent.mkdir(exist_ok=True)
                    path.write_bytes(archive.extractfile(member).read())
                    path.chmod(member.mode)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.pristine)

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.tree = pathlib.Path(folder.name) / "tree"
        self.script = pathlib.Path(folder.name) / "ffmpeg-filter"
        shutil.copytree(self.pristine, self.tree)
        shutil.copytree(ROOT / "ffmpeg-filter", self.script)

    def apply(self, *arguments):
        command = [sys.executable, self.script / "apply", *arguments, self.tree]
        result = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def refused(self, needle):
        before = snapshot(self.tree)
        result = subprocess.run([sys.executable, self.script / "apply", self.tree], capture_output=True, text=True)
        self.assertEqual(result.returncode, 1)
        self.assertIn(needle, result.stderr)
        self.assertIn("nothing was changed", result.stderr)
        self.assertNotIn("Traceback", result.stderr)
        self.assertEqual(snapshot(self.tree), before)

    def test_twice_and_back(self):
        before = contents(self.tree)
        self.apply()
        once = snapshot(self.tree)
        self.assertEqual({name for name in once if once[name][:2] != before.get(name)}, {*EDITED, FILTER})
        self.assertIn("nothing to do", self.apply())
        self.assertEqual(snapshot(self.tree), once)
        self.apply("--undo")
        self.assertEqual(contents(self.tree), before)

    def test_only_adds_lines(self):
        self.apply()
        counts = {"configure": 4, "libavfilter/Makefile": 1, "libavfilter/allfilters.c": 1, "Changelog": 1}
        for name in EDITED:
            old, new = (path.joinpath(name).read_bytes().splitlines() for path in (self.pristine, self.tree))
            added = [line for line in new if b"wfvae" in line]
            if name in counts:
                self.assertEqual(len(added), counts[name], name)
                self.assertTrue([line for line in new if line not in added] == old, name)
        text = self.tree.joinpath("doc/filters.texi").read_text(errors="surrogateescape")
        sections = re.findall(r"^@section (\w+)", text, re.M)
        at = sections.index("wfvae")
        self.assertEqual(sections[at - 1 : at + 2], ["weave", "wfvae", "xbr"])

    def test_newer_filter(self):
        self.apply()
        before = contents(self.tree)
        with open(self.script / "vf_wfvae.c", "a") as file:
            file.write("/* newer */\n")
        edit(self.script / "filters.texi", r"^@table @option\n", "Newer text.\n\n@table @option\n", count=1)
        self.apply()
        after = contents(self.tree)
        self.assertEqual({name for name in after if after[name] != before[name]}, {FILTER, "doc/filters.texi"})
        self.assertTrue(self.tree.joinpath(FILTER).read_bytes().endswith(b"/* newer */\n"))
        self.assertEqual(self.tree.joinpath("doc/filters.texi").read_bytes().count(b"@section wfvae\n"), 1)

    def test_missing_anchor(self):
        for name, pattern in ANCHORS:
            with self.subTest(name=name, anchor=pattern):
                shutil.copy2(self.pristine / name, self.tree / name)
                edit(self.tree / name, pattern, "")
                self.refused(name)
                shutil.copy2(self.pristine / name, self.tree / name)

    def test_ambiguous_anchor(self):
        # The first version's heading is the one that counts, so there may be several.
        for name, pattern in ANCHORS[:1] + ANCHORS[2:-1]:
            with self.subTest(name=name, anchor=pattern):
                edit(self.tree / name, f"({pattern[1:]})", r"\1\1")
                self.refused(name)
                shutil.copy2(self.pristine / name, self.tree / name)

    def test_damaged_after_apply(self):
        self.apply()
        edit(self.tree / "libavfilter/Makefile", ANCHORS[4][1], "")
        with open(self.script / "vf_wfvae.c", "a") as file:
            file.write("/* newer */\n")
        self.refused("libavfilter/Makefile")

    def test_failed_write(self):
        # The last file cannot be written.
        os.mkdir(self.tree / (FILTER + ".wfvae"))
        self.refused("vf_wfvae.c.wfvae")

    def test_not_ffmpeg(self):
        for name in [*EDITED, "libavfilter/version_major.h"]:
            with self.subTest(missing=name):
                os.rename(self.tree / name, self.tree / "elsewhere")
                self.refused("not the source of FFmpeg")
                os.rename(self.tree / "elsewhere", self.tree / name)
        edit(self.tree / "libavfilter/version_major.h", r"(LIBAVFILTER_VERSION_MAJOR +)\d+$", r"\g<1>7")
        self.refused("not FFmpeg 5.1 or newer")

    def test_git_tree(self):
        # Between releases there is a list for the next one.
        edit(self.tree / "Changelog", r"\A((?:(?!version ).*\n)*)", "\\1version <next>:\n- another filter\n\n\n", count=1)
        self.apply()
        text = self.tree.joinpath("Changelog").read_text(errors="surrogateescape")
        self.assertIn("version <next>:\n- another filter\n- wfvae video filter\n\n\nversion ", text)

    def test_patch(self):
        """The patch that is kept is what apply does to its tree; to others it must at least hold this filter."""
        text = (ROOT / "ffmpeg-filter/patches/0001-avfilter-add-wfvae-filter.patch").read_text()
        hashes = re.findall(r"^diff --git a/(\S+) b/\S+\n(?:.* mode .*\n)?index (\w+)\.\.(\w+)", text, re.M)
        self.assertEqual({name for name, _, _ in hashes}, {*EDITED, FILTER})
        self.apply()
        own = [(name, old) for name, old, _ in hashes if name != FILTER]
        same = all(blob((self.pristine / name).read_bytes()).startswith(old) for name, old in own)
        for name, _, new in hashes:
            if same or name == FILTER:
                self.assertTrue(blob(self.tree.joinpath(name).read_bytes()).startswith(new), f"{name}: run make-patch")


def load_tests(loader, tests, pattern):
    """One class for each source."""
    suite = unittest.TestSuite()
    for src in sorted(ROOT.glob("target/ffmpeg/*/src")):
        for archive in src.parent.glob("*.orig.tar.*"):
            suite.addTests(loader.loadTestsFromTestCase(type(f"Tree_{archive.name}", (Tree,), {"archive": archive})))
    return suite


if __name__ == "__main__":
    if not list(ROOT.glob("target/ffmpeg/*/*.orig.tar.*")):
        print("test_apply.py: skipped: no FFmpeg source under target/ffmpeg; tools/ffmpeg.sh fetches it")
        sys.exit(77)
    unittest.main()
