// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sees every MMIO access that KVM emulates, before KVM looks for who takes it, and
 * puts the stores that KVM will take in the kernel (an ioeventfd, a coalesced zone)
 * into the vCPU's lane with their data.  Everything else it leaves to the exit.
 *
 * It cannot make KVM refuse a store.  So a ring must never be full when a store
 * comes: the store that leaves less than the reserve free signals the vCPU, which
 * leaves KVM_RUN before its next instruction, and the library waits for room.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include "mmio_filter.h"

char LICENSE[] SEC("license") = "GPL";

/* include/trace/events/kvm.h */
#define MMIO_READ_UNSATISFIED	0
#define MMIO_READ		1
#define MMIO_WRITE		2

/* Loads and stores by one CPU are seen in order, each kind for itself. */
#if defined(__TARGET_ARCH_x86)
#define STORES_IN_ORDER	true
#else
#define STORES_IN_ORDER	false
#endif

#define SLOTS_A_PAGE	(RMIO_PAGE / sizeof(struct rmio_request))

/*
 * Whose threads may be vCPUs: its number in the initial PID namespace, and when it was
 * started, since the number may be another's after it.  Not the VMM's to write.
 */
int vmm_tgid;
__u64 vmm_started;	/* ns since boot; 0: */
__u64 vmm_started_from;	/* so much, or up to vmm_precision later */
__u64 vmm_precision;
const volatile _Bool for_others;	/* the VMM did not load it, and may end before it does */
const volatile __u32 kick_signal;
const volatile _Bool threads_by_id;	/* no task storage for a thread: before Linux 6.9 */

struct page {
	__u8 bytes[RMIO_PAGE];
};

/* The vCPU number of a thread; nobody else's thread is in here. */
struct {
	__uint(type, BPF_MAP_TYPE_TASK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, __u32);
} threads SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RMIO_BPF_THREADS);
	__type(key, __u32);
	__type(value, struct rmio_bpf_thread);
} thread_ids SEC(".maps");

/*
 * By number on every kernel: what is in a thread's storage could be reached from user
 * space through a descriptor alone, and there may be none to be had.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RMIO_BPF_STRAY_NOTES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct rmio_bpf_stray_key);
	__type(value, struct rmio_bpf_stray);
} strays SEC(".maps");

/*
 * Which vCPU a thread may be, by the end of its number.  Where to look for what is
 * remembered, and no more than that: see vcpu_of().
 */
#define HINTS	1024u
__u16 hint[HINTS];

const volatile struct rmio_bpf_stray blank_stray;
__u64 strays_lost;	/* for want of memory, or of a library that takes them */

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);			/* set by the library: vCPUs */
	__type(key, __u32);
	__type(value, struct rmio_bpf_vcpu);
} vcpus SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RMIO_BPF_REGS);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct rmio_bpf_reg_key);
	__type(value, struct rmio_bpf_reg);
} regs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RMIO_BPF_ZONE_PAGES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct rmio_bpf_zone);
} zones SEC(".maps");

/* Devices that the library is to wake, by slot: the VMM's one thread reads them. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, RMIO_BPF_SLEEPERS);
} sleepers SEC(".maps");

/* Ranges' pages to devices, for the latency of loads. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, RMIO_BPF_ZONE_PAGES);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, __u32);
} pages SEC(".maps");

struct pages_of_device {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(struct page));
};

struct lanes_of_device {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rmio_bpf_lane);
};

/* For the BTF alone: the library makes these maps, and bpftool is to name their fields. */
const volatile struct rmio_bpf_lane lane_fields;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, RMIO_BPF_DEVS);
	__type(key, __u32);
	__array(values, struct pages_of_device);
} downs SEC(".maps"), ups SEC(".maps"), shadows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, RMIO_BPF_DEVS);
	__type(key, __u32);
	__array(values, struct lanes_of_device);
} lanes SEC(".maps");

