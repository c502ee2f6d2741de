#!/bin/sh
# Unpack Debian's (or Ubuntu's) Icarus Verilog into .tools, without root: the second simulator that the tests need.
set -eu
cd "$(dirname "$0")/.."
if command -v iverilog >/dev/null 2>&1 || [ -x .tools/usr/bin/iverilog ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg >/dev/null 2>&1; then
    echo "iverilog not found, and no apt-get to fetch it: install Icarus Verilog (the tests need a second simulator)" >&2
    exit 1
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
target=$(pwd)/.tools
# A fresh machine may have no package lists yet; a user's own copy needs no root.
mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
options="-o Dir::State::Lists=$work/lists -o Dir::Cache=$work/cache -o Debug::NoLocking=1 -o APT::Sandbox::User="
# shellcheck disable=SC2086 # the options are separate words
apt-get $options -qq update
# shellcheck disable=SC2086
(cd "$work" && apt-get $options -qq download iverilog)
mkdir -p "$target"
dpkg -x "$work"/iverilog_*.deb "$target"
echo "Icarus Verilog is in $target"
