#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Writes vmlinux.h anew: the kernel types that bpf/ uses, from this kernel's BTF.
# usage: bpf/vmlinux.sh [BTF-FILE] >vmlinux.h
set -eu
export LC_ALL=C

btf=${1:-/sys/kernel/btf/vmlinux}
typedefs="__s8 __u8 __s16 __u16 __s32 __u32 __s64 __u64 __le16 __be16 __le32 __be32 __wsum"
values="BPF_MAP_TYPE_HASH BPF_MAP_TYPE_ARRAY BPF_MAP_TYPE_ARRAY_OF_MAPS BPF_MAP_TYPE_TASK_STORAGE
	BPF_ANY BPF_F_NO_PREALLOC BPF_F_MMAPABLE BPF_F_INNER_MAP"
structs="task_struct"

dump=$(mktemp)
trap 'rm -f "$dump"' EXIT
bpftool btf dump file "$btf" format c >"$dump"

missing() {
	echo "vmlinux.sh: no $1 in $btf" >&2
	exit 1
}

cat <<'END'
/* SPDX-License-Identifier: GPL-2.0-only */
/* Made by bpf/vmlinux.sh from the kernel's BTF: only what bpf/ uses. */
#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef NULL
#define NULL ((void *)0)
#endif

END
for t in $typedefs; do
	line=$(grep -m1 -E "^typedef .*[ *]$t;" "$dump") || missing "$t"
	echo "$line"
done
echo "typedef _Bool bool;"
echo
echo "enum {"
echo "	false = 0,"
echo "	true = 1,"
echo "};"
echo
echo "enum {"
for f in $values; do
	line=$(grep -m1 -E "^	$f = [0-9]+," "$dump") || missing "$f"
	echo "$line"
done
echo "};"
for s in $structs; do
	grep -q "^struct $s {" "$dump" || missing "struct $s"
	echo
	echo "struct $s;"
done
echo
echo "#endif"
