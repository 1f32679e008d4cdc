# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""The stages with KVM, in the VM of ../vm, which has one that runs Linux: interrupts do not pass QEMU."""

import os
import re
import shlex
import subprocess
import sys

from rig import HERE, content, end_of

STEPS = ['identify', 'interrupts', 'dma']
VFIO_USER_STEPS = ['identify', 'interrupts', 'dma']


def with_kvm(rig):
    """In the VM: x-pci-proxy-dev."""
    rig.device = rig.start('device')
    vm = rig.boot('kvm')
    vm.type('insmod uio.ko; insmod uio_pci_generic.ko')
    rig.steps(vm, STEPS, ', with KVM')
    end_of(rig, vm, 'QEMU ends, with KVM')


def vfio_user_with_kvm(rig):
    """In the VM: vfio-user-pci, by the document's command but for the accelerator."""
    rig.blocks['vfio-user-kvm'] = rig.blocks['vfio-user'].replace('-accel tcg -smp 2',
                                                                  '-accel kvm -cpu host')
    device = rig.start('device')
    device.wait_for('^rmio dev: ready')
    vm = rig.boot('vfio-user-kvm', rig.current)
    vm.type('insmod uio.ko; insmod uio_pci_generic.ko')
    rig.steps(vm, VFIO_USER_STEPS, ', vfio-user with KVM')
    end_of(rig, vm, 'vfio-user: QEMU ends, with KVM')
    content(rig, 'vfio-user: the device process has nothing to say, with KVM', device)


def in_vm(rig, stage, *options):
    """This very program, for that stage, in the VM."""
    done = subprocess.run([os.path.join(HERE, '../vm', 'run'), '--timeout', '400', '--', sys.executable,
                           os.path.join(HERE, 'qemu_linux_test.py'), '--kernel', rig.kernel, *options,
                           rig.build, stage],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    for good, name in re.findall(r'^(ok|not ok) \d+ (.*)$', done.stdout, re.M):
        rig.result(name, good == 'ok')
    if done.returncode or not all(rig.results.values()):
        for line in (done.stdout + done.stderr).splitlines():
            print('#', line)


def kvm(rig):
    in_vm(rig, 'with_kvm')


def vfio_user_kvm(rig):
    in_vm(rig, 'vfio_user_with_kvm', '--qemu', shlex.join(rig.command))


NAMES = [*(f'{step}, with KVM' for step in STEPS), 'QEMU ends, with KVM']
VFIO_USER_NAMES = [*(f'{step}, vfio-user with KVM' for step in VFIO_USER_STEPS),
                   'vfio-user: QEMU ends, with KVM',
                   'vfio-user: the device process has nothing to say, with KVM']
IN_VM = [(with_kvm, NAMES, ['proxy']), (vfio_user_with_kvm, VFIO_USER_NAMES, ['current'])]
STAGES = [(vfio_user_kvm, VFIO_USER_NAMES, ['current', 'vm']), (kvm, NAMES, ['proxy', 'vm'])]
