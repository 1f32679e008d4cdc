#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""docs/inspection.md: its commands, run on a VM, print what the page shows, but for the numbers.

Beside the data path. Arguments: source directory, build directory. Needs KVM, BPF and bpftool;
the VM of the tests has them.
"""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

SOURCE, BUILD = (os.path.abspath(a) for a in sys.argv[1:3])
SOCKET = '/tmp/edu.stat'
SLOW = int(os.environ.get('RMIO_TEST_SLOWDOWN', '1'))
STATS = '/proc/sys/kernel/bpf_stats_enabled'
SKIP = 4


def samples():
    """[(command, [line of output])] of the page, in its order."""
    found = []
    with open(os.path.join(SOURCE, 'docs/inspection.md'), encoding='utf-8') as f:
        for line in f.read().splitlines():
            if line.startswith('    $ '):
                found.append((line[6:], []))
                inside = True
            elif line.startswith('    ') and found and inside:
                found[-1][1].append(line[4:])
            elif not line and found and inside and found[-1][1]:
                found[-1][1].append('')     # perhaps within the sample
            elif line:
                inside = False
    for _, lines in found:
        while lines and not lines[-1]:
            lines.pop()
    return found


# -- shapes ------------------------------------------------------------------------------------

def shape(line):
    """A line without its numbers."""
    line = re.sub(r'\btag [0-9a-f]{16}\b', 'tag N', line)
    line = re.sub(r'\d{4}-\d\d-\d\dT[\d:+-]+', 'N', line)
    line = re.sub(r'0x[0-9a-f]+', 'N', line)
    line = re.sub(r'\b\d+(?:\.\d+)?(?:ns|us|ms|s|B)?(?=\W|$)', 'N', line)
    line = re.sub(r'N(?:,N)+', 'N', line)
    # A percentile of nothing is a dash.
    line = re.sub(r'(?<=N/N )\s*(?:[N-]\s+){2}[N-]$', 'N N N', re.sub(r'\s+', ' ', line).strip())
    return line


def differs(expected, actual):
    """None, or the first line that is not as expected; '...' stands for any lines."""
    at, skip = 0, False
    for line in expected:
        if line.strip() == '...':
            skip = True
            continue
        while skip and at < len(actual) and shape(actual[at]) != shape(line):
            at += 1
        if at == len(actual):
            return f'"{line}" is missing'
        if shape(actual[at]) != shape(line):
            return f'"{actual[at]}", expected "{line}"'
        at, skip = at + 1, False
    return None if skip or at == len(actual) else f'"{actual[at]}" is not expected'


def shapes_tell_what_differs():
    same = (('    9: array  name x  flags 0x400', '10: array name x flags 0x1400'),
            ('a 12us 1048ms', 'a 524us 67ms'), ('"n": [0,0,12', '"n": [1,2,3'))
    other = (('"posted": 1,', '"stored": 1,'), ('0 load exit', '0 load memslot'))
    good = all(shape(a) == shape(b) for a, b in same) and all(shape(a) != shape(b) for a, b in other)
    good &= differs(['a', '...', 'c'], ['a', 'b', 'b', 'c']) is None
    good &= differs(['a', '...'], ['a']) is None
    good &= differs(['a', '...', 'c'], ['a', 'b']) is not None
    good &= differs(['a'], ['a', 'b']) is not None
    return good and len(samples()) > 10


# -- the run -----------------------------------------------------------------------------------

def shell(command):
    env = dict(os.environ, PATH=f'{BUILD}:{os.environ["PATH"]}:/usr/sbin:/sbin')
    done = subprocess.run(['sh', '-c', command], env=env, text=True, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.splitlines()


def on_a_terminal(command, seconds):
    """What it prints on one of 80 columns until q is pressed, without the control sequences."""
    pid, fd = pty.fork()
    if not pid:
        os.environ.update(PATH=f'{BUILD}:{os.environ["PATH"]}', TERM='xterm', COLUMNS='80', LINES='24')
        os.execvp('sh', ['sh', '-c', 'stty cols 80 rows 24; exec ' + command])
    text, end, asked = b'', time.monotonic() + seconds, False
    while time.monotonic() < end + 5:
        if not asked and time.monotonic() > end:
            os.write(fd, b'q')
            asked = True
        if select.select([fd], [], [], 0.1)[0]:
            try:
                more = os.read(fd, 65536)
            except OSError:
                break
            if not more:
                break
            text += more
    os.waitpid(pid, 0)
    return re.sub(r'\x1b\[[\d;?]*[A-Za-z]|\x1b[()][A-Z0-9]|[\x0e\x0f\x1b>=]', ' ',
                  text.decode('utf-8', 'replace'))


class Run:
    """The VM of the page, and the numbers of its program and maps for those that the page has."""

    def __init__(self):
        with open(STATS, encoding='ascii') as f:
            self.stats = f.read()
        self.dir = tempfile.mkdtemp()
        self.out = open(os.path.join(self.dir, 'out'), 'w+', encoding='utf-8')
        self.vm = None
        self.ids = {}

    def start(self, commands):
        for command in commands:
            if command.startswith('sysctl '):
                shell(command)
            elif command.startswith('rmio vmm '):
                guest = os.path.join(BUILD, 'selftests/guest/edu.bin')
                words = command.rstrip('& ').replace('$guest', guest).replace(SOCKET, self.socket())
                self.vm = subprocess.Popen([os.path.join(BUILD, 'rmio')] + words.split()[1:],
                                           stdin=subprocess.DEVNULL, stdout=self.out,
                                           stderr=subprocess.STDOUT)
        end = time.monotonic() + 60 * SLOW
        while time.monotonic() < end and self.vm.poll() is None:
            time.sleep(0.5)
            if 'BAR 0 moved' in self.said() and self.stores() > 1000:
                return True
        print(f'# the VM did not come so far: {self.said()!r}')
        return False

    def said(self):
        with open(self.out.name, encoding='utf-8') as f:
            return f.read()

    def stores(self):
        """Stores that the kernel has taken by a plan in force."""
        text = '\n'.join(shell(f'rmio stat --json {self.socket()}'))
        try:
            plan = json.loads(text)['devices'][0]['plan'] or []
        except (ValueError, KeyError, IndexError):
            return 0
        return sum(e['count'] for e in plan if e['mechanism'] == 'ioeventfd')

    def socket(self):
        return os.path.join(self.dir, 'edu.stat')

    def learn(self, expected):
        """By the names behind the commands of `rmio stat --maps`."""
        by_name = {}
        for line in shell(f'rmio stat --maps {self.socket()}'):
            m = re.match(r'bpftool (\w+) \w+ id (\d+) +# (.*)', line)
            if m:
                by_name[m.group(1, 3)] = m.group(2)
        for line in expected:
            m = re.match(r'bpftool (\w+) \w+ id (\d+) +# (.*)', line)
            if m and m.group(1, 3) in by_name:
                self.ids[m.group(1, 2)] = by_name[m.group(1, 3)]

    def real(self, command):
        command = command.replace(SOCKET, self.socket())
        m = re.match(r'bpftool (\w+) \w+ id (\d+)$', command)
        if m and m.group(1, 2) in self.ids:
            return command.replace(m.group(2), self.ids[m.group(1, 2)])
        return command

    def stop(self):
        if self.vm and self.vm.poll() is None:
            self.vm.terminate()
            self.vm.wait()
        with open(STATS, 'w', encoding='ascii') as f:
            f.write(self.stats)
        self.out.close()
        shutil.rmtree(self.dir)


def watched(run, command, expected):
    text = on_a_terminal(run.real(command), 4 * SLOW)
    missing = [w for line in expected for w in re.findall(r'[A-Za-z]\w*', line)
               if not re.fullmatch(r'us|ms', w) and w not in text and
               not (w[0] == 'v' and w[1:] in text)]     # the mark of what it is sorted by
    return f'no {missing} on the terminal' if missing else None


def json_has_the_keys_of_the_table(run):
    with open(os.path.join(SOURCE, 'docs/inspection.md'), encoding='utf-8') as f:
        rows = re.findall(r'^\| (.*?) \| (.*) \|$', f.read(), re.M)
    page = {'top': set(), 'device': {'slot', 'name', 'socket', 'rmio', 'state', 'backend'}}
    for keys, _ in rows:
        if '`schema`' in keys:
            page['top'] |= {'schema'}
            inside = True
        elif page['top'] and inside:
            names = re.findall(r'`(\w+)`', keys)
            page['device' if keys.startswith('…') else 'top'] |= set(names)
        inside = bool(page['top']) and not page['device'] & {'maps'}
    real = json.loads('\n'.join(shell(f'rmio stat --json {run.socket()}')))
    real.pop('time_ns', None)
    good = True
    for where, actual in (('top', set(real)), ('device', set(real['devices'][0]))):
        for key in sorted(actual ^ page[where]):
            print(f'# {key} is {"not in the page" if key in actual else "in the page only"} ({where})')
            good = False
    return good


def lacks():
    """Why it cannot run here, or None."""
    if os.geteuid():
        return 'not root', 'run it as root'
    if not os.access('/dev/kvm', os.W_OK):
        return 'no /dev/kvm', 'it runs in the VM of the test vm; or use a machine with KVM'
    if not os.path.exists(STATS):
        return 'no BPF statistics in this kernel', 'use the VM of the test vm'
    if not any('bpftool v' in line for line in shell('bpftool version')):
        return 'no bpftool', 'install bpftool'
    if not any('back end bpf' in l or 'loaded and attached' in l for l in shell('rmio doctor')):
        return 'no back end bpf', 'see `rmio doctor`'
    return None


def main():
    page = samples()
    asked = [(c, lines) for c, lines in page if lines]
    plan = [('shapes', shapes_tell_what_differs)]
    names = [c for c, _ in asked]
    print('KTAP version 1')
    print(f'1..{len(plan) + len(names) + 1}')
    failed = not shapes_tell_what_differs()
    print(f'{"not " if failed else ""}ok 1 - shapes tell what differs', flush=True)
    why = lacks()
    if why:
        for nr, name in enumerate(names + ['the keys of JSON'], 2):
            print(f'ok {nr} - {name} # SKIP {why[0]}; to enable: {why[1]}')
        return 1 if failed else 0
    run = Run()
    try:
        up = run.start([c for c, lines in page if not lines])
        for nr, (command, expected) in enumerate(asked, 2):
            if '--maps' in command or not run.ids:
                run.learn([line for c, lines in asked if '--maps' in c for line in lines])
            if not up:
                wrong = 'no VM'
            elif '--watch' in command:
                wrong = watched(run, command, expected)
            else:
                actual = shell(run.real(command))
                wrong = differs(expected, [line.rstrip() for line in actual])
                for line in actual if wrong else []:
                    print(f'# | {line}')
            if wrong:
                print(f'# {wrong}')
                failed = True
            print(f'{"not " if wrong else ""}ok {nr} - {command}', flush=True)
        good = up and json_has_the_keys_of_the_table(run)
        failed |= not good
        print(f'{"" if good else "not "}ok {len(names) + 2} - the keys of JSON')
    finally:
        run.stop()
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
