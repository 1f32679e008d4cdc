#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""What `meson install` puts where, and that a person can run something of it.

Beside the data path. Arguments: source directory, build directory.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import ktap  # noqa: E402  pylint: disable=wrong-import-position

SOURCE, BUILD = (os.path.abspath(a) for a in sys.argv[1:3])
ALWAYS = {
    'bin/rmio', 'include/rmio/rmio.h', 'include/rmio/device.h', 'share/man/man1/rmio.1',
    'share/man/man3/rmio_device.3', 'share/man/man7/rmio-guest.7', 'share/rmio/guest/edu.bin',
    'share/doc/rmio/README.md', 'share/doc/rmio/docs/inspection.md',
    'share/doc/rmio/docs/examples/counter.c', 'share/doc/rmio/LICENSES/BSD-2-Clause.txt',
}
OF_BENCH = {'bin/rmio-bench', 'share/man/man1/rmio-bench.1'}
# Paths that README.md and the pages in docs/ name and that are not installed: the sources' own.
IN_TEXT = re.compile(r'`(docs/(?:examples/)?[\w.-]+\.(?:md|c))`')


def run(*cmd, **kw):
    done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **kw)
    return done.returncode, done.stdout


def say(text):
    for line in text.splitlines():
        print(f'# {line}')


def none_of(found, what):
    for f in sorted(found):
        print(f'# {what}: {f}')
    return not found


def planned(build):
    """What a build directory would install, below the prefix."""
    _, out = run('meson', 'introspect', '--installed', build)
    _, options = run('meson', 'introspect', '--buildoptions', build)
    prefix = next(o['value'] for o in json.loads(options) if o['name'] == 'prefix')
    return {os.path.relpath(to, prefix) for to in json.loads(out).values()}


def options(build):
    _, out = run('meson', 'introspect', '--buildoptions', build)
    return {o['name']: o['value'] for o in json.loads(out)}


def a_person_can_run_something():
    wanted = ALWAYS | (OF_BENCH if options(BUILD)['bench'] != 'disabled' else set())
    return none_of(wanted - planned(BUILD), 'not installed')


def all_that_documents_name_is_there():
    there, good = planned(BUILD), True
    for document in sorted(p for p in there if p.endswith('.md')):
        path = os.path.join(SOURCE, document[len('share/doc/rmio/'):])
        with open(path, encoding='utf-8') as f:
            named = set(IN_TEXT.findall(f.read()))
        good &= none_of({n for n in named if f'share/doc/rmio/{n}' not in there},
                        f'{document} names, not installed')
    every = {f for f in os.listdir(os.path.join(SOURCE, 'docs')) if f.endswith('.md')} - {'README.md'}
    return good & none_of({f for f in every if f'share/doc/rmio/docs/{f}' not in there},
                          'in docs/, not installed')


def what_is_off_is_not_installed():
    """Of a build directory that is set up, not built."""
    with tempfile.TemporaryDirectory() as small:
        status, out = run('meson', 'setup', small, SOURCE, '-Dselftests=disabled',
                          '-Dbench=disabled', '-Dbpf=disabled')
        if status:
            say(out)
            return False
        there = planned(small)
        good = none_of({p for p in there if re.search('bench|test|bpf', p)}, 'disabled, installed')
        good &= none_of(ALWAYS - there, 'not installed')
        _, targets = run('meson', 'introspect', '--targets', small)
        return good & none_of({t['name'] for t in json.loads(targets)
                               if re.search('bench|_test$|bpf', t['name'])}, 'disabled, built')


def the_demo_finds_its_guest_where_it_was_installed():
    with tempfile.TemporaryDirectory() as root:
        status, out = run('meson', 'install', '--no-rebuild', '-C', BUILD, '--destdir', root)
        if status:
            say(out)
            return False
        found = [os.path.join(w, 'rmio') for w, _, names in os.walk(root)
                 if 'rmio' in names and w.endswith('/bin')]
        prefix = os.path.dirname(os.path.dirname(found[0]))
        guest = os.path.join(prefix, options(BUILD)['datadir'], 'rmio/guest/edu.bin')
        status, out = run(found[0], 'demo', '--guest-only')
        if status:
            say(out)
            return False
        os.unlink(guest)
        status, out = run(found[0], 'demo', '--guest-only')
        # One that was installed before, without DESTDIR, is taken instead.
        if os.path.exists(os.path.join(options(BUILD)['prefix'], 'share/rmio/guest/edu.bin')):
            return True
        if status != 1 or 'no guest' not in out:
            print(f'# status {status} without a guest, expected 1')
            say(out)
            return False
        return True


CASES = (
    a_person_can_run_something,
    all_that_documents_name_is_there,
    what_is_off_is_not_installed,
    the_demo_finds_its_guest_where_it_was_installed,
)


if __name__ == '__main__':
    sys.exit(ktap.run(CASES))
