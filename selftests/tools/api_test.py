#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""That the library's outside is as documented: headers, exports, manners, installed copy.

Beside the data path. Arguments: source directory, build directory.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import ktap  # noqa: E402  pylint: disable=wrong-import-position

SOURCE, BUILD = (os.path.abspath(a) for a in sys.argv[1:3])
INCLUDES = ['-I' + os.path.join(SOURCE, d) for d in ('user/include', 'kern/include')]
PUBLIC = os.path.join(SOURCE, 'user/include/rmio')
ABI = os.path.join(SOURCE, 'kern/include/rmio/abi.h')
DECLARED = re.compile(r'^(?:[A-Za-z_][\w ]*[ *])?\**(rmio_\w+)\s*\(', re.M)
SKIPPED_DIRS = re.compile(r'^(\.git|build.*|\.cache|LICENSES|__pycache__)$')
SOURCE_FILE = re.compile(r'\.(c|h|py|S|ld|pml|[1-8])$|^(meson\.build|dev|run)$')

# What a library that never prints, exits or touches signals does not call.
FORBIDDEN = {
    'printf', 'puts', 'putchar', 'perror', 'vprintf', 'syslog', 'stdout', 'stderr', '__printf_chk',
    'exit', '_exit', 'quick_exit', 'abort', '__assert_fail', 'err', 'errx', 'warn', 'warnx',
    'signal', 'sigaction', 'sigprocmask', 'pthread_sigmask', 'sigaltstack',
}


def run(*cmd, **kw):
    """Run; on failure show what it printed. Returns (good, output)."""
    done = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False, **kw)
    if done.returncode:
        print(f'# {" ".join(cmd)}')
        for line in done.stdout.splitlines():
            print(f'# {line}')
    return done.returncode == 0, done.stdout


def none_of(found, what):
    """Passes if nothing was found."""
    for f in sorted(found):
        print(f'# {what}: {f}')
    return not found


def headers():
    return [ABI] + [os.path.join(PUBLIC, h) for h in sorted(os.listdir(PUBLIC))]


def declared():
    names = set()
    for path in headers()[1:]:
        with open(path, encoding='utf-8') as f:
            text = re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
        names |= set(DECLARED.findall(text))
    return names


def exported():
    _, out = run('nm', '-D', '--defined-only', os.path.join(BUILD, 'librmio.so'))
    symbols = [line.split() for line in out.splitlines()]
    return {s[-1].split('@')[0] for s in symbols if len(s) == 3 and s[1] != 'A'}


def compiles(compiler, *flags):
    good = True
    for path in headers():
        good &= run(compiler, *flags, '-Wall', '-Wextra', '-Werror', *INCLUDES, '-include', path,
                    '-fsyntax-only', '/dev/null')[0]
    return good


def headers_compile_as_c():
    return compiles('cc', '-x', 'c', '-std=gnu11')


def headers_compile_as_c99():
    return compiles('cc', '-x', 'c', '-std=c99', '-pedantic')


def headers_compile_as_cxx():
    return compiles('c++', '-x', 'c++', '-std=c++11')


def abi_header_needs_no_libc_and_has_no_padding():
    return run('cc', '-x', 'c', '-ffreestanding', '-Wall', '-Wextra', '-Wpadded', '-Werror',
               *INCLUDES, '-include', ABI, '-fsyntax-only', '/dev/null')[0]


def exports_are_declared():
    return none_of(exported() - declared(), 'exported, not in a public header')


def declarations_are_exported():
    return none_of(declared() - exported(), 'in a public header, not exported')


def declarations_are_in_the_manual():
    text = ''
    man = os.path.join(SOURCE, 'docs/man')
    for page in os.listdir(man):
        with open(os.path.join(man, page), encoding='utf-8') as f:
            text += f.read()
    return none_of({d for d in declared() if not re.search(rf'\b{d}\b', text)}, 'not in docs/man')


