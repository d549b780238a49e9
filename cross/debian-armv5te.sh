#!/bin/sh
# Builds edge-agent for armv5te with nothing but Debian 12's packages and the host's cargo.
#
#   cross/debian-armv5te.sh            builds target/armv5te-unknown-linux-gnueabi/release/edge-agent
#   cross/debian-armv5te.sh --run …    builds it and runs it under qemu-arm as an ARM926 would
#
# Needs root once, for three packages: the cross compiler, its C library, qemu. Debian's own rustc
# is unpacked under target/cross, not installed: rustup's toolchains hold no such target, and the
# standard library is built from Debian's source.
set -eu
cd "$(dirname "$0")/.."

target=armv5te-unknown-linux-gnueabi
kit=$PWD/target/cross
rust="rustc-web libstd-rust-web-dev libstd-rust-web-1.96 rust-web-src libllvm22"

if ! command -v arm-linux-gnueabi-gcc qemu-arm-static >/dev/null; then
    apt-get update -q
    apt-get install -q -y --no-install-recommends \
        gcc-arm-linux-gnueabi libc6-dev-armel-cross qemu-user-static
fi
if [ ! -x "$kit/sysroot/usr/bin/rustc" ]; then
    mkdir -p "$kit/debs" "$kit/sysroot"
    # shellcheck disable=SC2086 # a list of packages
    (cd "$kit/debs" && apt-get download $rust)
    for package in "$kit"/debs/*.deb; do
        dpkg -x "$package" "$kit/sysroot"
    done
fi

export LD_LIBRARY_PATH="$kit/sysroot/usr/lib/x86_64-linux-gnu"
export RUSTC="$kit/sysroot/usr/bin/rustc" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$kit/build"
export CARGO_TARGET_ARMV5TE_UNKNOWN_LINUX_GNUEABI_LINKER=arm-linux-gnueabi-gcc
export CC_armv5te_unknown_linux_gnueabi=arm-linux-gnueabi-gcc
export AR_armv5te_unknown_linux_gnueabi=arm-linux-gnueabi-ar
cargo build --locked --release --target "$target" -Z build-std=std,panic_abort --bin edge-agent

mkdir -p "target/$target/release"
cp "$kit/build/$target/release/edge-agent" "target/$target/release/edge-agent"
if [ "${1:-}" = --run ]; then
    shift
    exec qemu-arm-static -cpu arm926 -L /usr/arm-linux-gnueabi \
        "target/$target/release/edge-agent" "$@"
fi
