#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""That the test runner calls a failure a failure, and that ./dev says what is wrong with a command.

Beside the data path; prints KTAP itself.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
loader = importlib.machinery.SourceFileLoader('run', os.path.join(HERE, '../run'))
run = importlib.util.module_from_spec(importlib.util.spec_from_loader('run', loader))
loader.exec_module(run)

GOOD = 'KTAP version 1\n1..2\nok 1 - a\nok 2 - b\n'

# name, output, exit status, expected (passed, failed, skipped), text in the last failure
JUDGED = [
    ('all pass', GOOD, 0, (2, 0, 0), ''),
    ('names and diagnostics', '# hello\n1..1\n  ok 7 - nested\nok 1 a # b\n', 0, (1, 0, 0), ''),
    ('one failed', '1..2\nok 1 - a\nnot ok 2 - b\n', 1, (1, 1, 0), 'b'),
    ('failed but status 0', '1..1\nnot ok 1 - a\n', 0, (0, 2, 0), 'exit status 0'),
    ('passed but status 1', GOOD, 1, (2, 1, 0), 'exit status 1'),
    ('signal at the end', GOOD, -11, (2, 1, 0), 'signal 11'),
    ('died half-way', '1..4\nok 1 - a\n', -9, (1, 3, 0), 'ran 1 tests, planned 4'),
    ('no plan', 'ok 1 - a\n', 0, (1, 1, 0), 'no plan'),
    ('no output', '', 0, (0, 1, 0), 'no plan'),
    ('fewer than planned', '1..2\nok 1 - a\n', 0, (1, 1, 0), 'planned 2'),
    ('more than planned', '1..1\nok 1 - a\nok 2 - b\n', 0, (2, 1, 0), 'planned 1'),
    ('two plans', '1..1\n1..1\nok 1 - a\n', 0, (1, 1, 0), 'second plan'),
    ('wrong number', '1..2\nok 1 - a\nok 1 - a\n', 0, (2, 1, 0), 'result 1 where 2'),
    ('bail out', '1..1\nok 1 - a\nBail out! disk full\n', 0, (1, 1, 0), 'disk full'),
    ('skip with a reason', '1..2\nok 1 - a\nok 2 - b # SKIP no KVM\n', 0, (1, 0, 1), ''),
    ('skip without a reason', '1..2\nok 1 - a\nok 2 - b # SKIP\n', 1, (1, 1, 0), 'without'),
    ('all skipped', '1..1\nok 1 - b # SKIP no KVM\n', 4, (0, 0, 1), ''),
    ('status 4 though one passed', GOOD, 4, (2, 1, 0), 'not all tests were'),
    ('skipped as a whole', '1..0 # SKIP no spin\n', 4, (0, 0, 1), ''),
    ('planned nothing', '1..0\n', 0, (0, 1, 0), 'planned no tests'),
]


class FakeTree:
    """As much of run.Tree as run_one() looks at."""

    def __init__(self, path):
        self.path = self.logs = path
        self.label = 'tree'
        self.sanitizer = False


def program(script, limit=20):
    with tempfile.TemporaryDirectory() as logs:
        test = {'name': 'x', 'cmd': ['/bin/sh', '-c', script], 'env': {}, 'timeout': limit,
                'workdir': None}
        return run.run_one(FakeTree(logs), test, 'normal', [])


def expect(got, counts, failure=''):
    have = (got.passed, len(got.failures), len(got.skips))
    last = got.failures[-1] if got.failures else ''
    if have == counts and failure in last:
        return True
    print(f'# actual {have} {got.failures}, expected {counts} with "{failure}"')
    return False


def judged(text, status, counts, failure):
    return lambda: expect(run.judge(text, status, []), counts, failure)


def runs():
    v, text, _ = program("printf '1..1\\nok 1 - a\\n'; echo seen >&2")
    return expect(v, (1, 0, 0)) and 'seen' in text


def times_out():
    start = time.monotonic()
    v, _, _ = program("echo 1..1; sleep 1000", 1)
    return expect(v, (0, 1, 0), 'timed out after 1 s') and time.monotonic() - start < 60


def crashes():
    v, _, _ = program("printf '1..1\\nok 1 - a\\n'; kill -SEGV $$")
    return expect(v, (1, 1, 0), 'signal 11')


