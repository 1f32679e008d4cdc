#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""Which folder of the library includes and calls which, and which it may.

Beside the data path; layers_test.py asks it about the project and about made-up trees. As a program:
layers.py SOURCE BUILD --circles prints which files of one folder call each other in a circle.
"""

import collections
import os
import re
import subprocess
import sys

# A folder below user/ ('' is user/ itself), and those whose headers it may include and whose symbols
# it may use, beside its own and the public headers. What is not here may not be: take the arrow out.
MAY = {
    '': set(),
    'wire': {''},
    'device': {'', 'wire'},
    'backend': {'', 'wire'},
    'backend/plan': {''},
    'backend/bpf': {'', 'wire', 'backend', 'backend/plan'},
    'backend/kvm': {'', 'wire', 'backend'},
    'backend/exit': {'', 'wire', 'backend'},
    'vmm': {'', 'wire', 'backend'},
    'pci': {'', 'vmm'},
}
# The list of back ends: names the table of each, and calls it through that alone.
LIST = 'user/backend/backend.c'
TABLE = re.compile(r'rmio_backend_[a-z]+$')
# What the BPF program shares with its loader, and who may include it.
SHARED = {'mmio_filter.h': {'backend/bpf'}, 'mmio_filter.skel.h': {'backend/bpf'}}
# Programs use the public headers. Those whose path begins like this also use the library's own.
ALL = set(MAY)
OUTSIDE = {
    'bench/cases/dma.c': {'device'},
    'bench/cases/ring.c': {''},
    'tools/bpfd': {'wire', 'backend/bpf'},
    'tools/vmm/statsock.c': {'wire'},
    'tools/connect.c': {'wire'},
    'tools/stat/cmd.c': {'wire'},
    'selftests/lane/': {'', 'wire'},
    'selftests/wire/': {'', 'wire'},
    'selftests/device/': {'', 'wire', 'device'},
    'selftests/backend/': ALL - {'vmm'},
    'selftests/vmm/': {'', 'wire', 'vmm'},
    'selftests/pci/': {'', 'pci'},
    'selftests/lib/': ALL,
    'selftests/': set(),
    'bench/': set(),
    'devices/': set(),
    'docs/examples/': set(),
    'tools/': set(),
}
# Where programs find headers, in this order
PROGRAM_INCLUDES = ('', 'selftests/lib', 'tools', 'devices', 'bench')

PUBLIC = ('user/include', 'kern/include')
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">\n]+)', re.M)
MEMBER = re.compile(r'.*\[(?:.*/)?([^/\]]+)\]: (\S+) (\w)')

# why: the name of the header as included, or of the symbol
Arrow = collections.namedtuple('Arrow', 'caller callee kind why')


def room(path):
    """The folder of a file of user/, as in MAY; None: of no such folder."""
    folder = os.path.dirname(path)
    if path.startswith(PUBLIC) or not (folder + '/').startswith('user/'):
        return None
    return folder[len('user/'):]


def shown(name):
    return ('user/' + name).rstrip('/') if name else 'user'


def loops(arrows):
    """Of {node: {node, ...}}, the sets of nodes that reach each other."""
    reach = {}
    for start in arrows:
        seen, todo = set(), [start]
        while todo:
            for node in arrows.get(todo.pop(), ()):
                if node not in seen:
                    seen.add(node)
                    todo.append(node)
        reach[start] = seen
    found = {frozenset(b for b in reach[a] if a in reach.get(b, ())) for a in arrows if a in reach[a]}
    return sorted((sorted(loop) for loop in found if len(loop) > 1))


class Tree:
    """The sources, and the symbols of the static library that they were built to."""

    def __init__(self, source, archive):
        self.source = source
        self.archive = archive
        self.troubles = []    # what could not be understood
        self.files = self._files('user')
        self.includes = self._includes(self.files, ('', ) + PUBLIC + ('user', 'bpf'))
        self.calls = self._calls()

    def _files(self, folder):
        found = []
        for where, dirs, names in os.walk(os.path.join(self.source, folder)):
            dirs.sort()
            found += [os.path.relpath(os.path.join(where, n), self.source) for n in sorted(names)
                      if n.endswith(('.c', '.h'))]
        return found

    def _includes(self, files, where):
        """Arrows for the headers that are the project's; '' in where: beside the file itself."""
        arrows = []
        for path in files:
            with open(os.path.join(self.source, path), encoding='utf-8') as f:
                found = INCLUDE.findall(f.read())
            for mark, name in found:
                for folder in where:
                    if not folder and mark == '<':
                        continue
                    header = os.path.normpath(os.path.join(folder or os.path.dirname(path), name))
                    if os.path.exists(os.path.join(self.source, header)) or \
                            folder == 'bpf' and name.endswith('.skel.h'):
                        arrows.append(Arrow(path, header, 'include', name))
                        break
                else:
                    if mark == '"' and path.startswith('user/'):
                        self.troubles.append(f'{path} includes {name}, which is nowhere')
        return arrows

    def _calls(self):
        """Arrows for the symbols that one file defines and another uses."""
        # Meson's name of an object is the path of its source
        of_object = {p.replace('/', '_') + '.o': p for p in self.files if p.endswith('.c')}
        nm = subprocess.run(['nm', '-AP', self.archive], stdout=subprocess.PIPE, text=True,
                            check=True).stdout
        defined, used = {}, []
        for line in nm.splitlines():
            m = MEMBER.match(line)
            if not m:
                continue
            member, symbol, kind = m.groups()
            if member not in of_object:
                self.troubles.append(f'{member} in the library is of no file of user/')
            elif kind == 'U':
                used.append((of_object[member], symbol))
            elif kind in 'TDBRVWC':
                defined[symbol] = of_object[member]
        self.built = set(defined.values())
        return [Arrow(path, defined[symbol], 'call', symbol) for path, symbol in used
                if symbol in defined and defined[symbol] != path]

    def wrong_includes(self, may):
        found = []
        for a in self.includes:
            here, there = room(a.caller), room(a.callee)
            base = os.path.basename(a.callee)
            if a.callee.startswith('bpf/'):
                good = here in SHARED.get(base, ())
            elif a.callee.startswith(PUBLIC):
                good = True
            elif here is None:
                good = False    # a public header
            else:
                good = there == here or there in may.get(here, ())
            if not good:
                found.append(f'{a.caller} includes {a.callee}')
        return found

    def wrong_calls(self, may):
        return [f'{a.caller} calls {a.why} of {a.callee}' for a in self.calls
                if room(a.callee) not in {room(a.caller)} | may.get(room(a.caller), set()) and
                not (a.caller == LIST and TABLE.match(a.why))]

    def between_rooms(self):
        """{(room, room): the first arrow}"""
        arrows = {}
        for a in self.includes + self.calls:
            here, there = room(a.caller), room(a.callee)
            if here is None or there is None or here == there or \
                    a.caller == LIST and TABLE.match(a.why):
                continue
            arrows.setdefault((here, there), a)
        return arrows

    def loops_of_rooms(self):
        arrows = self.between_rooms()
        graph = collections.defaultdict(set)
        for here, there in arrows:
            graph[here].add(there)
        return ['a loop of ' + ', '.join(shown(r) for r in loop) + ': ' + '; '.join(
            f'{a.caller} {a.kind}s {a.why} of {a.callee}'
            for (here, there), a in sorted(arrows.items()) if here in loop and there in loop)
                for loop in loops(graph)]

    def wrong_rooms(self, may):
        """Folders that the table does not know, or of which nothing is seen."""
        there = {room(p) for p in self.files} - {None}
        found = [f'{shown(r)} is a folder that the table does not know' for r in sorted(there - set(may))]
        found += [f'{shown(r)} is in the table, and nothing of it in the library'
                  for r in sorted(set(may) - {room(p) for p in self.built})]
        return found

    def wrong_outside(self):
        """Programs that include what is not theirs."""
        folders = {p.split('/')[0] for p in OUTSIDE}
        files = [f for folder in sorted(folders) for f in self._files(folder)]
        found = []
        for a in self._includes(files, PROGRAM_INCLUDES + PUBLIC + ('user', 'bpf')):
            may = next((OUTSIDE[p] for p in OUTSIDE if a.caller.startswith(p)), set())
            if room(a.callee) is not None and room(a.callee) not in may:
                found.append(f'{a.caller} includes {a.callee}')
        return found

    def circles(self):
        """What to print of the files of one folder that call each other in a circle."""
        graph = collections.defaultdict(set)
        for a in self.calls:
            if room(a.caller) == room(a.callee):
                graph[a.caller].add(a.callee)
        for loop in loops(graph):
            yield 'circle: ' + ', '.join(loop)
            for here, there in sorted({(a.caller, a.callee) for a in self.calls}):
                if here in loop and there in loop:
                    why = sorted(a.why for a in self.calls if (a.caller, a.callee) == (here, there))
                    yield f'    {here} -> {os.path.basename(there)}: {", ".join(why)}'


if __name__ == '__main__':
    if len(sys.argv) != 4 or sys.argv[3] != '--circles':
        sys.exit(f'usage: {sys.argv[0]} SOURCE BUILD --circles')
    for text in Tree(sys.argv[1], os.path.join(sys.argv[2], 'librmio.a')).circles():
        print(text)
