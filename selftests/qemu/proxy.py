# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""The stages of x-pci-proxy-dev, with Debian 12's QEMU: each a VM, and what it shows."""

import os
import re
import signal
import time

from monitor import ask
from process import Wrong
from rig import BAD_SIZE, PROMPT, content, end_of

STEPS = ['identify', 'no_capabilities', 'live', 'factorial', 'sizes', 'pin', 'dma', 'dma_refused',
         'stale_code', 'decode_off', 'move_bar', 'remove_rescan', 'no_reset', 'two_cpus', 'timing']


def unshared(rig):
    """Memory that the device cannot reach, or that is not what the guest has."""
    rig.device = rig.start('device')
    qemu = rig.blocks['qemu'].replace(',memory-backend=ram0', '')
    rig.blocks['none'] = re.sub('-object.*\n', '-S \\\\\n', qemu)
    vm = rig.start('none')
    vm.wait_for('Unable to write to socket: Bad file descriptor', 'err')
    rig.result('no memory backend', True)
    vm.kill()

    rig.blocks['private'] = rig.blocks['qemu'].replace('share=on', 'share=off')
    vm = rig.boot('private')
    vm.type('edu_guest identify dma')
    text = vm.wait_for('^edu: end$')
    rig.result('share=off', re.findall('^edu: (.*ok .*)$', text, re.M) ==
               ['ok identify', 'not ok dma'], text)
    vm.kill()


def linux(rig):
    """Two CPUs that take turns."""
    rig.device = rig.start('device')
    vm = rig.boot('qemu')
    text = rig.commands(vm, 'guest')
    said = re.findall('^0x[0-9a-fA-F]+$', text, re.M)
    rig.result('commands', said == ['0x1234', '0x11e8', '0x010000ED', '0xEDCBA987'], text)
    rig.steps(vm, STEPS)
    vm.type('insmod uio.ko; insmod uio_pci_generic.ko')
    rig.steps(vm, ['no_interrupt'])

    said = ask(rig.dir, 'migrate -d "exec:cat >/dev/null"')
    rig.result('no migration', 'does not support migration' in said, said)

    rig.steps(vm, ['dirty'])
    ask(rig.dir, 'system_reset')
    vm.wait_for(PROMPT)
    rig.steps(vm, ['fresh', 'dma'], ', after system_reset')

    vm.type('edu_guest while_stopped')
    text = vm.wait_for('^edu: # go$')
    rig.device.signal(signal.SIGSTOP)
    # Long enough for what has a time limit to notice; nothing depends on it.
    time.sleep(1)
    rig.device.signal(signal.SIGCONT)
    rig.take(text + vm.wait_for('^edu: end$'), ['while_stopped'])
    # which waits for the end of this one
    rig.next = rig.start('bridge')
    rig.kept = [rig.device, rig.next]
    end_of(rig, vm, 'QEMU ends')


def bridge(rig):
    """Another QEMU on the same device process; behind a bridge."""
    if not rig.next:
        raise Wrong('the stage before it did not start its VM')
    vm = rig.next
    vm.wait_for(PROMPT)
    rig.steps(vm, ['identify', 'live', 'dma'], ', in a second QEMU')
    text = rig.commands(vm, 'reset')
    rig.result('reset', re.search('^bus$', text, re.M), text)
    rig.steps(vm, ['fresh', 'bus_reset'], ', behind a bridge')
    end_of(rig, vm, 'the second QEMU ends')
    content(rig, 'the device process has no more to say', rig.device, BAD_SIZE)


def parallel(rig):
    """Two CPUs that run at the same time; and the death of the device process."""
    rig.device = rig.start('device')
    vm = rig.boot('parallel')
    rig.steps(vm, ['two_cpus_locked', 'two_cpus_unlocked'])
    vm.type('edu_guest until_gone')
    text = vm.wait_for('^edu: # go$')
    rig.device.kill()
    rig.take(text + vm.wait_for('^edu: end$'), ['until_gone'])
    vm.wait_for(PROMPT)
    # A guest that goes on makes it say the same again and again.
    for line in sorted({re.sub('^qemu.*?: ', '', line) for line in vm.text['err'].splitlines()}):
        print('#', line)
    end_of(rig, vm, 'QEMU ends without its device', '(?s).*Unable to (read from|write to) socket.*')


def vmm(rig):
    """The other way round: devices of QEMU's under `rmio vmm`."""
    vm = rig.start('vmm')
    status = vm.ended()
    rig.result('devices of QEMU under rmio vmm',
               status == 0 and vm.text['out'].endswith('\nqemu: passed\n'),
               vm.text['out'] + vm.text['err'])


STAGES = [
    (linux, ['commands', *STEPS, 'no_interrupt', 'no migration', 'dirty',
             'fresh, after system_reset', 'dma, after system_reset', 'while_stopped', 'QEMU ends'], ['proxy']),
    (bridge, ['identify, in a second QEMU', 'live, in a second QEMU', 'dma, in a second QEMU',
              'reset', 'fresh, behind a bridge', 'bus_reset, behind a bridge',
              'the second QEMU ends', 'the device process has no more to say'], ['proxy']),
    (unshared, ['no memory backend', 'share=off'], ['proxy']),
    (parallel, ['two_cpus_locked', 'two_cpus_unlocked', 'until_gone',
                'QEMU ends without its device'], ['proxy']),
    (vmm, ['devices of QEMU under rmio vmm'], ['proxy', 'kvm']),
]
