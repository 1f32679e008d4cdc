#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""layers_test.py SOURCE BUILD: that the library's folders include and call each other as layers.py's
table says, and that layers.py sees whatever does not.

Beside the data path; prints KTAP itself.
"""

import functools
import os
import re
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import layers  # noqa: E402  pylint: disable=wrong-import-position


def unit(name, *calls, include=()):
    """A file that defines a function, includes those headers and calls those functions."""
    return (''.join(f'#include "{h}"\n' for h in include) +
            ''.join(f'int {f}(void);\n' for f in calls) +
            f'int {name}(void) {{ return 0{"".join(f" + {f}()" for f in calls)}; }}\n')


# A tree with a file in each folder, which keeps the table.
MADE_UP = {
    'kern/include/rmio/abi.h': '',
    'user/include/rmio/vmm.h': '#include <rmio/abi.h>\n',
    'bpf/mmio_filter.h': '#include <rmio/abi.h>\n',
    'user/low.h': '#include <rmio/abi.h>\n#include <stdint.h>\n',
    'user/low.c': unit('low', include=['low.h', 'rmio/vmm.h']),
    'user/wire/msg.h': '#include "low.h"\n',
    'user/wire/msg.c': unit('msg', 'low', 'getpid', include=['msg.h']),
    'user/device/dev.h': '',
    'user/device/dev.c': unit('dev', 'msg', 'low', include=['dev.h', 'wire/msg.h']),
    'user/backend/backend.h': '#include "low.h"\n',
    'user/backend/backend.c': unit('backend') + 'extern int rmio_backend_bpf, rmio_backend_kvm;\n'
                              'int *backends[] = { &rmio_backend_bpf, &rmio_backend_kvm };\n',
    'user/backend/plan/plan.h': '',
    'user/backend/plan/plan.c': unit('plan', 'low', include=['plan.h', 'low.h']),
    'user/backend/bpf/bpf.h': '#include "backend/plan/plan.h"\n#include "mmio_filter.h"\n'
                              '#include "mmio_filter.skel.h"\n',
    'user/backend/bpf/bpf.c': unit('bpf', 'plan', 'backend') + 'int rmio_backend_bpf;\n',
    'user/backend/kvm/kdev.c': unit('kdev', 'backend', include=['backend/backend.h']) +
                               'int rmio_backend_kvm;\n',
    'user/backend/exit/exit.c': unit('backend_exit', 'backend'),
    'user/vmm/vm.h': '#include <rmio/vmm.h>\n#include "backend/backend.h"\n',
    'user/vmm/vm.c': unit('vm', 'backend', 'msg', 'low', include=['vm.h', 'wire/msg.h']) +
                     'int vm_count;\n',
    'user/pci/bus.h': '#include <rmio/vmm.h>\n',
    'user/pci/bus.c': unit('bus', 'vm', 'low', include=['bus.h']),
    'tools/cmd.h': '',
    'tools/cmd.c': '#include "cmd.h"\n#include <rmio/vmm.h>\n',
    'tools/bpfd.c': '#include "wire/msg.h"\n#include "cmd.h"\n',
    'selftests/lib/vm.h': '#include "vmm/vm.h"\n',
    'selftests/wire/msg_test.c': '#include "wire/msg.h"\n#include "vm.h"\n',
}

# What is changed in it: name, file, what is put after its text, all that is then to be said.
MUTATIONS = (
    ('nothing', 'user/low.c', '', []),
    ('an include upwards', 'user/low.c', '#include "wire/msg.h"\n',
     ['user/low.c includes user/wire/msg.h',
      'a loop of user, user/wire: user/low.c includes wire/msg.h of user/wire/msg.h; '
      'user/wire/msg.h includes low.h of user/low.h']),
    ('an include upwards in a header, by another way', 'user/wire/msg.h',
     '  #  include "../device/dev.h"\n',
     ['user/wire/msg.h includes user/device/dev.h',
      'a loop of user/device, user/wire: user/device/dev.c includes wire/msg.h of user/wire/msg.h; '
      'user/wire/msg.h includes ../device/dev.h of user/device/dev.h']),
    ('an include upwards in angles', 'user/wire/msg.c', '#include <device/dev.h>\n',
     ['user/wire/msg.c includes user/device/dev.h',
      'a loop of user/device, user/wire: user/device/dev.c includes wire/msg.h of user/wire/msg.h; '
      'user/wire/msg.c includes device/dev.h of user/device/dev.h']),
    ('an include sideways', 'user/device/dev.c', '#include "vmm/vm.h"\n',
     ['user/device/dev.c includes user/vmm/vm.h']),
    ('the VMM\'s end includes a back end', 'user/vmm/vm.c', '#include "backend/plan/plan.h"\n',
     ['user/vmm/vm.c includes user/backend/plan/plan.h']),
    ('one back end includes another', 'user/backend/kvm/kdev.c', '#include "backend/bpf/bpf.h"\n',
     ['user/backend/kvm/kdev.c includes user/backend/bpf/bpf.h']),
    ('the list of back ends includes one', 'user/backend/backend.c', '#include "backend/bpf/bpf.h"\n',
     ['user/backend/backend.c includes user/backend/bpf/bpf.h',
      'a loop of user/backend, user/backend/bpf: '
      'user/backend/backend.c includes backend/bpf/bpf.h of user/backend/bpf/bpf.h; '
      'user/backend/bpf/bpf.c calls backend of user/backend/backend.c']),
    ('a public header includes an internal one', 'user/include/rmio/vmm.h', '#include "low.h"\n',
     ['user/include/rmio/vmm.h includes user/low.h']),
    ('the BPF program\'s header elsewhere', 'user/vmm/vm.c', '#include "mmio_filter.h"\n',
     ['user/vmm/vm.c includes bpf/mmio_filter.h']),
    ('a header that is nowhere', 'user/low.c', '#if 0\n#include "high.h"\n#endif\n',
     ['user/low.c includes high.h, which is nowhere']),
    ('a program includes an internal header', 'tools/cmd.c', '#include "wire/msg.h"\n',
     ['tools/cmd.c includes user/wire/msg.h']),
    ('and one that may include others', 'tools/bpfd.c', '#include "vmm/vm.h"\n',
     ['tools/bpfd.c includes user/vmm/vm.h']),
    ('a test of another folder', 'selftests/wire/msg_test.c', '#include "device/dev.h"\n',
     ['selftests/wire/msg_test.c includes user/device/dev.h']),
    ('a call upwards', 'user/low.c', unit('low2', 'backend_exit'),
     ['user/low.c calls backend_exit of user/backend/exit/exit.c',
      'a loop of user, user/backend, user/backend/exit: '
      'user/low.c calls backend_exit of user/backend/exit/exit.c; '
      'user/backend/backend.h includes low.h of user/low.h; '
      'user/backend/exit/exit.c calls backend of user/backend/backend.c']),
    ('a call sideways', 'user/vmm/vm.c', unit('vm2', 'dev'),
     ['user/vmm/vm.c calls dev of user/device/dev.c']),
    ('data of a folder above', 'user/backend/exit/exit.c', 'extern int vm_count;\n'
     'int *count = &vm_count;\n', ['user/backend/exit/exit.c calls vm_count of user/vmm/vm.c']),
    ('a pointer to a function above', 'user/device/dev.c', 'int vm(void);\nint (*call)(void) = vm;\n',
     ['user/device/dev.c calls vm of user/vmm/vm.c']),
    ('one back end calls another', 'user/backend/kvm/kdev.c', unit('kdev2', 'bpf'),
     ['user/backend/kvm/kdev.c calls bpf of user/backend/bpf/bpf.c']),
    ('the list calls a back end', 'user/backend/backend.c', unit('backend2', 'kdev'),
     ['user/backend/backend.c calls kdev of user/backend/kvm/kdev.c',
      'a loop of user/backend, user/backend/kvm: '
      'user/backend/backend.c calls kdev of user/backend/kvm/kdev.c; '
      'user/backend/kvm/kdev.c includes backend/backend.h of user/backend/backend.h']),
    ('another than the list names a table', 'user/vmm/vm.c', 'extern int rmio_backend_kvm;\n'
     'int *kvm = &rmio_backend_kvm;\n',
     ['user/vmm/vm.c calls rmio_backend_kvm of user/backend/kvm/kdev.c']),
    ('a folder that is new', 'user/more/more.c', unit('more', 'low'),
     ['user/more is a folder that the table does not know', 'user/more/more.c calls low of user/low.c']),
)


def write(root, path, text):
    path = os.path.join(root, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


@functools.lru_cache(maxsize=None)
def compiled(text):
    """The object of a file of the made-up tree; its headers declare nothing."""
    text = re.sub(r'^.*#.*\n', '', text, flags=re.M)
    with tempfile.TemporaryDirectory() as root:
        write(root, 'x.c', text)
        subprocess.run(['cc', '-c', 'x.c'], cwd=root, check=True)
        with open(os.path.join(root, 'x.o'), 'rb') as f:
            return f.read()


def complaints(tree, may):
    return (tree.troubles + tree.wrong_rooms(may) + tree.wrong_includes(may) + tree.wrong_calls(may) +
            tree.loops_of_rooms() + tree.wrong_outside())


def agree(actual, expected):
    for line in actual:
        if line not in expected:
            print(f'# actual, not expected: {line}')
    for line in expected:
        if line not in actual:
            print(f'# expected, not actual: {line}')
    return sorted(actual) == sorted(expected)


def made_up(root, changes, may=None):
    """The made-up tree with changes {file: text} in root, its library beside it; and the table."""
    objects = []
    for path, text in dict(MADE_UP, **changes).items():
        write(root, path, text)
        if path.startswith('user/') and path.endswith('.c'):
            # as Meson names it
            objects.append(path.replace('/', '_') + '.o')
            with open(os.path.join(root, objects[-1]), 'wb') as f:
                f.write(compiled(text))
    subprocess.run(['ar', 'rcs', 'librmio.a', *objects], cwd=root, check=True)
    return layers.Tree(root, os.path.join(root, 'librmio.a')), may or layers.MAY


def mutation(path, more, expected):
    with tempfile.TemporaryDirectory() as root:
        return agree(complaints(*made_up(root, {path: MADE_UP.get(path, '') + more})), expected)


def loop_that_a_table_allows():
    """The loops are looked for, whatever the table says."""
    may = dict(layers.MAY, wire={'', 'device'})
    changes = {'user/wire/msg.c': MADE_UP['user/wire/msg.c'] + unit('msg2', 'dev')}
    with tempfile.TemporaryDirectory() as root:
        return agree(complaints(*made_up(root, changes, may)), [
            'a loop of user/device, user/wire: '
            'user/device/dev.c includes wire/msg.h of user/wire/msg.h; '
            'user/wire/msg.c calls dev of user/device/dev.c'])


def objects_of_nobody():
    """An archive that is not this tree's is no proof of anything."""
    with tempfile.TemporaryDirectory() as root:
        made_up(root, {'user/low2.c': unit('low2')})
        os.remove(os.path.join(root, 'user/low2.c'))
        subprocess.run(['ar', 'd', 'librmio.a', 'user_vmm_vm.c.o'], cwd=root, check=True)
        tree = layers.Tree(root, os.path.join(root, 'librmio.a'))
        return agree(complaints(tree, layers.MAY),
                     ['user_low2.c.o in the library is of no file of user/',
                      'user/vmm is in the table, and nothing of it in the library'])


