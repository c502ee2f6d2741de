#!/bin/sh
# Unpack Debian's headless Chromium into .tools, without root, with every library and font of it that this machine lacks: the
# tests of `bitting report` open its pages in it. About 100 MB to fetch, 300 MB unpacked. Playwright's own downloads do not
# come through everywhere; Debian's mirrors do, and apt checks their signatures.
set -eu
cd "$(dirname "$0")/.."
target=$(pwd)/.tools/chromium
if [ -x "$target/run" ]; then
    exit 0
fi
elsewhere="on another system, write a program $target/run that starts a Chromium with the arguments it is given"
if ! command -v apt-get >/dev/null 2>&1 || ! command -v dpkg >/dev/null 2>&1; then
    echo "no apt-get to fetch Chromium with (the tests need a browser); $elsewhere" >&2
    exit 1
fi
mkdir -p "$(dirname "$target")"
work=$(mktemp -d "$(dirname "$target")/.chromium.XXXXXX")
trap 'rm -rf "$work"' EXIT
# A fresh machine may have no package lists yet; a user's own copy needs no root.
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial" "$work/whole/root"
options="-o Dir::State::Lists=$work/apt/lists -o Dir::Cache=$work/apt -o Debug::NoLocking=1 -o APT::Sandbox::User="
packages="chromium-headless-shell chromium-common fonts-dejavu-core"
# Reinstalled, if need be: what is installed lies elsewhere, but for libraries, which are found where they are.
# shellcheck disable=SC2086 # the options and packages are separate words
if ! { apt-get $options -qq update && apt-get $options -qq -y --no-install-recommends --download-only install --reinstall \
    $packages >"$work/apt/log"; }; then
    echo "apt-get does not bring chromium-headless-shell (Debian has it); $elsewhere" >&2
    exit 1
fi
for package in "$work"/apt/archives/*.deb; do
    dpkg -x "$package" "$work/whole/root"
done
cat >"$work/whole/run" <<'RUN'
#!/bin/sh
# Starts the Chromium beside it, with the libraries and fonts beside it. Made by scripts/get_chromium.sh.
here=$(dirname "$(readlink -f "$0")")
libraries=$(find "$here/root" -path '*-linux-gnu*' -name '*.so*' -exec dirname {} + | sort -u | tr '\n' ':')
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:-}"
export FONTCONFIG_FILE="$here/fonts.conf"
exec "$here/root/usr/lib/chromium/chromium-headless-shell" "$@"
RUN
cat >"$work/whole/fonts.conf" <<FONTS
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "urn:fontconfig:fonts.dtd">
<fontconfig>
  <dir>$target/root/usr/share/fonts</dir>
  <cachedir>$target/fonts-cache</cachedir>
</fontconfig>
FONTS
chmod +x "$work/whole/run"
mv "$work/whole" "$target"
echo "Chromium is in $target"
