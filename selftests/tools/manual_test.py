#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""That the manual of the library is complete: each call, struct and member of the public headers.

Beside the data path. Arguments: source directory, build directory.
"""

import importlib.machinery
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import ktap  # noqa: E402  pylint: disable=wrong-import-position

SOURCE, BUILD = (os.path.abspath(a) for a in sys.argv[1:3])
MAN = os.path.join(SOURCE, 'docs/man')
PUBLIC = os.path.join(SOURCE, 'user/include/rmio')


def load_interface():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader('interface', os.path.join(MAN, 'interface'))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader('interface', loader))
    loader.exec_module(module)
    return module


interface = load_interface()


def none_of(found, what):
    for f in sorted(found):
        print(f'# {what}: {f}')
    return not found


def exported():
    with open(os.path.join(SOURCE, 'user/librmio.map'), encoding='utf-8') as f:
        return set(re.findall(r'^\t(rmio_\w+);', f.read(), re.M))


def page(name):
    with open(os.path.join(MAN, name), encoding='utf-8') as f:
        return f.read()


def pages_say_what_the_headers_say():
    done = subprocess.run([os.path.join(MAN, 'interface'), '--check'], text=True, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    for line in done.stdout.splitlines():
        print(f'# {line}')
    return not done.returncode


def each_header_has_pages_that_take_all_of_it():
    """Nothing of a public header is left out."""
    takes = {}
    for text in interface.pages().values():
        for header, some in interface.taken(text):
            takes.setdefault(header, set()).update((i.name, i.text) for i in some)
    missing = set()
    for name in os.listdir(PUBLIC):
        header = f'rmio/{name}'
        if name != 'rmio.h':
            missing |= {f'{header}: {i.name}' for i in interface.items(header)
                        if i.kind != 'text' and (i.name, i.text) not in takes.get(header, set())}
    return none_of(missing, 'no page has a line ".\\" interface:" that takes')


def each_exported_call_is_in_one_page():
    links = interface.links()
    found = none_of(exported() - set(links), 'in user/librmio.map, in no page')
    twice = {}
    for name, text in interface.pages().items():
        for _, some in interface.taken(text):
            for i in some:
                if i.kind == 'function':
                    twice.setdefault(i.name, set()).add(name)
    return none_of({f'{n}: {p}' for n, p in twice.items() if len(p) > 1}, 'in several pages') and found


def squeezed(text):
    """Without blanks, and without sizes of arrays, which may be macros."""
    return re.sub(r'\s+|(?<=\[)\w+(?=\])', '', text)


def each_prototype_and_member_is_read_as_the_compiler_reads_it():
    """The pages are made of the headers by patterns: against what the preprocessor leaves."""
    good = True
    for name in sorted(os.listdir(PUBLIC)):
        if name == 'rmio.h':
            continue
        path = os.path.join(PUBLIC, name)
        text = subprocess.run(['cc', '-E', '-P', '-I' + os.path.join(SOURCE, 'user/include'),
                               '-I' + os.path.join(SOURCE, 'kern/include'), path], text=True,
                              stdout=subprocess.PIPE, check=True).stdout
        flat = squeezed(text.replace('_Bool', 'bool'))
        for i in interface.items(f'rmio/{name}'):
            bare = re.sub(r'/\*.*?\*/', '', i.text, flags=re.S)
            if i.kind in ('function', 'type') and squeezed(bare) not in flat:
                print(f'# rmio/{name}: {i.name} is not so in the compiled text')
                good = False
        declared = set(re.findall(r'\b(rmio_\w+)\s*\([^;{]*\)\s*;', text)) & exported()
        mine = {i.name for i in interface.items(f'rmio/{name}') if i.kind == 'function'}
        others = set()
        for header in os.listdir(PUBLIC):
            if header not in (name, 'rmio.h'):
                others |= {i.name for i in interface.items(f'rmio/{header}')}
        good &= none_of(declared - mine - others, f'rmio/{name} declares, not found')
    return good


def members_are_in_the_page():
    missing = set()
    for name, text in interface.pages().items():
        plain = text.replace('\\', '')
        for header, some in interface.taken(text):
            for i in some:
                if i.kind != 'type':
                    continue
                bare = re.sub(r'/\*.*?\*/', '', i.text, flags=re.S)
                for member in re.findall(r'(\w+)(?:\[\w+\])?;|\(\*(\w+)\)|^\s+(RMIO_\w+)', bare, re.M):
                    member = ''.join(member)
                    if not re.search(rf'\b{member}\b', plain):
                        missing.add(f'{header}: {i.name}: {member} ({name})')
    return none_of(missing, 'not in the page')


def each_call_and_struct_has_an_installed_page():
    with tempfile.TemporaryDirectory() as root:
        done = subprocess.run(['meson', 'install', '--no-rebuild', '-C', BUILD, '--destdir', root],
                              text=True, check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            for line in done.stdout.splitlines():
                print(f'# {line}')
            return False
        where = [w for w, _, _ in os.walk(root) if w.endswith('/man3')]
        if len(where) != 1:
            print(f'# {len(where)} directories man3 installed, expected 1')
            return False
        there = set(os.listdir(where[0]))
        wanted = exported() | {n for n in interface.links()}
        good = none_of({n for n in wanted if n + '.3' not in there}, 'no installed page')
        for name in sorted(there):
            with open(os.path.join(where[0], name), encoding='utf-8') as f:
                link = re.match(r'\.so man3/(.*)\n$', f.read())
            if link and link.group(1) not in there:
                print(f'# {name} refers to {link.group(1)}, which is not there')
                good = False
        return good


def pages_can_be_read():
    """man shows each without a complaint."""
    if not shutil.which('groff'):
        print('# no groff: not tried')
        return True
    good = True
    for name in sorted(os.listdir(MAN)):
        if not re.search(r'\.[1-8]$', name):
            continue
        done = subprocess.run(['groff', '-mandoc', '-Tutf8', '-ww', '-z', os.path.join(MAN, name)],
                              text=True, check=False, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        # A long word in a narrow column is no fault.
        said = [line for line in done.stdout.splitlines()
                if not re.search(r"warning.*can(?:'t|not) (?:break|adjust) line", line)]
        for line in said:
            print(f'# {line}')
        good &= not said
    return good


def a_header_that_changed_is_noticed():
    """The check itself: of a copy with another prototype, a new member and no comment."""
    with tempfile.TemporaryDirectory() as root:
        for folder in ('docs', 'user/include', 'kern/include'):
            shutil.copytree(os.path.join(SOURCE, folder), os.path.join(root, folder))
        tool = os.path.join(root, 'docs/man/interface')

        def check():
            return subprocess.run([tool, '--check'], text=True, check=False,
                                  stdout=subprocess.PIPE).stdout

        def change(old, new):
            path = os.path.join(root, 'user/include/rmio/device.h')
            with open(path, encoding='utf-8') as f:
                text = f.read()
            assert old in text
            with open(path, 'w', encoding='utf-8') as f:
                f.write(text.replace(old, new, 1))

        expected = 'docs/man/rmio_device.3 is not what the headers say: run docs/man/interface'
        if check():
            print('# the copy is stale before it was changed')
            return False
        change('void rmio_dev_free(struct rmio_dev *dev);', 'int rmio_dev_free(struct rmio_dev *dev);')
        if expected not in check():
            print('# another type of a call was not noticed')
            return False
        subprocess.run([tool], check=True)
        change('\tuint64_t dma_mask;', '\tuint64_t news;\n\tuint64_t dma_mask;')
        text = check()
        if expected not in text or 'struct rmio_dev_desc: uint64_t news; has no comment' not in text:
            print(f'# a new member without a comment: {text!r}')
            return False
        return True


CASES = (
    pages_say_what_the_headers_say,
    each_header_has_pages_that_take_all_of_it,
    each_exported_call_is_in_one_page,
    each_prototype_and_member_is_read_as_the_compiler_reads_it,
    members_are_in_the_page,
    each_call_and_struct_has_an_installed_page,
    pages_can_be_read,
    a_header_that_changed_is_noticed,
)


if __name__ == '__main__':
    sys.exit(ktap.run(CASES))