def cannot_start():
    with tempfile.TemporaryDirectory() as logs:
        test = {'name': 'x', 'cmd': [os.path.join(logs, 'none')], 'env': {}, 'timeout': 5,
                'workdir': None}
        v, _, _ = run.run_one(FakeTree(logs), test, 'normal', [])
    return expect(v, (0, 1, 0), 'No such file')


def stray_is_ended():
    v, text, _ = program("printf '1..1\\nok 1 - a\\n'; sleep 1000 & echo stray $!")
    pid = int(text.split()[-1])
    if not expect(v, (1, 0, 0)):
        return False
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
            state = f.read().rpartition(')')[2].split()[0]
    except FileNotFoundError:
        return True
    print(f'# process {pid} is there, state {state}')
    return state == 'Z'


def report_of_a_child_fails():
    v, _, _ = program("printf '1..1\\nok 1 - a\\n'; p=${ASAN_OPTIONS#log_path=}; "
                      "echo race > ${p%%:*}.77")
    return expect(v, (1, 1, 0), 'sanitizer report')


def undefined_behaviour_of_a_child_fails():
    v, _, _ = program("printf '1..1\\nok 1 - a\\n'; echo 'a.c:3:66: runtime error: overflow' >&2")
    return expect(v, (1, 1, 0), 'undefined behaviour')


def kselftest_prints():
    good = True
    for script, status, last in [
            ("printf '1..1\\nok 1 - a\\n'", 0, 'ok 1 selftests: tree: x'),
            ("printf '1..1\\nnot ok 1 - a\\n'; exit 1", 1, 'not ok 1 selftests: tree: x # a'),
            ("printf '1..0 # SKIP no KVM\\n'; exit 4", 0,
             'ok 1 selftests: tree: x # SKIP no KVM')]:
        with tempfile.TemporaryDirectory() as logs, \
                contextlib.redirect_stdout(io.StringIO()) as out:
            test = {'name': 'x', 'cmd': ['/bin/sh', '-c', script], 'env': {}, 'timeout': 20,
                    'workdir': None}
            got = run.tap([(FakeTree(logs), test)], 'normal', [])
        lines = out.getvalue().splitlines()
        if (got != status or lines[:3] != ['TAP version 13', '1..1', '# selftests: tree: x'] or
                lines[-1] != last):
            print(f'# {script}: expected {status}, {last!r}, actual {got}, {lines}')
            good = False
    return good


# Arguments of ./dev that it refuses before it does anything, what it says
REFUSED = [
    (['frobnicate'], "there is no command 'frobnicate'"),
    (['build', 'all'], "build takes no argument, 'all'"),
    (['test', '--fast'], "test: there is no option '--fast'"),
    ([], 'usage: ./dev COMMAND'),
]


def dev_refuses():
    dev = os.path.join(HERE, '../../dev')
    good = True
    for args, says in REFUSED:
        done = subprocess.run([dev, *args], capture_output=True, text=True, check=False)
        if done.returncode != 2 or done.stdout or says not in done.stderr:
            print(f'# dev {args}: status {done.returncode}, {done.stdout!r}, {done.stderr!r}')
            good = False
    return good


def dev_helps():
    dev = os.path.join(HERE, '../../dev')
    good = True
    for args in (['--help'], ['-h'], ['build', '--help'], ['test', '-h']):
        done = subprocess.run([dev, *args], capture_output=True, text=True, check=False)
        if done.returncode or done.stderr or not done.stdout.startswith('usage: ./dev COMMAND'):
            print(f'# dev {args}: status {done.returncode}, {done.stdout!r}, {done.stderr!r}')
            good = False
    return good


def main():
    cases = [(f'judge: {c[0]}', judged(*c[1:])) for c in JUDGED]
    cases += [(f.__name__.replace('_', ' '), f) for f in (
        runs, times_out, crashes, cannot_start, stray_is_ended, report_of_a_child_fails,
        undefined_behaviour_of_a_child_fails, kselftest_prints, dev_refuses, dev_helps)]
    print('KTAP version 1')
    print(f'1..{len(cases)}')
    failed = 0
    for nr, (name, case) in enumerate(cases, 1):
        good = case()
        failed += not good
        print(f'{"" if good else "not "}ok {nr} - {name}', flush=True)
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
