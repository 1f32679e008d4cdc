# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""QEMU's two monitors: the one for people, and QMP."""

import json
import os
import socket

from process import LIMIT, Wrong


def ask(directory, command):
    """What QEMU's monitor for people answers."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(LIMIT)
        s.connect(os.path.join(directory, 'monitor'))
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


class Qmp:
    """A connection to QMP: commands, as lines of JSON or as a name and arguments, and events."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(LIMIT)
        self.socket.connect(path)
        self.lines = self.socket.makefile('r', encoding='utf-8')
        self.events = []
        self.next()
        self.do('qmp_capabilities')

    def close(self):
        self.lines.close()
        self.socket.close()

    def next(self):
        """What QEMU says next."""
        line = self.lines.readline()
        if not line:
            raise Wrong('QEMU has closed its monitor')
        return json.loads(line)

    def line(self, text):
        """What QEMU returns to a line."""
        self.socket.sendall(text.encode() + b'\n')
        while True:
            said = self.next()
            if 'event' in said:
                self.events.append(said)
            elif 'error' in said:
                raise Wrong(f'QEMU refuses {text}: {said["error"]["desc"]}')
            else:
                return said['return']

    def do(self, command, **arguments):
        return self.line(json.dumps({'execute': command, 'arguments': arguments}))

    def wait_for(self, event, **data):
        """Until QEMU tells of the event with these data."""
        while True:
            said = self.events.pop(0) if self.events else self.next()
            if said.get('event') == event and data.items() <= said['data'].items():
                return
