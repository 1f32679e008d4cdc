/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Registers of the educational device, as QEMU's docs/specs/edu.rst gives them.
 * PCI 1234:11e8, class 00ff00, one MSI vector, pin A.  BAR0, memory, 1 MiB.
 * Below 0x80 accesses have 4 bytes, from there on 4 or 8; others read all ones
 * and store nothing.
 */
#ifndef RMIO_DEVICES_EDU_H
#define RMIO_DEVICES_EDU_H

#define EDU_VENDOR	0x1234
#define EDU_DEVICE	0x11e8
#define EDU_REVISION	0x10
#define EDU_BAR_SIZE	0x100000

#define EDU_ID		0x00	/* RO */
#define EDU_LIVE	0x04	/* RW: reads as the complement of what was stored */
#define EDU_FACTORIAL	0x08	/* RW: n in; n! modulo 2^32 out */
#define EDU_STATUS	0x20	/* RW: EDU_STATUS_* */
#define EDU_IRQ_STATUS	0x24	/* RO */
#define EDU_IRQ_RAISE	0x60	/* WO: bits to set in the interrupt status */
#define EDU_IRQ_ACK	0x64	/* WO: bits to clear */
#define EDU_DMA_SRC	0x80	/* RW */
#define EDU_DMA_DST	0x88	/* RW */
#define EDU_DMA_COUNT	0x90	/* RW */
#define EDU_DMA_CMD	0x98	/* RW: EDU_DMA_* */

#define EDU_ID_VALUE		0x010000edu
#define EDU_STATUS_COMPUTING	0x01u	/* RO */
#define EDU_STATUS_IRQ		0x80u	/* interrupt when the factorial is there */
#define EDU_IRQ_FACTORIAL	0x001u
#define EDU_IRQ_DMA		0x100u
#define EDU_DMA_RUN		0x1u
#define EDU_DMA_TO_RAM		0x2u
#define EDU_DMA_IRQ		0x4u

/* The device's own memory, by its address in EDU_DMA_SRC and _DST. */
#define EDU_BUF		0x40000u
#define EDU_BUF_SIZE	4096u

#define EDU_DMA_MASK	0x0fffffffu

#endif
