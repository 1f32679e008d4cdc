# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""What all stages share: the directory, the processes, the initramfs, the results so far."""

import glob
import os
import re
import shutil
import signal
import subprocess

from process import Process, Wrong

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPT = '/ # '
MODULES = ['uio', 'uio_pci_generic']
# What a device says of the step `sizes`, once.
BAD_SIZE = r'rmio dev: edu on .*: access to range 0, offset 0x0, 1 bytes: not a size .*\n'


def blocks():
    """The commands of docs/qemu.md by the name that is before each of them."""
    with open(os.path.join(HERE, '../..', 'docs', 'qemu.md'), encoding='utf-8') as f:
        return dict(re.findall(r'<!-- run: (\S+) -->\n```\w+\n(.*?)```\n', f.read(), re.S))


class Rig:
    """The directory, the processes, and what has been shown so far."""

    def __init__(self, directory, build, kernel):
        self.dir = directory
        self.build = build
        self.kernel = kernel
        self.blocks = blocks()
        self.env = dict(os.environ, DIR=directory, INITRD=os.path.join(directory, 'initrd'),
                        KERNEL=os.path.join(kernel, 'vmlinuz'), PATH=build + ':' + os.environ['PATH'],
                        GUESTS=os.path.join(build, 'selftests', 'guest'))
        self.command = None     # of a QEMU that has vfio-user-pci
        self.current = None     # the environment with it
        self.lacks = {}         # what cannot be had, and why
        self.running = []
        self.kept = []
        self.next = None
        self.results = {}

    def start(self, block, env=None):
        self.running.append(Process(self.blocks[block], env or self.env))
        return self.running[-1]

    def end(self, process):
        process.kill()
        self.running.remove(process)

    def boot(self, block, env=None):
        vm = self.start(block, env)
        vm.wait_for(PROMPT)
        return vm

    def result(self, name, good, why=''):
        for line in str(why).splitlines() if not good else []:
            print('#', line)
        # Of a step that is repeated, each time counts.
        self.results[name] = bool(good) and self.results.get(name, True)

    def notes(self, text):
        for line in re.findall(r'^edu: # (.*)$', text, re.M):
            print('#', line)

    def take(self, text, steps, suffix=''):
        """The results of steps from what the guest said."""
        self.notes(text)
        said = re.findall(r'^edu: (ok|not ok) (\w+)$', text, re.M)
        for step in steps:
            self.result(step + suffix, said.count(('ok', step)) == 1 and
                        said.count(('not ok', step)) == 0, f'{step}: the guest said {said}')

    def commands(self, vm, block):
        """What the guest's shell says to commands of the document."""
        for line in self.blocks[block].splitlines():
            vm.type(line)
        # The line is echoed as it is typed.
        vm.type('echo "commands: e"nd')
        return vm.wait_for('^commands: end$')

    def steps(self, vm, steps, suffix='', where=''):
        """Run steps in the guest, on the function at that place if it is given."""
        vm.type(f'edu_guest {where} {" ".join(steps)}')
        text = vm.wait_for('^edu: end$')
        self.take(text, steps, suffix)
        vm.wait_for(PROMPT)
        return text


def make_initrd(rig, guest):
    """That of the document, and behind it, as Linux takes it, the program and its modules."""
    subprocess.run(['bash', '-euc', rig.blocks['initrd']], env=rig.env, check=True)
    more = os.path.join(rig.dir, 'more')
    os.makedirs(os.path.join(more, 'bin'))
    shutil.copy(guest, os.path.join(more, 'bin'))
    names = ['bin/edu_guest']
    for module in MODULES:
        found, = glob.glob(f'{rig.kernel}/lib/modules/*/kernel/drivers/uio/{module}.ko')
        names.append(shutil.copy(found, more)[len(more) + 1:])
    with open(rig.env['INITRD'], 'ab') as f:
        subprocess.run(['cpio', '-o', '-H', 'newc', '-R', '0:0', '--quiet'], cwd=more,
                       input='\n'.join(names).encode(), stdout=f, check=True)


def end_of(rig, vm, name, stderr=''):
    """The VM ends by itself, and QEMU has said that and nothing else."""
    vm.type('poweroff -f')
    status = vm.ended()
    rig.result(name, status == 0 and re.fullmatch(stderr, vm.text['err']),
               f'exit status {status}, QEMU said:\n{vm.text["err"]}')


def content(rig, name, device, stderr=''):
    """The process ends when told to, and has said that and nothing else."""
    device.signal(signal.SIGTERM)
    status = device.ended()
    rig.result(name, status == 0 and re.fullmatch(stderr, device.text['err']),
               f'exit status {status}, it said:\n{device.text["err"]}')


def run_stages(rig, stages):
    """How many failed."""
    n = failed = 0
    for stage, names, needs in stages:
        rig.results = {}
        rig.kept = []
        why = next((rig.lacks[need] for need in needs if need in rig.lacks), None)
        if why:
            for name in names:
                n += 1
                print(f'ok {n} {name} # SKIP {why}')
            continue
        try:
            stage(rig)
        except (Wrong, OSError) as e:
            print(f'# {stage.__name__}: {e}')
            for p in rig.running:
                for name, text in p.text.items():
                    for line in text.splitlines()[-30:]:
                        print(f'# {name}: {line}')
        for name in names:
            n += 1
            good = rig.results.get(name, False)
            failed += not good
            print(f'{"ok" if good else "not ok"} {n} {name}', flush=True)
        # What is for the next stage lives on.
        for p in [p for p in rig.running if p not in rig.kept]:
            rig.end(p)
    return failed
