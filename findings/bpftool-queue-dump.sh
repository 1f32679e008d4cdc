#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
#
# bpftool cannot dump a queue, and says so as if it were empty.
#
# Version    bpftool 7.1.0 (Debian 12's 7.1.0+6.1.y), any kernel with BPF_MAP_TYPE_QUEUE
# Expected   two elements were pushed: `bpftool map dump` shows two, or an error says that a queue
#            cannot be dumped
# Seen       "Found 0 elements", nothing on standard error, exit status 234
# Why        the dump walks keys with BPF_MAP_GET_NEXT_KEY, which a queue has not (EINVAL, 22); the
#            negative number becomes the exit status
# Instead    `bpftool map peek` shows the head; a program that wants all of it pops
set -eu
[ "$(id -u)" = 0 ] || { echo "run as root: BPF maps are made" >&2; exit 4; }
dir=$(mktemp -d)
name=rmio_finding_$$
trap 'rm -f "/sys/fs/bpf/$name"; rm -rf "$dir"' EXIT
cd "$dir"

version=$(apt-cache madison bpftool | awk '$3 ~ /^7\.1\.0\+6\.1\./ { print $3; exit }')
[ "$version" ] || { echo "bpftool 7.1.0+6.1 is not to be had from apt's sources" >&2; exit 4; }
apt-get -q download "bpftool=$version" >/dev/null
dpkg -x bpftool_*.deb root
tool=$dir/root/usr/sbin/bpftool
"$tool" version | head -n 1

mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf
"$tool" map create "/sys/fs/bpf/$name" type queue key 0 value 8 entries 4 name finding
"$tool" map push pinned "/sys/fs/bpf/$name" value 1 0 0 0 0 0 0 0
"$tool" map push pinned "/sys/fs/bpf/$name" value 2 0 0 0 0 0 0 0

status=0
"$tool" map dump pinned "/sys/fs/bpf/$name" >out 2>err || status=$?
sed 's/^/stdout: /' out
sed 's/^/stderr: /' err
echo "exit status: $status"
grep -qx 'Found 0 elements' out && [ ! -s err ] && [ $status = 234 ] ||
	{ echo "CHANGED: this bpftool dumps a queue otherwise" >&2; exit 1; }
"$tool" map peek pinned "/sys/fs/bpf/$name" | grep -q 'value: 01' ||
	{ echo "CHANGED: the elements are not there" >&2; exit 1; }
echo "as found"
