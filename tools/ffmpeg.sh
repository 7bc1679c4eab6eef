#!/bin/sh
# Builds FFmpeg with the wfvae filter under target/ffmpeg: tools/ffmpeg.sh [SUITE]
# SUITE says which Debian or Ubuntu release the source is from: bookworm has FFmpeg 5.1, trixie 7.1, sid the newest. The
# machine's own release is the default, and is linked as target/ffmpeg/ffmpeg and ffprobe. The source comes from the machine's
# package sources, and from there come the headers with which FFmpeg loads NVIDIA's driver where it runs; without them it is built
# without CUDA. FFMPEG_ASAN=1 builds with ASan, and UBSan in the filter, in a folder of its own.
# Exits with 77 where it cannot be built: no apt-get, missing packages, or a path that FFmpeg cannot take.
set -eu
cd "$(dirname "$0")/.."
unset MAKEFLAGS MFLAGS # our make's flags are not for FFmpeg's make
root=$PWD/target/ffmpeg
own=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2> /dev/null | tr -d '"')
suite=${1:-$own}
folder=$root/$suite
src=$folder/src
headers=$folder/libffmpeg-nvenc-dev
prefix=$root/prefix

die() {
    echo "ffmpeg.sh: $*" >&2
    exit 1
}

skip() {
    echo "ffmpeg.sh: skipped: $*" >&2
    exit 77
}

have() {
    command -v "$1" > /dev/null 2>&1
}

# Writes the machine's package sources, changed to the suite and with its source packages, to folder $1.
write_sources() {
    python3 - "$suite" "$own" "$1" << 'END'
import glob, re, sys
suite, own, folder = sys.argv[1:]
known = {own, "oldstable", "stable", "testing", "unstable", "sid"}

def renamed(suites):
    """bookworm bookworm-updates: trixie trixie-updates. Third parties' suites have other names."""
    parts = [word.partition("-") for word in suites.split()]
    return [suite + dash + part for base, dash, part in parts if base in known and part in ("", "updates", "security")
            and not (part and suite in ("sid", "unstable"))]

lines, stanzas = [], []
for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
    try:
        text = open(path).read()
    except FileNotFoundError:
        continue
    for options, uri, name, components in re.findall(r"^\s*deb\s+(\[.*?\]\s+)?(\S+)\s+(\S+)\s+(.*)", text, re.M):
        if "main" in components.split():
            lines += [f"{kind} {options}{uri} {word} {components}" for word in renamed(name) for kind in ("deb", "deb-src")]
for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
    text = re.sub(r"^#.*\n", "", open(path).read() + "\n", flags=re.M)
    for stanza in re.split(r"\n\s*\n", text):
        fields = {name.lower(): value for name, value in re.findall(r"^([\w-]+):((?:.*\n?)(?:[ \t].*\n?)*)", stanza, re.M)}
        suites = renamed(fields.get("suites", ""))
        if (suites and "deb" in fields.get("types", "").split() and "main" in fields.get("components", "").split()
                and fields.get("enabled", "yes").strip() not in ("no", "false", "0")):
            fields.update(types=" deb deb-src", suites=" " + " ".join(suites))
            stanzas.append("\n".join(f"{name}:{value.rstrip()}" for name, value in fields.items()))
if not lines and not stanzas:
    sys.exit(1)
open(folder + "/ffmpeg.list", "w").write("\n".join(lines) + "\n")
open(folder + "/ffmpeg.sources", "w").write("\n\n".join(stanzas) + "\n")
END
}

# With lists of our own, so that the machine's stay as they are.
own_apt() {
    apt-get -qq -o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$folder/apt/parts" \
        -o Dir::State::Lists="$folder/apt/lists" -o Dir::Cache="$folder/apt/cache" -o APT::Sandbox::User=root \
        -o APT::Update::Error-Mode=any -o Acquire::AllowInsecureRepositories=false -o APT::Get::AllowUnauthenticated=false "$@"
}

