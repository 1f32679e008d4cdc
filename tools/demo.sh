#!/bin/bash
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
#
# demo.sh BUILD-DIR: a guest on KVM finds, drives and outlives a device in another process.
set -u
build=$1

if ! [ -w /dev/kvm ]; then
	echo "No access to /dev/kvm: the guest's part of the demo is left out."
	echo "To see it, run this on a machine with KVM, as root or as a member of group kvm."
	exit 0
fi

cat <<'END'

A guest with two vCPUs drives an edu device that lives in another process.  Each line that begins
with "edu:" comes from the guest's own console.  At the end the device process is killed by SIGKILL.

END
"$build/rmio" vmm --vcpus 2 --spawn edu --allow-kill \
	--guest "$build/selftests/guest/edu.bin" --guest-arg 1 --deadline 60000 --json "$build/demo.json"
status=$?
if [ $status != 0 ]; then
	echo "The guest ended with status $status: the demo has failed."
	exit 1
fi
cat <<END

The guest went on without its device and ended by itself.  What passed through the lanes is in
$build/demo.json.  Next: what an access costs on this machine, beside the other ways to do it.

END
