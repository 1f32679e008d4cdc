#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""qemu_linux_test.py BUILD-DIRECTORY: Linux in a stock QEMU, with a device of `rmio dev`.

Runs the commands of docs/qemu.md as they stand there, and in the guest edu_guest.c. At the far
end of the data path; prints KTAP itself.
"""

import glob
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.path.abspath(sys.argv[1])
GUEST = os.path.join(BUILD, 'selftests', 'qemu', 'edu_guest')
LIMIT = 150     # seconds for any one thing; it decides only that something hangs
PROMPT = '/ # '


def skip(why):
    print(f'1..0 # SKIP {why}')
    sys.exit(4)


class Wrong(Exception):
    """What a stage found; it ends there, and what it had yet to show fails."""


def blocks():
    """The commands of docs/qemu.md by the name that is before each of them."""
    with open(os.path.join(HERE, '../..', 'docs', 'qemu.md'), encoding='utf-8') as f:
        return dict(re.findall(r'<!-- run: (\S+) -->\n```sh\n(.*?)```\n', f.read(), re.S))


class Process:
    """A block of the document that runs on: what it says, and its end."""

    def __init__(self, block, env):
        # one command, which bash becomes
        self.popen = subprocess.Popen(['bash', '-euc', 'exec ' + block], env=env,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE)
        self.text = {'out': '', 'err': ''}
        self.seen = {'out': 0, 'err': 0}
        self.news = threading.Condition()
        self.threads = [threading.Thread(target=self.collect, args=(name, pipe), daemon=True)
                        for name, pipe in (('out', self.popen.stdout), ('err', self.popen.stderr))]
        for t in self.threads:
            t.start()

    def collect(self, name, pipe):
        while data := os.read(pipe.fileno(), 65536):
            with self.news:
                self.text[name] += data.decode(errors='replace').replace('\r', '')
                self.news.notify_all()
        with self.news:
            self.seen[name + ' ended'] = 0
            self.news.notify_all()

    def wait_for(self, pattern, name='out'):
        """What comes up to the pattern, from where the last one ended."""
        end = time.monotonic() + LIMIT
        with self.news:
            while True:
                begin = self.seen[name]
                m = re.compile(pattern, re.M).search(self.text[name], begin)
                if m:
                    self.seen[name] = m.end()
                    return self.text[name][begin:m.end()]
                if 'Kernel panic' in self.text['out']:
                    raise Wrong('the guest panicked')
                if name + ' ended' in self.seen:
                    raise Wrong(f'ended before it said {pattern!r}')
                if not self.news.wait(max(0, end - time.monotonic())):
                    raise Wrong(f'{LIMIT} s without {pattern!r}')

    def type(self, line):
        self.popen.stdin.write(line.encode() + b'\n')
        self.popen.stdin.flush()

    def signal(self, number):
        self.popen.send_signal(number)

    def ended(self):
        """The exit status, once there is one."""
        try:
            status = self.popen.wait(LIMIT)
        except subprocess.TimeoutExpired:
            raise Wrong(f'has not ended after {LIMIT} s') from None
        for t in self.threads:
            t.join()
        return status

    def kill(self):
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


class Rig:
    """The directory, the processes, and what has been shown so far."""

    def __init__(self, directory, kernel):
        self.dir = directory
        self.blocks = blocks()
        self.kernel = kernel
        self.env = dict(os.environ, DIR=directory, INITRD=os.path.join(directory, 'initrd'),
                        KERNEL=os.path.join(kernel, 'vmlinuz'), PATH=BUILD + ':' + os.environ['PATH'],
                        GUESTS=os.path.join(BUILD, 'selftests', 'guest'))
        self.running = []
        self.kept = []
        self.next = None
        self.results = {}

    def start(self, block):
        self.running.append(Process(self.blocks[block], self.env))
        return self.running[-1]

    def boot(self, block):
        vm = self.start(block)
        vm.wait_for(PROMPT)
        return vm

    def result(self, name, good, why=''):
        for line in str(why).splitlines() if not good else []:
            print('#', line)
        self.results[name] = good

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

    def steps(self, vm, steps, suffix=''):
        """Run steps in the guest."""
        vm.type('edu_guest ' + ' '.join(steps))
        self.take(vm.wait_for('^edu: end$'), steps, suffix)
        vm.wait_for(PROMPT)

    def monitor(self, command):
        """What QEMU's monitor answers."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(LIMIT)
            s.connect(os.path.join(self.dir, 'monitor'))
            answer = ''
            for text in '', command + '\n':
                s.sendall(text.encode())
                while not answer.endswith('(qemu) '):
                    data = s.recv(4096)
                    if not data:
                        return answer
                    answer += data.decode(errors='replace')
                if not text:
                    answer = ''
            return answer


MODULES = ['uio', 'uio_pci_generic']


def make_initrd(rig, kernel):
    """That of the document, and behind it, as Linux takes it, the program and its modules."""
    subprocess.run(['bash', '-euc', rig.blocks['initrd']], env=rig.env, check=True)
    more = os.path.join(rig.dir, 'more')
    os.makedirs(os.path.join(more, 'bin'))
    shutil.copy(GUEST, os.path.join(more, 'bin'))
    names = ['bin/edu_guest']
    for module in MODULES:
        found, = glob.glob(f'{kernel}/lib/modules/*/kernel/drivers/uio/{module}.ko')
        names.append(shutil.copy(found, more)[len(more) + 1:])
    with open(rig.env['INITRD'], 'ab') as f:
        subprocess.run(['cpio', '-o', '-H', 'newc', '-R', '0:0', '--quiet'], cwd=more,
                       input='\n'.join(names).encode(), stdout=f, check=True)


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


