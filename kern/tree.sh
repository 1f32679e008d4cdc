# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# For ./build and the VM's debug kernel to source, after selftests/vm/apt.sh: KVM's sources of the kernel
# 6.12 that the VM runs, with the device of this directory in them.
kern=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
image=$("$kern/../selftests/vm/kernel" 6.12)
linux=$(cat "$image/release")
source=$cache/kvm-source-$linux

# version: of the packages that this kernel came from
version() {
	apt_run apt-cache policy "linux-image-$linux" | awk '$1 == "Candidate:" { print $2 }'
}

# unpack_source DIRECTORY [PATTERN...]: Linux, or those parts of it, from the source package
unpack_source() {
	local tar patterns=()

	apt_update
	unpack "linux-source-6.12=$(version)" "$new.root"
	tar=$(echo "$new.root"/usr/src/linux-source-*.tar.xz)
	[ $# = 1 ] || patterns=(--wildcards "${@:2}")
	echo "kern: unpacking the sources of $linux" >&2
	tar -xf "$tar" -C "$1" --strip-components=1 "${patterns[@]}"
	rm -r "$new.root"
}

fetch_source() {
	unpack_source "$new" \
		'*/virt/kvm' '*/arch/x86/kvm' '*/include/linux/kvm_host.h' '*/include/uapi/linux/kvm.h' \
		'*/MAINTAINERS' '*/scripts/checkpatch.pl' \
		'*/scripts/spelling.txt' '*/scripts/const_structs.checkpatch'
}

# add_file FILE DIRECTORY: one of ours to its place in Linux
add_file() {
	local to=$1

	case $1 in
	virt/kvm/user_wait.h) to=include/linux/kvm_user_wait.h ;;
	include/rmio/*) to=include/uapi/${1#include/} ;;
	esac
	mkdir -p "$2/$(dirname "$to")"
	cp "$kern/$1" "$2/$to"
}

# add_hook NAME DIRECTORY: what we change in files that are there
add_hook() {
	patch -s -p1 -d "$2" <"$kern/hooks/$1.patch" || die "kern/hooks/$1.patch does not apply to $linux"
}

# sources DIRECTORY: KVM's with ours
sources() {
	local file

	once "$source" fetch_source
	cp -r "$source/." "$1"
	for file in "$kern"/hooks/*.patch; do
		add_hook "$(basename "$file" .patch)" "$1"
	done
	(cd "$kern" && find virt include Documentation -type f) | while read -r file; do
		add_file "$file" "$1"
	done
}

# place FROM TO: the files of one directory into another; one that has not changed keeps its time
place() {
	local file

	(cd "$1" && find . -type f) | while read -r file; do
		cmp -s "$1/$file" "$2/$file" && continue
		mkdir -p "$(dirname "$2/$file")"
		cp "$1/$file" "$2/$file"
	done
}

# device_key FILE...: names what is in this directory, and in those files
device_key() {
	(cd "$kern" && cat hooks/* virt/kvm/* include/rmio/abi.h tree.sh "$@" | sha256sum | cut -c 1-16)
}