/* -- helpers ------------------------------------------------------------------ */

static __always_inline struct page *page_of(void *outer, __u32 dev, __u32 index)
{
	void *inner = bpf_map_lookup_elem(outer, &dev);

	return inner ? bpf_map_lookup_elem(inner, &index) : NULL;
}

/* Linux 6.2 */
extern void *bpf_rdonly_cast(const void *obj, __u32 btf_id) __ksym __weak;

static __always_inline __u64 read_value(const void *val, __u32 len)
{
	__u64 data = 0;
	const void *p;

	/* Plain loads instead of a call.  Any type with 8 bytes of number in front will do. */
	if (!threads_by_id) {
		p = bpf_rdonly_cast(val, bpf_core_type_id_kernel(struct timespec64));
		switch (len) {
		case 1:
			return *(volatile const __u8 *)p;
		case 2:
			return *(volatile const __u16 *)p;
		case 4:
			return *(volatile const __u32 *)p;
		case 8:
			return *(volatile const __u64 *)p;
		}
		return 0;
	}

	switch (len) {
	case 1:
		bpf_probe_read_kernel(&data, 1, val);
		break;
	case 2:
		bpf_probe_read_kernel(&data, 2, val);
		break;
	case 4:
		bpf_probe_read_kernel(&data, 4, val);
		break;
	case 8:
		bpf_probe_read_kernel(&data, 8, val);
		break;
	}
	return data;
}

static __always_inline void kick(struct rmio_bpf_vcpu *v, __u32 dev)
{
	v->attention[(dev / 64) & (RMIO_BPF_DEVS / 64 - 1)] |= 1ull << (dev & 63);
	v->kicks++;
	bpf_send_signal_thread(kick_signal);
}

/*
 * One store of an aligned size is one store to the image, so that a reader sees all
 * or nothing of it.  The library plans no area whose image lies otherwise in its page.
 */
static __always_inline void write_shadow(const struct rmio_bpf_reg *to, __u64 at, __u32 len,
					 __u64 data)
{
	__u32 in = at & (RMIO_PAGE - 1), i;
	struct page *p = page_of(&shadows, to->dev, at / RMIO_PAGE);
	__u8 *b;

	if (!p)
		return;
	b = p->bytes;
	if (in & (len - 1)) {
		for (i = 0; i < 8; i++)
			if (i < len)
				b[(in + i) & (RMIO_PAGE - 1)] = data >> (8 * i);
		return;
	}
	switch (len) {
	case 1:
		*(volatile __u8 *)(b + (in & (RMIO_PAGE - 1))) = data;
		break;
	case 2:
		*(volatile __u16 *)(b + (in & (RMIO_PAGE - 2))) = data;
		break;
	case 4:
		*(volatile __u32 *)(b + (in & (RMIO_PAGE - 4))) = data;
		break;
	case 8:
		*(volatile __u64 *)(b + (in & (RMIO_PAGE - 8))) = data;
		break;
	}
}

struct store {
	__u64 gpa;
	__u64 data;
	__u32 len;
	__u32 vcpu;
	__u32 generation;	/* of the vCPU's tables when the store was seen */
	__u32 reserved;
};

/* Where this store goes, if KVM takes it.  False: it exits. */
static __always_inline bool look_up(__u64 gpa, __u32 len, struct rmio_bpf_reg *to, bool *zone)
{
	struct rmio_bpf_reg_key key = { .gpa = gpa, .len = len };
	__u32 in = gpa & (RMIO_PAGE - 1);
	__u64 page = gpa / RMIO_PAGE;
	struct rmio_bpf_zone *z;
	struct rmio_bpf_reg *r;

	r = bpf_map_lookup_elem(&regs, &key);
	if (r) {
		r->hits++;
		*to = *r;
		*zone = false;
		return true;
	}
	z = bpf_map_lookup_elem(&zones, &page);
	if (!z || in < z->from || in + len > z->end)
		return false;
	z->to.hits++;
	*to = z->to;
	to->offset += in;
	to->shadow += in;
	*zone = true;
	return true;
}

