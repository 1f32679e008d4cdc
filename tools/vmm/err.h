/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Errors of the machine: the code is returned, the words go beside it.
 */
#ifndef VMM_ERR_H
#define VMM_ERR_H

/* Why a call failed, in words for a person; every call takes NULL. */
struct vmm_err {
	char text[320];
};

/* Fills err and returns rc, so that "return vmm_fail(err, -EINVAL, ...)" reads well. */
__attribute__((format(printf, 3, 4)))
int vmm_fail(struct vmm_err *err, int rc, const char *fmt, ...);

#endif
