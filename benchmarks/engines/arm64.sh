#!/usr/bin/env bash
# Runs Python for Arm64 on this machine: benchmarks/engines/arm64.sh FOLDER ARGUMENTS…
# FOLDER gets qemu-user and a root of Debian's arm64 packages and Arm wheels, the first time; nothing is installed outside
# it. Needs Debian or Ubuntu (apt-get, dpkg), python3 with pip, and the network, the first time.
set -euo pipefail
repository=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1" && folder=$(cd "$1" && pwd) && shift
root=$folder/root

prepare() {
    rm -rf "$root" "$folder/apt" "$folder/debs"
    mkdir -p "$folder"/apt/{lists,cache}/partial "$folder/apt/cache/archives/partial" "$folder/debs" "$root/proc" "$root/site"
    # apt of its own: another architecture, other lists, nothing taken for installed.
    echo "deb [arch=arm64] ${DEBIAN_MIRROR:-http://deb.debian.org/debian} bookworm main" > "$folder/apt/sources"
    cat > "$folder/apt/conf" <<-CONF
		APT { Architecture "arm64"; Architectures { "arm64"; }; Sandbox::User ""; };
		Dir { Etc { sourcelist "$folder/apt/sources"; sourceparts "-"; }; Cache "$folder/apt/cache"; };
		Dir::State { lists "$folder/apt/lists"; status "/dev/null"; };
	CONF
    (
        export APT_CONFIG=$folder/apt/conf
        cd "$folder/debs"
        apt-get update -qq
        apt-get download -qq libc6 libgcc-s1 libstdc++6 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib \
            zlib1g libexpat1 libssl3 libffi8 libbz2-1.0 liblzma5 libcrypt1
    )
    for package in "$folder"/debs/*.deb; do dpkg -x "$package" "$root"; done
    (cd "$folder" && apt-get download -qq qemu-user-static && dpkg -x qemu-user-static_*.deb qemu)
    python3 -m pip download --quiet --no-deps --only-binary :all: --python-version 3.11 --implementation cp \
        --abi cp311 --abi abi3 --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 --dest "$folder/wheels" \
        --constraint "$repository/constraints.txt" onnxruntime numpy tokenizers
    for wheel in "$folder"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$root/site"; done
    # onnxruntime chooses its kernels by this, and qemu shows the host's otherwise. A Cortex-A76, as -cpu says below:
    # -cpu max claims SME, whose int8 path gave wrong numbers under qemu.
    for core in 0 1; do
        printf 'processor\t: %d\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\n' "$core" \
            "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
        printf 'CPU variant\t: 0x1\nCPU part\t: 0xd0b\nCPU revision\t: 0\n\n'
    done > "$root/proc/cpuinfo"
    touch "$folder/ready"
}

test -f "$folder/ready" || prepare
cd "$repository"
PYTHONPATH=$root/site:$repository:$repository/runtimes/python exec \
    "$folder/qemu/usr/bin/qemu-aarch64-static" -cpu cortex-a76 -L "$root" "$root/usr/bin/python3.11" "$@"