/* Its place is wanted by another: what it has counted goes to where it came from. */
static __always_inline void evict(struct rmio_bpf_hit *h)
{
	struct rmio_bpf_reg_key key = { .gpa = h->gpa, .len = h->len };
	__u64 page = h->gpa / RMIO_PAGE;
	struct rmio_bpf_zone *z;
	struct rmio_bpf_reg *r;

	if (!h->to.hits)
		return;
	if (h->zone) {
		z = bpf_map_lookup_elem(&zones, &page);
		if (z)
			z->to.hits += h->to.hits;
	} else {
		r = bpf_map_lookup_elem(&regs, &key);
		if (r)
			r->hits += h->to.hits;
	}
	h->to.hits = 0;
}

/* Look it up, and have it take the place of what was there. */
static __noinline bool remember(struct rmio_bpf_hit *h, __u64 gpa, __u32 len, __u32 generation)
{
	bool zone;

	evict(h);
	h->generation = 0;
	if (!look_up(gpa, len, &h->to, &zone))
		return false;
	h->to.hits = 0;
	h->zone = zone;
	h->gpa = gpa;
	h->len = len;
	/* Elsewhere the tables may have been read before the number. */
	if (STORES_IN_ORDER)
		h->generation = generation;
	return true;
}

/*
 * The same from what this vCPU has looked up before.  @generation was read before the
 * tables are: a change in between leaves the result void.
 */
static __always_inline struct rmio_bpf_hit *find(struct rmio_bpf_vcpu *v, __u64 gpa, __u32 len,
						 __u32 generation)
{
	struct rmio_bpf_hit *h;

	h = &v->hit[(gpa / 4 ^ gpa / 64 ^ gpa / RMIO_PAGE) & (RMIO_BPF_HITS - 1)];
	/* One computation of the address, not one for each use. */
	barrier_var(h);
	if (h->gpa == gpa && h->len == len && h->generation == generation)
		h->to.hits++;
	else if (!remember(h, gpa, len, generation))
		return NULL;
	return h;
}

/* Slots in use, with a look at how far the device has got: the line is the device's. */
static __always_inline __u64 in_use(const struct rmio_bpf_reg *to, struct rmio_bpf_lane *lane,
				    __u32 vcpu, __u64 tail)
{
	struct rmio_up_lane *ul;
	__u32 index = 1 + vcpu;
	__u64 done;

	ul = (struct rmio_up_lane *)page_of(&ups, to->dev, index);
	if (ul) {
		/* The slots below done have been read: a control dependency orders our writes. */
		done = *(volatile __u64 *)&ul->done;
		if (done - lane->done > tail - lane->done)
			lane->bad++;
		else
			lane->done = done;
	}
	return tail - lane->done;
}

/*
 * A zone wakes nobody: then the library rings.  It has a thread for that, unless the VMM
 * has taken its place or it is behind with its work; then the vCPU must come out.
 */
static __always_inline void wake(struct rmio_bpf_vcpu *v, const struct rmio_bpf_reg *to,
				 struct rmio_bpf_lane *lane)
{
	struct rmio_up_hdr *uh = (struct rmio_up_hdr *)page_of(&ups, to->dev, 0);
	__u32 g, dev;

	if (!uh)
		return;
	g = *(volatile __u32 *)&uh->need_wake;
	if (g && g != lane->rung) {
		lane->rung = g;
		dev = to->dev;
		if (to->flags & RMIO_BPF_TELL &&
		    !bpf_ringbuf_output(&sleepers, &dev, sizeof(dev), BPF_RB_FORCE_WAKEUP)) {
			lane->told++;
			return;
		}
		kick(v, dev);
	}
}

