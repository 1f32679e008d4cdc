/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * How much of anything a stranger may send, and how much of it is served before others get their
 * turn: messages and descriptors, both ends.  Limits on lanes, ranges and images are the ABI's
 * (rmio/abi.h), those on guest memory are in device/dma.h.
 */
#ifndef RMIO_WIRE_LIMITS_H
#define RMIO_WIRE_LIMITS_H

/* -- any UNIX socket ---------------------------------------------------------------- */

/*
 * The most descriptors in one message, the kernel's limit.  Each receive has room
 * for them: the kernel would close the rest itself, and wait for it (foreign.h).
 */
#define RMIO_SCM_MAX		253

/* Eventfds signalled by one system call: all vectors of a device (RMIO_MSI_MAX), on the stack. */
#define RMIO_EVENTFDS_MAX	32u

/* -- the slave descriptor (chan.h) -------------------------------------------------- */

/* Descriptors of a HELLO on the bpf back end, which has the most. */
#define RMIO_CHAN_FDS		5u

/* An access map of the largest size is one packet; of a full type where it is used. */
#define RMIO_CHAN_MAX	(sizeof(struct rmio_chan_hdr) + RMIO_AREAS_MAX * sizeof(struct rmio_area))

/* Messages of a master taken in a row: more than an honest one sends, which answers questions. */
#define RMIO_CHAN_OF_MASTER	64

/* Messages of a slave served in a row, before others get their turn: it asks one at a time. */
#define RMIO_CHAN_OF_SLAVE	16

/* -- vfio-user: what we say of ourselves in VERSION, and hold a peer to (vu_wire.h) --- */

#define VU_MAX_FDS	16u	/* descriptors in a message; QEMU takes no more for an answer */
#define VU_MAX_XFER	(1u << 20)	/* bytes of data in a message; the protocol's default */
#define VU_PAGE		4096u	/* granule of DMA_MAP; the protocol's default */
#define VU_DMA_MAPS	(1u << 20)	/* maps of guest memory that a device takes */
#define VU_DMA_MAPS_DEFAULT	65535u	/* the protocol's, of a peer that says nothing */
#define VU_JSON_MAX	VU_MAX_XFER	/* bytes of JSON, with NUL; clients send some hundred */
#define VU_JSON_OURS	512u	/* the same of what we send */
#define VU_JSON_DEPTH	8	/* nesting that is looked into; the specification uses 3 */
#define VU_ERRNO_MAX	4095u	/* the highest errno of a system call */

/* A transfer that is a little too long is refused; what is longer ends the connection. */
#define VU_MSG_MAX	(VU_MAX_XFER + 4096u)

/* -- vfio-user: the stream ------------------------------------------------------------ */

/* Payloads up to here need no allocation: all commands but long writes and many booleans. */
#define VU_SMALL	256u

/*
 * Bytes queued for a peer that does not read yet: a few replies of the largest size.  While there
 * is no room for one more, no request is taken.
 */
#define VU_QUEUE_MAX	(4u << 20)

/* A peer that takes none of what is queued for so long is given up. */
#define VU_STUCK_NS	60000000000ull

/* Messages served in a row, within VU_MAX_XFER bytes: a peer's share of the loop's time. */
#define VU_TURN		64u

/*
 * Refused messages logged of a connection: enough to see why, too few to fill a log.  Then one a
 * second, so that what goes wrong later is seen too.
 */
#define VU_LOG_MAX	32u

/* -- vfio-user: a device, to its client ------------------------------------------------- */

/* What it may claim to have: PCI has 9 regions and 5 irqs, a device may add some of its own. */
#define VU_REGIONS_MAX	256u
#define VU_IRQS_MAX	256u
#define VU_VECTORS_MAX	2048u	/* of an irq index: MSI-X's limit */

/* Replies that were waited for in vain and may still come; with more it is given up. */
#define CLIENT_LATE_MAX	16u

/* Ranges of a device without rings that a VMM places. */
#define CLIENT_PLACES_MAX 64u

/* -- QEMU's multi-process protocol: its own limits (mp_wire.h) ---------------------------- */

#define MP_MEM_MAX	8u	/* entries in the message; */
#define MP_FDS_MAX	7u	/* one fewer is ever used */
#define MP_PAYLOAD_MAX	sizeof(struct mp_sysmem)	/* the longest of its commands */

#endif
