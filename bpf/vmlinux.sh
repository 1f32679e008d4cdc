#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# Writes vmlinux.h anew: the kernel types that bpf/ uses, from this kernel's BTF.
# usage: bpf/vmlinux.sh [BTF-FILE] >vmlinux.h
set -eu
export LC_ALL=C

btf=${1:-/sys/kernel/btf/vmlinux}
typedefs="__kernel_pid_t pid_t __s8 __u8 __s16 __u16 __s32 __u32 __s64 __u64 __le16 __be16 __le32 __be32 __wsum u64 time64_t"
values="BPF_MAP_TYPE_HASH BPF_MAP_TYPE_ARRAY BPF_MAP_TYPE_ARRAY_OF_MAPS BPF_MAP_TYPE_RINGBUF BPF_MAP_TYPE_TASK_STORAGE
	BPF_ANY BPF_LOCAL_STORAGE_GET_F_CREATE BPF_F_NO_PREALLOC BPF_F_MMAPABLE BPF_F_INNER_MAP BPF_RB_NO_WAKEUP BPF_RB_FORCE_WAKEUP"
# struct:member,...
structs="task_struct:pid,tgid,start_boottime,group_leader timespec64:tv_sec"

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
echo
echo '#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)'
# Members of the same name and type only: where they lie is found when it is loaded.
for s in $structs; do
	name=${s%%:*}
	grep -q "^struct $name {" "$dump" || missing "struct $name"
	echo
	echo "struct $name {"
	for m in $(echo "${s#*:}" | tr , ' '); do
		sed -n "/^struct $name {/,/^};/p" "$dump" | grep -m1 -E "[ *]$m;" || missing "$name.$m"
	done
	echo "};"
done
echo
echo '#pragma clang attribute pop'
echo
echo "#endif"
