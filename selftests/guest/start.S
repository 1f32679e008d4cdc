/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * First instructions of a flat guest, run by every vCPU: keeps what the
 * contract promises about RSP and RFLAGS as arguments, so that a guest can
 * check it, and calls guest_entry(vcpu, count, arg, rsp, rflags).
 */
	.section .text.start, "ax"
	.globl	_start
_start:
	mov	%rsp, %rcx
	pushfq
	pop	%r8
	xor	%ebp, %ebp
	call	guest_entry
1:	cli
	hlt
	jmp	1b
	.section .note.GNU-stack, "", @progbits
