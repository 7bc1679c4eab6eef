#!/bin/sh
# Prints what makes cargo build all that this machine can: `--features batch` where FFmpeg's libraries are, from 5.0 on. With
# `--release` and these, the library, its dependencies and the tests are compiled once, whoever calls cargo.
libraries='libavformat >= 59 libavcodec libavfilter libavutil'
# shellcheck disable=SC2086
! pkg-config --exists $libraries 2> /dev/null || echo --features batch