/* The number is what the device looks for; the fields come before it (user/ring.c). */
static __always_inline void publish(struct rmio_request *slot, __u64 seq, bool fence)
{
	/*
	 * The full barrier orders the number before need_wake is read (P2 of user/wake.h).
	 * Where KVM wakes by itself a release would do, which only total store order has
	 * for nothing here.
	 */
	if (fence || !STORES_IN_ORDER)
		__sync_lock_test_and_set(&slot->seq, seq);
	else
		*(volatile __u64 *)&slot->seq = seq;
}

/* Put it into the lane.  True: delivered, or nobody wants it any more. */
static __always_inline bool deliver(struct rmio_bpf_vcpu *v, __u32 vcpu, __u32 generation,
				    __u64 gpa, __u32 len, __u64 data)
{
	const struct rmio_bpf_reg *to;
	struct rmio_bpf_lane *lane;
	struct rmio_request *slot;
	struct rmio_down_lane *dl;
	struct rmio_bpf_hit *h;
	void *down, *inner;
	struct page *p;
	__u32 index, dev, first;
	bool full = false;
	__u64 tail;

	h = find(v, gpa, len, generation);
	if (!h)
		return false;
	to = &h->to;
	dev = to->dev;
	inner = bpf_map_lookup_elem(&lanes, &dev);
	down = bpf_map_lookup_elem(&downs, &dev);
	if (!inner || !down)
		return false;
	lane = bpf_map_lookup_elem(inner, &vcpu);
	if (!lane)
		return false;
	tail = lane->tail;
	first = 1 + vcpu * to->lane_pages;
	index = first + 1 + ((__u32)tail & to->slot_mask) / SLOTS_A_PAGE;
	p = bpf_map_lookup_elem(down, &index);
	if (!p)
		return false;
	if (lane->dead) {
		lane->discarded++;
		return true;
	}
	/* Is the reserve free after this one? */
	if (tail - lane->done > (__u64)to->slot_mask - RMIO_BPF_RESERVE) {
		__u64 used = in_use(to, lane, vcpu, tail);

		if (used > to->slot_mask) {
			lane->lost++;
			kick(v, dev);
			return true;
		}
		full = used > (__u64)to->slot_mask - RMIO_BPF_RESERVE;
	}

	/* Before the slot: what the device makes of the register must not be overwritten. */
	if (to->flags & RMIO_BPF_THROUGH) {
		write_shadow(to, to->shadow, len, data);
		lane->through++;
	}
	slot = (void *)(p->bytes + ((__u32)tail & (SLOTS_A_PAGE - 1)) * sizeof(*slot));
	slot->offset = to->offset;
	slot->data = data;
	slot->range_id = to->range_id;
	slot->vcpu = vcpu;
	slot->op = RMIO_OP_STORE;
	slot->len = len;
	slot->flags = 0;
	slot->reserved = 0;
	tail++;
	publish(slot, tail, to->flags & RMIO_BPF_WAKE);
	lane->tail = tail;
	lane->posted++;
	lane->zone += h->zone;
	if (full) {
		lane->full++;
		kick(v, dev);
	}
	/* For a successor, which takes any value that is not a ring away. */
	if (!((__u32)tail & (to->slot_mask >> 1))) {
		dl = bpf_map_lookup_elem(down, &first);
		if (dl)
			dl->tail = tail;
	}
	if (to->flags & RMIO_BPF_WAKE)
		wake(v, to, lane);
	return true;
}

/*
 * Not static, like the other two below: the verifier looks at each once, instead of at
 * each way through all of them, which took it a second.
 */
__noinline int post(struct rmio_bpf_vcpu *v, const struct store *s)
{
	return v && s && deliver(v, s->vcpu, s->generation, s->gpa, s->len, s->data);
}

/*
 * What a page boundary has left of a store, 3, 5, 6 or 7 bytes: a zone takes it as one,
 * the device gets it in natural pieces, as after an exit.
 */
