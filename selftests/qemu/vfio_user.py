# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""The stages of vfio-user-pci, with a QEMU that has it: each a VM, and what it shows.

No stage gives QEMU anything that docs/qemu.md says it ends at.
"""

import os
import re

from monitor import Qmp
from process import Wrong
from rig import BAD_SIZE, PROMPT, content, end_of

FULL = os.environ.get('RMIO_TEST_LEVEL') == 'full'
REBOOTS = 20 if FULL else 1
PLUGS = 50 if FULL else 2
FOUR_GIB = 1 << 32

PLUGGED = '0000:01:00.0'
STEPS = ['identify', 'live', 'factorial', 'sizes', 'pin', 'dma', 'dma_refused', 'decode_off', 'move_bar',
         'remove_rescan', 'no_reset', 'two_cpus']


def start_device(rig, block):
    """The process of a block that serves sockets, when it does: that QEMU tries once."""
    device = rig.start(block)
    device.wait_for('^rmio dev: ready: .*\n(?!rmio)')
    return device


def qmp(rig, block):
    """The lines of a block, one after the other."""
    for line in rig.blocks[block].splitlines():
        rig.qmp.line(line.replace('$DIR', rig.dir))


def in_guest(vm, condition):
    """Until the guest's shell finds that true."""
    vm.type(f'until {condition}; do sleep 0.1; done; echo "it i"s')
    vm.wait_for('^it is$')
    vm.wait_for(PROMPT)


def vfio_user(rig):
    """One device, and the ways that it and the machine are reset."""
    rig.device = start_device(rig, 'device')
    vm = rig.boot('vfio-user', rig.current)
    rig.qmp = Qmp(os.path.join(rig.dir, 'qmp'))
    text = rig.commands(vm, 'vfio-user-guest')
    said = re.findall('^0x[0-9a-fA-F]+$', text, re.M)
    rig.result('vfio-user: commands', said == ['0x1234', '0x11e8', '0x010000ED', '0xEDCBA987'], text)
    rig.steps(vm, STEPS, ', vfio-user')
    rig.steps(vm, ['msi'], ', vfio-user')
    vm.type('insmod uio.ko; insmod uio_pci_generic.ko')
    rig.steps(vm, ['interrupts'], ', vfio-user')

    rig.steps(vm, ['dirty'], ', vfio-user')
    rig.qmp.do('system_reset')
    vm.wait_for(PROMPT)
    rig.steps(vm, ['fresh', 'dma'], ', vfio-user after system_reset')
    for _ in range(REBOOTS):
        rig.steps(vm, ['dirty'], ', vfio-user')
        vm.type('reboot -f')
        vm.wait_for(PROMPT)
        rig.steps(vm, ['fresh', 'dma', 'msi'], ', vfio-user after each reboot')
    rig.vm = vm
    rig.kept = [rig.device, vm]


def plug(rig):
    """A second device comes and goes in the same VM, and so does its process."""
    vm = rig.vm
    device = start_device(rig, 'plugged')
    for _ in range(PLUGS):
        qmp(rig, 'plug')
        in_guest(vm, f'[ -e /sys/bus/pci/devices/{PLUGGED}/resource0 ]')
        rig.steps(vm, ['identify', 'live', 'dma'], ', plugged', PLUGGED)
        qmp(rig, 'unplug')
        rig.qmp.wait_for('DEVICE_DELETED', device='edu1')
        in_guest(vm, f'[ ! -e /sys/bus/pci/devices/{PLUGGED} ]')
    rig.result('unplugged', True)
    content(rig, 'the process of what was plugged has nothing to complain of', device)

    device = start_device(rig, 'plugged')
    qmp(rig, 'plug')
    in_guest(vm, f'[ -e /sys/bus/pci/devices/{PLUGGED}/resource0 ]')
    rig.steps(vm, ['identify', 'fresh', 'bus_reset', 'msi'], ', of a new process', PLUGGED)
    rig.steps(vm, ['several', 'msi'], ', beside it')
    rig.qmp.close()
    end_of(rig, vm, 'vfio-user: QEMU ends')
    content(rig, 'vfio-user: the device process has no more to say', rig.device, BAD_SIZE)


def page_of(text, node):
    """Where the guest had its page of that node."""
    found = re.findall(rf'page of node {node} at (0x[0-9a-f]+)', text)
    if not found:
        raise Wrong(f'the guest names no page of node {node}')
    return int(found[-1], 16)


def nodes(rig):
    """Three devices, two nodes, memory on both sides of 4 GiB, and a DIMM."""
    device = start_device(rig, 'several')
    vm = rig.boot('nodes', rig.current)
    rig.qmp = Qmp(os.path.join(rig.dir, 'qmp'))
    rig.steps(vm, ['several'], ', nodes')
    text = rig.steps(vm, ['dma_nodes'])
    rig.result('below and above 4 GiB', page_of(text, 0) < FOUR_GIB <= page_of(text, 1), text)

    vm.type('echo online_movable >/sys/devices/system/memory/auto_online_blocks')
    qmp(rig, 'dimm')
    dimm, = rig.qmp.do('query-memory-devices')
    base, size = dimm['data']['addr'], dimm['data']['size']
    # Linux takes pages from where they can be moved first.
    in_guest(vm, 'grep -A 1 Movable /proc/zoneinfo | grep -q "free *[1-9]"')
    text = rig.steps(vm, ['dma_nodes'], ', with a DIMM')
    rig.result('in the DIMM', base <= page_of(text, 1) < base + size, f'DIMM at {base:#x}\n{text}')
    rig.qmp.close()
    end_of(rig, vm, 'nodes: QEMU ends')
    content(rig, 'nodes: the device process has nothing to complain of', device)


def named(suffix, *steps):
    return [step + suffix for step in steps]


STAGES = [
    (vfio_user, ['vfio-user: commands',
                 *named(', vfio-user', *STEPS, 'interrupts', 'msi', 'dirty'),
                 *named(', vfio-user after system_reset', 'fresh', 'dma'),
                 *named(', vfio-user after each reboot', 'fresh', 'dma', 'msi')], ['current']),
    (plug, [*named(', plugged', 'identify', 'live', 'dma'), 'unplugged',
            'the process of what was plugged has nothing to complain of',
            *named(', of a new process', 'identify', 'fresh', 'bus_reset', 'msi'),
            *named(', beside it', 'several', 'msi'), 'vfio-user: QEMU ends',
            'vfio-user: the device process has no more to say'], ['current']),
    (nodes, ['several, nodes', 'dma_nodes', 'below and above 4 GiB', 'dma_nodes, with a DIMM',
             'in the DIMM', 'nodes: QEMU ends', 'nodes: the device process has nothing to complain of'],
     ['current']),
]
