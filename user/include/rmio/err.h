/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Why a call failed, in words: for the authors of VMMs, of device processes and of devices.
 */
#ifndef RMIO_ERR_H
#define RMIO_ERR_H

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/**
 * rmio_errstr - why a call of this thread failed, a line for people
 * @err: what the call returned
 *
 * What it refused and why, where it said so; otherwise what the code stands for.  Never NULL.
 * Valid until the next call of the library's in this thread.  Any thread.
 */
const char *rmio_errstr(int err);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
