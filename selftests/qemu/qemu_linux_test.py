#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""Linux in a QEMU, with a device of `rmio dev`.

Runs the commands of docs/qemu.md as they stand there, and in the guest edu_guest.c: with a QEMU
that has vfio-user-pci, and with Debian 12's own. At the far end of the data path; prints KTAP itself.
"""

import argparse
import fnmatch
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
import kvm
import proxy
import vfio_user
from rig import HERE, Rig, make_initrd, run_stages


def skip(why):
    print(f'1..0 # SKIP {why}')
    sys.exit(4)


def found(*command):
    """What a program of ../vm prints; None if it fails."""
    done = subprocess.run([os.path.join(HERE, '../vm', command[0]), *command[1:]], text=True,
                          stdout=subprocess.PIPE, check=False)
    return None if done.returncode else done.stdout.strip()


def use_qemu(rig, command):
    """Have the document's qemu-system-x86_64 be this command in an environment of its own."""
    directory = os.path.join(rig.dir, 'current')
    os.mkdir(directory)
    program = os.path.join(directory, 'qemu-system-x86_64')
    path = rig.env['PATH']
    with open(program, 'w', encoding='utf-8') as f:
        # an installed one is found where it always is
        f.write(f'#!/bin/sh\nPATH={shlex.quote(path)} exec {shlex.join(command)} "$@"\n')
    os.chmod(program, 0o755)
    rig.command = command
    rig.current = dict(rig.env, PATH=directory + ':' + path)


def prepare(rig, needs, qemu):
    """What not every stage needs: made ready, or the reason put down why it cannot be had."""
    version = ''
    if shutil.which('qemu-system-x86_64'):
        version = subprocess.run(['qemu-system-x86_64', '--version'], capture_output=True, text=True,
                                 check=True).stdout
    if not re.search(r'version 7\.2\.', version):
        rig.lacks['proxy'] = 'this is about QEMU 7.2; install the qemu-system-x86 of Debian 12'
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        rig.lacks['kvm'] = 'no /dev/kvm that may be opened; see `rmio doctor`'
    if 'vm' in needs and not found('kernel', '6.12'):
        rig.lacks['vm'] = "Debian's kernel 6.12 is neither in the cache nor to be had from apt's backports"
    elif 'vm' in needs and not found('qemu'):
        rig.lacks['vm'] = "no QEMU from 8.1 on: neither installed, nor cached, nor in apt's backports"
    current = shlex.split(qemu or '')
    if 'current' in needs and not current:
        current = (found('qemu_current') or '').splitlines()
    if current:
        use_qemu(rig, current)
    else:
        rig.lacks['current'] = ('no QEMU with vfio-user-pci: neither installed, nor cached, nor in a '
                                "newer suite of apt's mirror of Debian; install QEMU 10.1 or newer")


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument('--kernel', metavar='DIR', help='run in the VM of ../vm, with the kernel there')
    ap.add_argument('--qemu', metavar='COMMAND', help='the QEMU that has vfio-user-pci')
    ap.add_argument('build', metavar='BUILD-DIRECTORY')
    ap.add_argument('stages', metavar='STAGE', nargs='*', help='a glob; all unless told')
    args = ap.parse_args()
    build = os.path.abspath(args.build)
    guest = os.path.join(build, 'selftests', 'qemu', 'edu_guest')
    stages = kvm.IN_VM if args.kernel else vfio_user.STAGES + proxy.STAGES + kvm.STAGES
    stages = [s for s in stages if not args.stages or
              any(fnmatch.fnmatch(s[0].__name__, glob) for glob in args.stages)]

    print('KTAP version 1')
    for tool in 'busybox', 'cpio':
        if not shutil.which(tool):
            skip(f'{tool} is not installed; ./dev setup, as root, installs it')
    if not os.path.exists(guest):
        skip('there is no static C library to link the guest program with; install libc6-dev')
    kernel = args.kernel or found('kernel', '6.1')
    if not kernel:
        skip("Debian's kernel 6.1 is neither in the cache nor to be had from apt's sources")

    print(f'1..{sum(len(names) for _, names, _ in stages)}', flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as directory:
        rig = Rig(directory, build, kernel)
        make_initrd(rig, guest)
        prepare(rig, {need for stage in stages for need in stage[2]}, args.qemu)
        try:
            return 1 if run_stages(rig, stages) else 0
        finally:
            for p in rig.running:
                p.kill()


sys.exit(main())
