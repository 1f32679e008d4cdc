# SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
"""KTAP for the tests in Python: each case is a function that says whether all is well.

Beside the data path, as lib/ktap.h is for the tests in C.
"""


def run(cases):
    """Run them in turn; the exit status."""
    print('KTAP version 1')
    print(f'1..{len(cases)}')
    failed = 0
    for nr, case in enumerate(cases, 1):
        good = case()
        failed += not good
        print(f'{"" if good else "not "}ok {nr} - {case.__name__.replace("_", " ")}', flush=True)
    return 1 if failed else 0