__noinline int odd_store(struct rmio_bpf_vcpu *v, struct store *s, __u32 len, __u64 val)
{
	__u64 gpa;
	__u32 i, n, at = 0;

	if (!v || !s)
		return false;
	gpa = s->gpa;
	if (!find(v, gpa, len, s->generation))
		return false;
	for (i = 0; i < 4 && at < len; i++) {
		n = 4;
		if (n > len - at || (gpa + at) & 3)
			n = 2;
		if (n > len - at || (gpa + at) & 1)
			n = 1;
		s->gpa = gpa + at;
		s->len = n;
		s->data = read_value((const void *)(val + at), n);
		post(v, s);
		at += n;
	}
	return true;
}

static __always_inline bool any_store(struct rmio_bpf_vcpu *v, struct store *s, __u32 len,
				      __u64 val)
{
	if (len & (len - 1))
		return odd_store(v, s, len, val);
	s->len = len;
	s->data = read_value((const void *)val, len);
	return post(v, s);
}

/* KVM offers a store of more than 8 bytes in pieces, up to the first that nobody takes. */
__noinline int wide_store(struct rmio_bpf_vcpu *v, struct store *s, __u32 len, __u64 val)
{
	__u32 i, n, taken = 0;
	__u64 gpa;

	if (!v || !s)
		return 0;
	gpa = s->gpa;
	for (i = 0; i < RMIO_BPF_CHUNKS && i * 8 < len; i++) {
		n = len - i * 8;
		if (n > 8)
			n = 8;
		s->gpa = gpa + i * 8;
		if (!any_store(v, s, n, val + i * 8))
			break;
		taken += n;
	}
	return taken;
}

static __always_inline void on_store(struct rmio_bpf_vcpu *v, __u32 vcpu, __u32 generation,
				     __u64 gpa, __u32 len, const void *val)
{
	__u32 taken = 0;

	v->seen++;
	v->prev_gpa = v->last_gpa;
	v->prev_taken = v->last_taken;
	v->last_gpa = gpa;
	v->last_len = len;
	/* 1, 2, 4 or 8, as most are: here without a call. */
	if (len <= 8 && 0x116 >> len & 1) {
		if (deliver(v, vcpu, generation, gpa, len, read_value(val, len)))
			taken = len;
	} else if (len) {
		struct store s = { .gpa = gpa, .vcpu = vcpu, .generation = generation };

		if (len > 8)
			taken = wide_store(v, &s, len, (__u64)val);
		else if (odd_store(v, &s, len, (__u64)val))
			taken = len;
	}
	v->last_taken = taken;
}

/* What the thread has noted since the library took it; made if there is nothing and @make. */
static __always_inline struct rmio_bpf_stray *note_of(struct task_struct *task, __u32 tid,
						       bool make)
{
	struct rmio_bpf_stray_key key = { .tid = tid };
	struct rmio_bpf_stray *note = bpf_map_lookup_elem(&strays, &key);
	__u64 started = task->start_boottime;

	if (note && note->started == started)
		return note;
	if (!make || bpf_map_update_elem(&strays, &key, (const void *)&blank_stray, BPF_ANY))
		return NULL;
	note = bpf_map_lookup_elem(&strays, &key);
	if (note)
		note->started = started;
	return note;
}

/* The piece that has room for one entry. */
static __always_inline struct rmio_bpf_stray *piece_of(struct rmio_bpf_stray *note, __u32 tid)
{
	struct rmio_bpf_stray_key key = { .tid = tid, .piece = note->last };
	struct rmio_bpf_stray *p = note;

	if (key.piece)
		p = bpf_map_lookup_elem(&strays, &key);
	if (p && p->nr < RMIO_BPF_STRAYS)
		return p;
	if (++key.piece >= RMIO_BPF_STRAY_PIECES ||
	    bpf_map_update_elem(&strays, &key, (const void *)&blank_stray, BPF_ANY))
		return NULL;
	note->last = key.piece;
	return bpf_map_lookup_elem(&strays, &key);
}