def circles():
    """Circles of one folder's files are found, and not arrows that are no circle."""
    changes = {
        'user/vmm/vm.c': unit('vm', 'lane'),
        'user/vmm/lane.c': unit('lane', 'wait'),
        'user/vmm/wait.c': unit('wait', 'vm'),
        'user/vmm/end.c': unit('end', 'vm'),
    }
    with tempfile.TemporaryDirectory() as root:
        tree, may = made_up(root, changes)
        return agree(complaints(tree, may), []) and agree(list(tree.circles()), [
            'circle: user/vmm/lane.c, user/vmm/vm.c, user/vmm/wait.c',
            '    user/vmm/lane.c -> wait.c: wait',
            '    user/vmm/vm.c -> lane.c: lane',
            '    user/vmm/wait.c -> vm.c: vm'])


def table_has_no_loop():
    return agree(layers.loops(layers.MAY), [])


def main():
    source, build = sys.argv[1:3]
    tree = layers.Tree(source, os.path.join(build, 'librmio.a'))
    cases = [
        ('the table has no loop', table_has_no_loop),
        ('the folders are those of the table',
         lambda: agree(tree.troubles + tree.wrong_rooms(layers.MAY), [])),
        ('includes', lambda: agree(tree.wrong_includes(layers.MAY), [])),
        ('calls', lambda: agree(tree.wrong_calls(layers.MAY), [])),
        ('loops of folders', lambda: agree(tree.loops_of_rooms(), [])),
        ('includes of programs and tests', lambda: agree(tree.wrong_outside(), [])),
        ('made up: a loop that a table allows', loop_that_a_table_allows),
        ('made up: objects of nobody', objects_of_nobody),
        ('made up: circles', circles),
    ]
    cases += [(f'made up: {name}', lambda m=m: mutation(*m)) for name, *m in MUTATIONS]
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