def end_of(rig, vm, name, stderr=''):
    """The VM ends by itself, and QEMU has said that and nothing else."""
    vm.type('poweroff -f')
    status = vm.ended()
    rig.result(name, status == 0 and re.fullmatch(stderr, vm.text['err']),
               f'exit status {status}, QEMU said:\n{vm.text["err"]}')


# -- the stages: each a VM, and what it shows --------------------------------------------------

STEPS = ['identify', 'no_capabilities', 'live', 'factorial', 'sizes', 'pin', 'dma', 'dma_refused',
         'stale_code', 'decode_off', 'move_bar', 'remove_rescan', 'no_reset', 'two_cpus', 'timing']


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

    said = rig.monitor('migrate -d "exec:cat >/dev/null"')
    rig.result('no migration', 'does not support migration' in said, said)

    rig.steps(vm, ['dirty'])
    rig.monitor('system_reset')
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
    rig.device.signal(signal.SIGTERM)
    status = rig.device.ended()
    rig.result('the device process has nothing to complain of',
               status == 0 and not rig.device.text['err'],
               f'exit status {status}, it said:\n{rig.device.text["err"]}')


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


def with_kvm(rig):
    """What runs in the VM: on its KVM interrupts come."""
    rig.device = rig.start('device')
    vm = rig.boot('kvm')
    vm.type('insmod uio.ko; insmod uio_pci_generic.ko')
    rig.steps(vm, KVM_STEPS, ', with KVM')
    end_of(rig, vm, 'QEMU ends, with KVM')


def kvm(rig):
    """This very program in the VM of ./vm, which has a KVM that runs Linux."""
    done = subprocess.run([os.path.join(HERE, '../vm', 'run'), '--timeout', '400', '--', sys.executable,
                           os.path.abspath(__file__), BUILD, rig.kernel],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    for good, name in re.findall(r'^(ok|not ok) \d+ (.*)$', done.stdout, re.M):
        rig.result(name, good == 'ok')
    if done.returncode or not all(rig.results.values()):
        for line in (done.stdout + done.stderr).splitlines():
            print('#', line)


def vmm(rig):
    """The other way round: devices of QEMU's under `rmio vmm`."""
    vm = rig.start('vmm')
    status = vm.ended()
    rig.result('devices of QEMU under rmio vmm',
               status == 0 and vm.text['out'].endswith('\nqemu: passed\n'),
               vm.text['out'] + vm.text['err'])


KVM_STEPS = ['identify', 'interrupts', 'dma']
IN_VM = [(with_kvm, [*(f'{step}, with KVM' for step in KVM_STEPS), 'QEMU ends, with KVM'])]
STAGES = [
    (linux, ['commands', *STEPS, 'no_interrupt', 'no migration', 'dirty',
             'fresh, after system_reset', 'dma, after system_reset', 'while_stopped', 'QEMU ends']),
    (bridge, ['identify, in a second QEMU', 'live, in a second QEMU', 'dma, in a second QEMU',
              'reset', 'fresh, behind a bridge', 'bus_reset, behind a bridge',
              'the second QEMU ends', 'the device process has nothing to complain of']),
    (unshared, ['no memory backend', 'share=off']),
    (parallel, ['two_cpus_locked', 'two_cpus_unlocked', 'until_gone',
                'QEMU ends without its device']),
    (kvm, IN_VM[0][1]),
    (vmm, ['devices of QEMU under rmio vmm']),
]


def run_stages(rig, stages):
    """How many failed."""
    n = failed = 0
    for stage, names in stages:
        rig.results = {}
        rig.kept = []
        if stage is vmm and not os.access('/dev/kvm', os.R_OK | os.W_OK):
            for name in names:
                n += 1
                print(f'ok {n} {name} # SKIP no /dev/kvm that may be opened; see `rmio doctor`')
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
            p.kill()
            rig.running.remove(p)
    return failed


def main():
    print('KTAP version 1')
    for tool in 'qemu-system-x86_64', 'busybox', 'cpio':
        if not shutil.which(tool):
            skip(f'{tool} is not installed; ./dev setup, as root, installs it')
    if not os.path.exists(GUEST):
        skip('there is no static C library to link the guest program with; install libc6-dev')
    version = subprocess.run(['qemu-system-x86_64', '--version'], capture_output=True, text=True,
                             check=True).stdout
    if not re.search(r'version 7\.2\.', version):
        skip('docs/qemu.md is about QEMU 7.2; install the qemu-system-x86 of Debian 12')
    # In the VM: the kernel's directory is given.
    if len(sys.argv) > 2:
        return run(sys.argv[2], IN_VM)
    for kernel in '6.12', '6.1':
        found = subprocess.run([os.path.join(HERE, '../vm', 'kernel'), kernel], stdout=subprocess.PIPE,
                               text=True, check=False)
        if found.returncode:
            skip(f"Debian's kernel {kernel} is neither in the cache nor to be had from apt's sources")
    if subprocess.run([os.path.join(HERE, '../vm', 'qemu')], stdout=subprocess.DEVNULL,
                      check=False).returncode:
        skip("no QEMU from 8.1 on for the VM: neither installed, nor cached, nor in apt's backports")
    return run(found.stdout.strip(), STAGES)


def run(kernel, stages):
    """The exit status."""
    print(f'1..{sum(len(names) for _, names in stages)}')
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(directory, kernel)
        make_initrd(rig, kernel)
        try:
            return 1 if run_stages(rig, stages) else 0
        finally:
            for p in rig.running:
                p.kill()


sys.exit(main())
