# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
#
# To source: KVM's sources in $source, and how the device of this directory gets into them.
kern=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")

# What we need of Linux: of the source package, below its one directory.
# shellcheck disable=SC2034
kvm_files=('*/virt/kvm' '*/arch/x86/kvm' '*/include/linux/kvm_host.h' '*/include/uapi/linux/kvm.h'
	'*/MAINTAINERS' '*/tools/testing/selftests/kvm/Makefile')

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
	patch -s --no-backup-if-mismatch -p1 -d "$2" <"$kern/hooks/$1.patch" ||
		die "kern/hooks/$1.patch does not apply to KVM of $linux"
}

# sources DIRECTORY: KVM's with ours
sources() {
	local file

	cp -r "$source/." "$1"
	for file in "$kern"/hooks/*.patch; do
		add_hook "$(basename "$file" .patch)" "$1"
	done
	(cd "$kern" && find virt include Documentation tools -type f) | while read -r file; do
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

# outside DIRECTORY OPTION...: KVM there becomes a module outside of the kernel's tree: ours come first, KVM
# is where it is, and these options are set whatever the kernel's configuration says.
outside() {
	local option flags= set=

	for option in "${@:2}"; do
		flags="$flags -DCONFIG_$option=1"
		set="${set}CONFIG_$option := y\\
"
	done
	sed -i -e 's|^ccflags-y += -I $(srctree)/arch/x86/kvm|'"$set"'\
LINUXINCLUDE := -I$(src)/../../../include -I$(src)/../../../include/uapi $(LINUXINCLUDE)\
ccflags-y += -I $(src)'"$flags|" \
		-e 's|^include $(srctree)/virt/kvm|include $(src)/../../../virt/kvm|' \
		"$1/arch/x86/kvm/Makefile"
}

# module DIRECTORY: the sources with ours as such a module
module() {
	local from

	from=$(mktemp -d)
	sources "$from"
	outside "$from" KVM_USER_DEV KVM_USER_BPF
	place "$from" "$1"
	rm -r "$from"
}

# device_key FILE...: names what is in this directory, and in those files
device_key() {
	(cd "$kern" && cat hooks/* virt/kvm/* include/rmio/abi.h tree.sh "$@" | sha256sum | cut -c 1-16)
}
