/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * kvm_user_lanes.h - for tests of the kernel device: the other kind of device process, which maps
 * the lanes. It serves that of vCPU 0.
 */
#ifndef RMIO_KVM_USER_LANES_H
#define RMIO_KVM_USER_LANES_H

#include "kvm_user_rig.h"

struct lanes {
	const struct rmio_down_hdr *down;
	struct rmio_up_hdr *up;
	const struct rmio_down_lane *lane;	/* of vCPU 0 */
	const struct rmio_request *slots;
	struct rmio_up_lane *answer;
	size_t up_size;
	/* The device process. */
	uint64_t done;
	uint32_t number;	/* of its own last sleep */
	uint32_t woken;		/* the vCPU's sleep that it has rung for */
	uint64_t rings;
	pthread_t thread;
	atomic_bool stop;
};

static inline bool map_lanes(struct lanes *l)
{
	const struct rmio_down_hdr *hdr = (const void *)w.down;
	char *down, *up;

	memset(l, 0, sizeof(*l));
	l->up_size = RMIO_PAGE * (1 + (size_t)hdr->nr_lanes);
	down = mmap(NULL, w.down_size, PROT_READ, MAP_SHARED, w.slave, RMIO_KVM_MAP_DOWN);
	up = mmap(NULL, l->up_size, PROT_READ | PROT_WRITE, MAP_SHARED, w.slave, RMIO_KVM_MAP_UP);
	if (!T_OK(down != MAP_FAILED && up != MAP_FAILED))
		return false;
	l->down = (void *)down;
	l->lane = (void *)(down + RMIO_PAGE);
	l->slots = (void *)(down + 2 * RMIO_PAGE);
	l->up = (void *)up;
	l->answer = (void *)(up + RMIO_PAGE);
	return true;
}

static inline void unmap_lanes(struct lanes *l)
{
	munmap((void *)l->down, w.down_size);
	munmap(l->up, l->up_size);
}

static inline bool there(struct lanes *l)
{
	const struct rmio_request *slot = &l->slots[l->done & (l->down->ring_slots - 1)];

	return __atomic_load_n(&slot->seq, __ATOMIC_ACQUIRE) == l->done + 1;
}

/* The next request, completed but for telling the vCPU. */
static inline struct rmio_request complete(struct lanes *l)
{
	struct rmio_request r = l->slots[l->done & (l->down->ring_slots - 1)];
	struct rmio_reply a = rig_answer(&r);

	w.log[l->done % KTAP_COUNT(w.log)] = r;
	l->done++;
	__atomic_store_n(&l->answer->taken, l->done, __ATOMIC_RELAXED);
	if (r.op != RMIO_OP_STORE) {
		__atomic_store_n(&l->answer->reply_data, a.data, __ATOMIC_RELAXED);
		__atomic_store_n(&l->answer->reply_seq, l->done, __ATOMIC_RELEASE);
	}
	__atomic_store_n(&l->answer->done, l->done, __ATOMIC_RELEASE);
	return r;
}

/* To the letter of the ABI: once for each number, and only when done has reached wake_at. */
static inline bool tell(struct lanes *l)
{
	uint32_t number, lane = 0;

	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	number = __atomic_load_n(&l->lane->need_wake, __ATOMIC_ACQUIRE);
	if (!number || number == l->woken)
		return false;
	if ((int64_t)(l->done - __atomic_load_n(&l->lane->wake_at, __ATOMIC_RELAXED)) < 0)
		return false;
	l->woken = number;
	l->rings++;
	T_EQ(ioctl(w.slave, KVM_DEV_USER_WAKE, &lane), 0);
	return true;
}

/* Sleeps in poll() as the ABI has it; nothing else wakes it. */
static inline void *mapped_device(void *arg)
{
	struct lanes *l = arg;
	struct pollfd p = { .fd = w.slave, .events = POLLIN };

	for (;;) {
		if (there(l)) {
			complete(l);
			tell(l);
			continue;
		}
		if (!++l->number)
			l->number = 1;
		__atomic_store_n(&l->up->need_wake, l->number, __ATOMIC_RELAXED);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!there(l)) {
			poll(&p, 1, -1);
			if (p.revents & POLLHUP)
				break;
		}
		__atomic_store_n(&l->up->need_wake, 0, __ATOMIC_RELAXED);
	}
	return NULL;
}

/* Master closed: the device's loop ends. */
static inline void stop_device(struct lanes *l)
{
	rig_close_master();
	pthread_join(l->thread, NULL);
}

#endif
