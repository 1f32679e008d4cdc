/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * Registers of the null device, which does nothing and is there to be measured.
 *
 * PCI 524d:6e75 ("RM", "nu"; assigned by nobody), class ff0000, one MSI vector,
 * pin A.  BAR0, memory, 64 KiB.  Loads and stores of 1, 2, 4 and 8 bytes.
 */
#ifndef RMIO_DEVICES_NULL_H
#define RMIO_DEVICES_NULL_H

#define NULL_VENDOR	0x524d
#define NULL_DEVICE	0x6e75
#define NULL_BAR_SIZE	0x10000

/* Answered by the device. */
#define NULL_MAGIC	0x0000	/* RO, 4 bytes: NULL_MAGIC_VALUE */
#define NULL_SCRATCH	0x0008	/* RW, 8 bytes: what was stored last */
#define NULL_STORES	0x0010	/* RO, 8 bytes: stores of any kind to the BAR, since reset */
#define NULL_LOADS	0x0018	/* RO, 8 bytes: loads that came to the device, this one included */
#define NULL_DOORBELL	0x0100	/* WO, 256 bytes: posted stores that do nothing */
#define NULL_SYNC	0x0200	/* WO, 256 bytes: synchronous stores that do nothing */
#define NULL_IRQ	0x0300	/* WO, 4 bytes: 1 interrupts (MSI, else pin up), 0 pin down */

/* Answered from the shadow image, all sizes. */
#define NULL_SHADOW	0x1000	/* 4 KiB; stores are posted, and the device copies them in */
#define NULL_THROUGH	0x2000	/* 4 KiB; stores are posted and written through */
#define NULL_RELAXED	0x3000	/* 4 KiB; loads do not wait for stores, which are as at 0x1000 */

/* From 0x4000 on a load is answered by the device with its offset. */

#define NULL_MAGIC_VALUE	0x6c6c756eu	/* "null" */

#endif
