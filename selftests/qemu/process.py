# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""A command of the document that runs on: what it says, and its end."""

import os
import re
import subprocess
import threading
import time

LIMIT = 150     # seconds for any one thing; it decides only that something hangs


class Wrong(Exception):
    """What a stage found; it ends there, and what it had yet to show fails."""


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