/* One more store that KVM takes.  Global for the verifier, as post(). */
__noinline int note_store(struct rmio_bpf_stray *note, const struct store *s, __u64 val)
{
	__u32 tid = bpf_get_current_pid_tgid(), i;
	struct rmio_bpf_stray *p;

	if (!note || !s)
		return 0;
	p = piece_of(note, tid);
	if (!p) {
		__sync_fetch_and_add(&strays_lost, 1);
		return 0;
	}
	i = p->nr & (RMIO_BPF_STRAYS - 1);
	p->store[i].gpa = s->gpa;
	p->store[i].data = 0;
	/* A mask is what every verifier understands; so many bytes would fit too. */
	bpf_probe_read_kernel(&p->store[i].data, s->len & 15, (const void *)val);
	p->store[i].len = s->len;
	p->nr = i + 1;
	return 0;
}

static __noinline void on_stray(struct task_struct *task, __u64 gpa, __u32 len, const void *val)
{
	__u32 i, n, taken = 0, tid = bpf_get_current_pid_tgid();
	struct rmio_bpf_stray *note = note_of(task, tid, false);
	struct store s = { .gpa = gpa };
	struct rmio_bpf_reg to;
	bool zone;

	for (i = 0; i < RMIO_BPF_CHUNKS && i * 8 < len; i++) {
		n = len - i * 8;
		s.gpa = gpa + i * 8;
		s.len = n < 8 ? n : 8;
		if (!look_up(s.gpa, s.len, &to, &zone))
			break;
		if (!note)
			note = note_of(task, tid, true);
		if (!note) {
			__sync_fetch_and_add(&strays_lost, 1);
			break;
		}
		note_store(note, &s, (__u64)val + i * 8);
		taken += s.len;
	}
	if (note) {
		note->prev_gpa = note->last_gpa;
		note->prev_taken = note->last_taken;
		note->last_gpa = gpa;
		note->last_len = len;
		note->last_taken = taken;
	}
	if (taken)
		bpf_send_signal_thread(kick_signal);
}

static __always_inline void load_left(struct rmio_bpf_vcpu *v, __u64 gpa)
{
	__u64 page = gpa / RMIO_PAGE;
	__u32 *dev = bpf_map_lookup_elem(&pages, &page);

	v->load_at = 0;
	if (!dev)
		return;
	v->load_dev = *dev;
	v->load_at = bpf_ktime_get_ns();
}

static __always_inline void load_answered(struct rmio_bpf_vcpu *v, __u32 vcpu)
{
	struct rmio_bpf_lane *lane;
	__u32 dev = v->load_dev, bucket = 0;
	void *inner;
	__u64 ns;

	if (!v->load_at)
		return;
	ns = bpf_ktime_get_ns() - v->load_at;
	v->load_at = 0;
	inner = bpf_map_lookup_elem(&lanes, &dev);
	lane = inner ? bpf_map_lookup_elem(inner, &vcpu) : NULL;
	if (!lane)
		return;
	if (ns >> 32) {
		bucket = RMIO_BPF_HIST - 1;
	} else {
		if (ns >> 16) {
			bucket += 16;
			ns >>= 16;
		}
		if (ns >> 8) {
			bucket += 8;
			ns >>= 8;
		}
		if (ns >> 4) {
			bucket += 4;
			ns >>= 4;
		}
		if (ns >> 2) {
			bucket += 2;
			ns >>= 2;
		}
		bucket += ns >> 1;
	}
	lane->load_ns[bucket & (RMIO_BPF_HIST - 1)]++;
}