def options_are_in_the_manual():
    """Each option that a program's --help names is in its page, and the other way round."""
    good = True
    for program, page in (('rmio', 'rmio.1'), ('rmio-bench', 'rmio-bench.1')):
        path = os.path.join(BUILD, program)
        if not os.path.exists(path):
            continue
        found, text = run(path, '--help')
        good &= found
        for command in re.findall(r'^  (\w+)  +\w', text, re.M) if program == 'rmio' else []:
            found, more = run(path, command, '--help')
            good &= found
            text += more
        helped = set(re.findall(r'--(\w[\w-]*)', text)) - {'help'}
        with open(os.path.join(SOURCE, 'docs/man', page), encoding='utf-8') as f:
            manual = set(re.findall(r'Fl -(\w[\w-]*)', f.read()))
        good &= none_of(helped - manual, f'not in {page}')
        good &= none_of(manual - helped, f'not in {program} --help')
    return good


def soname():
    good, out = run('readelf', '-d', os.path.join(BUILD, 'librmio.so'))
    names = re.findall(r'soname: \[(.*)\]', out)
    if names != ['librmio.so.0']:
        print(f'# actual {names}, expected librmio.so.0')
        good = False
    return good


def library_neither_prints_nor_exits_nor_touches_signals():
    _, out = run('nm', '-u', os.path.join(BUILD, 'librmio.a'))
    called = {line.split()[-1].split('@')[0] for line in out.splitlines() if ' U ' in line}
    if len(called) < 10:
        print('# nm shows hardly any symbol')
        return False
    return none_of(called & FORBIDDEN, 'the library calls')


def files_state_their_licence():
    missing = []
    for where, dirs, names in os.walk(SOURCE):
        dirs[:] = [d for d in dirs if not SKIPPED_DIRS.match(d)]
        for name in names:
            path = os.path.join(where, name)
            if not SOURCE_FILE.search(name) or not os.path.isfile(path):
                continue
            with open(path, encoding='utf-8', errors='replace') as f:
                if 'SPDX-License-Identifier: ' not in f.read(400):
                    missing.append(os.path.relpath(path, SOURCE))
    return none_of(missing, 'no SPDX line')


def examples_build_against_an_installed_copy():
    with tempfile.TemporaryDirectory() as root:
        if not run('meson', 'install', '--no-rebuild', '-C', BUILD, '--destdir', root)[0]:
            return False
        pc_dirs = [w for w, _, names in os.walk(root) if 'rmio.pc' in names]
        env = dict(os.environ, PKG_CONFIG_PATH=':'.join(pc_dirs), PKG_CONFIG_SYSROOT_DIR=root)
        program = os.path.join(root, 'x')
        examples = os.path.join(SOURCE, 'docs/examples')
        sources = [os.path.join(examples, f) for f in os.listdir(examples) if f.endswith('.c')]
        good = len(sources) > 0
        for how in ([], ['--static']):
            found, flags = run('pkg-config', *how, '--cflags', '--libs', 'rmio', env=env)
            good &= found
            link = ['-l:librmio.a' if how and f == '-lrmio' else f for f in flags.split()]
            for source in sources:
                good &= run('cc', '-Wall', '-Wextra', '-Werror', source, '-o', program,
                            *link)[0]
        lib = os.path.dirname(pc_dirs[0])
        good &= run(os.path.join(lib, '../../bin/rmio'), '--version')[0]
        return good


CASES = (
    headers_compile_as_c,
    headers_compile_as_c99,
    headers_compile_as_cxx,
    abi_header_needs_no_libc_and_has_no_padding,
    exports_are_declared,
    declarations_are_exported,
    declarations_are_in_the_manual,
    options_are_in_the_manual,
    soname,
    library_neither_prints_nor_exits_nor_touches_signals,
    files_state_their_licence,
    examples_build_against_an_installed_copy,
)


if __name__ == '__main__':
    assert shutil.which('cc')
    sys.exit(ktap.run(CASES))
