#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""readme_test.py SOURCE: each folder has a README that is short, and the files that documents name exist.

Beside the data path; prints KTAP itself.
"""

import fnmatch
import os
import re
import sys
import tempfile

FOLDERS = ('user', 'selftests', 'tools', 'bench', 'devices', 'kern', 'bpf', 'docs')
# One README speaks for all below.
WHOLE = ('user/include', 'kern', 'bpf', 'docs')
LONG = ('kern/README.md',)
MOST = 10
ALSO = ('README.md', 'CONTRIBUTING.md', 'docs/architecture.md')
# A name in a document is of what is in its folder or beside that, or below one of these.
ROOTS = ('', 'user', 'user/include', 'selftests', 'tools', 'kern', 'kern/include')
# of other trees
FOREIGN = ('updates/',)
NAME = re.compile(r'`([\w./*-]+)`')
FILE = re.compile(r'.*\.(c|h|S|ld|md|py|sh|pml|map|build|txt|patch)$')


def folders(source):
    for top in FOLDERS:
        for where, dirs, names in os.walk(os.path.join(source, top)):
            here = os.path.relpath(where, source)
            dirs[:] = [] if here in WHOLE else sorted(d for d in dirs if d != '__pycache__' and
                                                      f'{here}/{d}' not in WHOLE)
            if names or dirs:
                yield here


def documents(source):
    return ([d for d in ALSO if os.path.exists(os.path.join(source, d))] +
            [f'{f}/README.md' for f in folders(source)
             if os.path.exists(os.path.join(source, f, 'README.md'))])


def text_of(source, path):
    with open(os.path.join(source, path), encoding='utf-8') as f:
        return f.read()


def missing(source):
    return [f'{f} has no README.md' for f in folders(source)
            if not os.path.exists(os.path.join(source, f, 'README.md'))]


def too_long(source):
    found = []
    for path in documents(source):
        lines = len([line for line in text_of(source, path).splitlines() if line.strip()])
        if lines > MOST and path not in LONG + ALSO:
            found.append(f'{path} has {lines} lines, of {MOST}')
    return found


def contents(source):
    """Paths of all files, and of folders, which end in a slash."""
    found = []
    for top in FOLDERS:
        for where, dirs, names in os.walk(os.path.join(source, top)):
            here = os.path.relpath(where, source)
            found += [here + '/'] + [f'{here}/{n}' for n in names]
    return found + [n + '/' * os.path.isdir(os.path.join(source, n)) for n in os.listdir(source)]


def nowhere(source):
    """Names of files and folders that no file or folder has."""
    paths = contents(source)
    found = []
    for path in documents(source):
        here = os.path.dirname(path)
        roots = {here, os.path.dirname(here), *ROOTS}
        for name in NAME.findall(text_of(source, path)):
            if not FILE.match(name) and not name.endswith('/') or name.startswith('build') or \
                    name in FOREIGN:
                continue
            wanted = [os.path.normpath(os.path.join(root, name)) + '/' * name.endswith('/')
                      for root in roots]
            # an asterisk is for slashes too: at any depth below, of a document about all anywhere
            wanted.append('*/' + name if path in ALSO else f'{here}/*/{name}')
            if not any(fnmatch.filter(paths, w) for w in wanted):
                found.append(f'{path} names {name}, which is nowhere')
    return found


def agree(actual, expected=()):
    for line in actual:
        if line not in expected:
            print(f'# {line}')
    return sorted(actual) == sorted(expected)


def made_up():
    """A tree in which all that can be wrong is."""
    files = {
        'README.md': '`user/`, `user/ring.c`, `docs/gone.md`, `rmio vmm`, `rmio.h`, `mio.h`\n' * 20,
        'user/README.md': '# user\n\n`ring.c`, `r*.c`, `wire/`, `x*.c`, `pool.c`, `build/x.c`\n',
        'user/ring.c': '',
        'user/wire/README.md': '`ring.c`, `../ring.c`, `wire/`\n' * 11 + '\n' * 5,
        'user/device/dev.c': '',
        'user/include/rmio/rmio.h': '',
        'kern/README.md': 'line\n' * 11,
        'kern/patches/1.patch': '',
        'tools/README.md': 'line\n\n' * 10,
        'tools/vmm/vmm.c': '',
    }
    with tempfile.TemporaryDirectory() as source:
        for path, text in files.items():
            os.makedirs(os.path.dirname(os.path.join(source, path)), exist_ok=True)
            with open(os.path.join(source, path), 'w', encoding='utf-8') as f:
                f.write(text)
        return agree(missing(source), ['user/device has no README.md', 'tools/vmm has no README.md']) and \
            agree(too_long(source), ['user/wire/README.md has 11 lines, of 10']) and \
            agree(sorted(set(nowhere(source))), [
                'README.md names docs/gone.md, which is nowhere',
                'README.md names mio.h, which is nowhere',
                'user/README.md names pool.c, which is nowhere',
                'user/README.md names x*.c, which is nowhere'])


def main():
    source = sys.argv[1]
    cases = (
        ('each folder has a README', lambda: agree(missing(source))),
        ('READMEs are short', lambda: agree(too_long(source))),
        ('the files that documents name exist', lambda: agree(nowhere(source))),
        ('made up', made_up),
    )
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