# Reads the suite's index.
read_index() {
    [ ! -e "$folder/apt/ready" ] || return 0
    have apt-get || skip "no apt-get: FFmpeg's source is fetched from Debian or Ubuntu"
    [ -n "$suite" ] || skip "/etc/os-release names no release: say which, as in tools/ffmpeg.sh bookworm"
    rm -rf "$folder/apt"
    mkdir -p "$folder/apt/parts" "$folder/apt/lists/partial" "$folder/apt/cache/archives/partial"
    write_sources "$folder/apt/parts" || skip "no package source of Debian or Ubuntu in /etc/apt"
    own_apt update || die "cannot read the index of $suite"
    touch "$folder/apt/ready"
}

# Fetches the source that the suite's index names, checked with the machine's keys, to $src.
fetch_source() {
    read_index
    rm -rf "$folder/src.new"
    mkdir "$folder/src.new"
    (cd "$folder/apt" && own_apt source --only-source --download-only --tar-only ffmpeg) ||
        die "cannot fetch FFmpeg's source of $suite"
    rm -f "$folder"/*.orig.tar.*
    mv "$folder"/apt/*.orig.tar.* "$folder/"
    tar xf "$folder"/*.orig.tar.* -C "$folder/src.new" --strip-components=1
    mv "$folder/src.new" "$src"
}

# The same for the headers, to $headers. They are of the suite, because FFmpeg's version says how new they must be.
fetch_headers() {
    read_index
    (cd "$folder/apt" && own_apt download libffmpeg-nvenc-dev) || die "cannot fetch libffmpeg-nvenc-dev of $suite"
    rm -rf "$headers.new"
    dpkg-deb -x "$folder"/apt/libffmpeg-nvenc-dev_*.deb "$headers.new" || die "cannot unpack libffmpeg-nvenc-dev"
    sed -i "s|^prefix=.*|prefix=$headers/usr|" "$headers.new/usr/share/pkgconfig/ffnvcodec.pc" || die "no ffnvcodec.pc"
    mv "$headers.new" "$headers"
}

# FFmpeg's configure splits words at spaces, and its make accepts only these letters.
case $root in
*[!A-Za-z0-9/._+@%=-]*) skip "FFmpeg cannot be built in a folder with such a name: $root" ;;
esac

# Packages that the build needs are installed if possible.
missing=
have python3 || missing="$missing python3"
have xz || missing="$missing xz-utils"
have make || missing="$missing make"
have pkg-config || missing="$missing pkg-config"
have "${CC:-cc}" || missing="$missing gcc libc6-dev"
echo '#include <zlib.h>' | ${CC:-cc} -E - > /dev/null 2>&1 || missing="$missing zlib1g-dev"
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    tools/apt-install.sh $missing || skip "these packages are missing, and cannot be installed here:$missing"
fi

# One at a time: runs for several suites share the installed library.
mkdir -p "$root"
if have flock; then
    exec 9> "$root/lock"
    flock 9
fi

rm -rf "$folder/apt"
[ -d "$src" ] || fetch_source
cuda=
if [ -d "$headers" ] || (fetch_headers); then
    cuda=$headers/usr/share/pkgconfig
else
    echo "ffmpeg.sh: no NVIDIA headers: this ffmpeg takes no frames in a CUDA device's memory" >&2
fi
rm -rf "$folder/apt"
ffmpeg-filter/apply "$src"

make -s library
# Installs only what changed: a newer header makes FFmpeg build again.
if ! cmp -s target/release/libwfvae.so "$prefix/lib/libwfvae.so" || ! cmp -s include/wfvae.h "$prefix/include/wfvae.h"; then
    make -s install PREFIX="$prefix" DESTDIR= LIBDIR=lib ONNXRUNTIME=0
fi
ln -sf ../../../onnxruntime/libonnxruntime.so.1 "$prefix/lib/libonnxruntime.so.1"

# Only what tests and examples use, so that it builds in a minute.
set -- --disable-everything --disable-autodetect --disable-doc --disable-network --disable-debug --disable-ffplay \
    --disable-x86asm --disable-inline-asm --enable-zlib --enable-libwfvae \
    --enable-protocol=file,pipe --enable-indev=lavfi \
    --enable-demuxer=mov,matroska,nut,avi,yuv4mpegpipe,rawvideo,image2,image2pipe,image_png_pipe,concat,h264 \
    --enable-muxer=mov,mp4,matroska,nut,avi,yuv4mpegpipe,rawvideo,image2,image2pipe,framecrc,framemd5,md5,null \
    --enable-decoder=h264,ffv1,rawvideo,png,wrapped_avframe,pcm_s16le \
    --enable-encoder=ffv1,rawvideo,png,wrapped_avframe,pcm_s16le \
    --enable-parser=h264,png --enable-bsf=h264_mp4toannexb \
    --enable-filter=wfvae,scale,format,null,psnr,ssim,crop,pad,hstack,vstack,split,concat,trim,tpad,loop,fps,setpts,settb \
    --enable-filter=setsar,setparams,setfield,select,showinfo,metadata,drawbox,addroi,aresample \
    --enable-filter=testsrc,testsrc2,life,mandelbrot,color,nullsrc,nullsink,sine,hwupload,hwdownload \
    --extra-ldflags="-Wl,-rpath,$prefix/lib"
[ -z "$cuda" ] || set -- "$@" --enable-ffnvcodec --enable-nvdec --enable-nvenc --enable-hwaccel=h264_nvdec \
    --enable-encoder=h264_nvenc,hevc_nvenc --enable-filter=hwupload_cuda
if [ "${FFMPEG_ASAN:-0}" = 1 ]; then
    build=$folder/build-asan
    set -- "$@" --disable-stripping --optflags=-O0 --extra-cflags="-g1 -fsanitize=address -fno-omit-frame-pointer" \
        --extra-ldflags=-fsanitize=address,undefined
else
    build=$folder/build
    # Optimised is only what works on each pixel, and our filter: the rest is compiled in half the time.
    set -- "$@" --optflags=-O0
fi

# Configures again when anything changed that configure reads.
mkdir -p "$build"
cd "$build"
{
    echo "$src" "${CC:-cc}" "$@"
    cat "$prefix/lib/pkgconfig/wfvae.pc"
    cksum "$src/configure" "$src/libavfilter/allfilters.c"
} > configured.new
if ! cmp -s configured.new configured; then
    rm -f configured
    PKG_CONFIG_PATH=$prefix/lib/pkgconfig:$cuda "$src/configure" --cc="${CC:-cc}" "$@" > configure.log 2>&1 || {
        tail -n 20 configure.log ffbuild/config.log >&2
        die "configure failed; all of it is in $build/configure.log and ffbuild/config.log"
    }
    # UBSan for our filter only: elsewhere it doubles the time and reports FFmpeg's own errors.
    [ "$build" = "$folder/build" ] || echo 'libavfilter/vf_wfvae.o: CFLAGS += -fsanitize=undefined -fno-sanitize-recover' \
        >> ffbuild/config.mak
    [ "$build" != "$folder/build" ] || echo 'libswscale/%.o libavcodec/ffv1%.o libavfilter/vf_wfvae.o: CFLAGS += -O1' \
        >> ffbuild/config.mak
    mv configured.new configured
fi
make -s -j"$(nproc)" ffmpeg ffprobe > make.log 2>&1 || {
    grep -E -A 5 'error|undefined reference|No rule' make.log >&2 || tail -n 40 make.log >&2
    die "make failed; all of it is in $build/make.log"
}
# FFmpeg has many warnings of its own; only ours are shown.
grep -E -A 3 'vf_wfvae\.c.*warning' make.log >&2 || true

if [ "$suite" = "$own" ] && [ "$build" = "$folder/build" ]; then
    ln -sfn "$suite/build/ffmpeg" "$root/ffmpeg"
    ln -sfn "$suite/build/ffprobe" "$root/ffprobe"
    build=$root
fi
echo "FFmpeg $(cat "$src/RELEASE"): ${build#"${root%/target/ffmpeg}"/}/ffmpeg"