/* Run once, by the process that loads: it may not know its own number. */
SEC("raw_tp")
int rmio_whoami(void *ctx)
{
	vmm_tgid = bpf_get_current_pid_tgid() >> 32;
	vmm_started = bpf_get_current_task_btf()->group_leader->start_boottime;
	return 0;
}

static __always_inline bool is_vmm(struct task_struct *task)
{
	__u64 started;

	if (task->tgid != vmm_tgid)
		return false;
	if (!for_others)
		return true;
	started = task->group_leader->start_boottime;
	if (started == vmm_started)
		return true;
	if (vmm_started || started - vmm_started_from >= vmm_precision)
		return false;
	vmm_started = started;
	return true;
}

/*
 * Run by a thread that looks for its notes or has been made known: its number, as the
 * program sees it.  Of a type that can be attached nowhere: the broker hands it to VMMs
 * without privileges, and the kernel asks for none to attach a tracepoint's.
 */
SEC("syscall")
int rmio_thread(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct rmio_bpf_stray_key key = { .tid = bpf_get_current_pid_tgid() };
	struct rmio_bpf_stray *note = bpf_map_lookup_elem(&strays, &key);
	struct rmio_bpf_thread *known = bpf_map_lookup_elem(&thread_ids, &key.tid);

	if (known && !known->started)
		known->started = task->start_boottime;
	/* Those of a thread that had the number before it. */
	if (note && note->started != task->start_boottime)
		bpf_map_delete_elem(&strays, &key);
	return key.tid;
}

static __always_inline __u32 *number_of(struct task_struct *task)
{
	struct rmio_bpf_thread *t;
	__u32 tid;

	if (!threads_by_id)
		return bpf_task_storage_get(&threads, task, NULL, 0);
	tid = bpf_get_current_pid_tgid();
	t = bpf_map_lookup_elem(&thread_ids, &tid);
	return t && (!t->started || t->started == task->start_boottime) ? &t->vcpu : NULL;
}

/* From the library's maps, once more after every change to them. */
static __noinline struct rmio_bpf_vcpu *ask(struct task_struct *task, __u32 *vcpu)
{
	struct rmio_bpf_vcpu *v;
	__u32 *number = number_of(task), generation;

	if (!number)
		return NULL;
	*vcpu = *number;
	v = bpf_map_lookup_elem(&vcpus, vcpu);
	if (!v || !STORES_IN_ORDER)
		return v;
	/* What is remembered must be the answer of after this: who changes it counts up then. */
	generation = *(volatile __u32 *)&v->generation;
	number = number_of(task);
	if (!number || *number != *vcpu)
		return v;
	v->started = task->start_boottime;
	v->bound = generation;
	hint[(__u32)task->pid & (HINTS - 1)] = *vcpu;
	return v;
}

SEC("tp_btf/kvm_mmio")
int BPF_PROG(rmio_mmio, int type, int len, __u64 gpa, void *val)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct rmio_bpf_vcpu *v;
	__u32 vcpu, generation;

	/* Other VMs' vCPUs; nor may a VMM register what is not its own. */
	if (!is_vmm(task))
		return 0;
	vcpu = hint[(__u32)task->pid & (HINTS - 1)];
	v = bpf_map_lookup_elem(&vcpus, &vcpu);
	if (!v)
		return 0;
	generation = *(volatile __u32 *)&v->generation;
	/*
	 * Is it still this thread's?  No two with the same last digits of their number are
	 * started in one nanosecond.
	 */
	if (v->bound != generation || v->started != task->start_boottime) {
		v = ask(task, &vcpu);
		if (!v) {
			if (type == MMIO_WRITE)
				on_stray(task, gpa, len, val);
			return 0;
		}
		generation = *(volatile __u32 *)&v->generation;
	}
	if (type == MMIO_WRITE)
		on_store(v, vcpu, generation, gpa, len, val);
	else if (type == MMIO_READ_UNSATISFIED)
		load_left(v, gpa);
	else
		load_answered(v, vcpu);
	return 0;
}
