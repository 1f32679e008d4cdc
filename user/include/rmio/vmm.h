/* SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause */
/*
 * rmio for authors of VMMs: the master side of a remote device, the call that a
 * KVM_RUN loop makes for each exit, and a vfio-user client that connects a device
 * process.
 *
 * Thread rules.  A vCPU object belongs to one thread at a time.  Everything
 * else may be called from any thread at any time, unless it says otherwise;
 * the _free calls must be the last call on their object.
 *
 * Integers return -errno.  Options structs begin with sz, the sizeof the
 * caller knows; a larger one is refused (-E2BIG) unless the rest is zero; NULL
 * means defaults.
 */
#ifndef RMIO_VMM_H
#define RMIO_VMM_H

#include <rmio/abi.h>
#include <rmio/err.h>
#include <rmio/wait.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct kvm_run;
struct rmio_vm;
struct rmio_vcpu;
struct rmio_master;
struct rmio_client;

#define RMIO_TIMEOUT_DEFAULT	0ull		/* five seconds */
#define RMIO_TIMEOUT_NONE	UINT64_MAX	/* wait for ever */

/* Why a device is dead (rmio_master_state, rmio_vm_opts.dead). */
enum rmio_state {
	RMIO_STATE_NEW		= 0,	/* no slave has been opened yet */
	RMIO_STATE_LIVE		= 1,	/* it answers */
	RMIO_STATE_CLOSED	= 2,	/* the device process closed its end or died */
	RMIO_STATE_TIMEOUT	= 3,	/* a vCPU waited longer than the timeout */
	RMIO_STATE_PROTOCOL	= 4,	/* the device wrote nonsense */
};

/* -- the VM: ranges of all devices, and the thread that serves slaves ----- */

struct rmio_vm_opts {
	size_t sz;		/* sizeof(struct rmio_vm_opts) */
	uint32_t max_vcpus;	/* lanes of each device, 1..RMIO_LANES_MAX; 0: 16 */
	uint32_t flags;		/* RMIO_VM_* */
	/*
	 * A device died.  Called once, and again after each revival (rmio_client_reset), from
	 * the thread that noticed: a vCPU's or the control thread.  It may not call into rmio
	 * except for rmio_master_state and rmio_vcpu_kick, nor take a lock that another
	 * thread holds while it calls rmio.  reason: for a log line.
	 */
	void (*dead)(void *arg, struct rmio_master *m, enum rmio_state why, const char *reason);
	void *arg;		/* of dead() */
};

/* No control thread: the VMM polls rmio_vm_fd and calls rmio_vm_dispatch. */
#define RMIO_VM_MANUAL	0x1u

/**
 * rmio_vm_new - make the object that masters and vCPUs of one VM belong to
 *
 * Returns 0, -EINVAL (options), -E2BIG, -ENOMEM, -EMFILE, -ENFILE, -EAGAIN (no
 * thread).
 */
int rmio_vm_new(const struct rmio_vm_opts *opts, struct rmio_vm **vm);

/**
 * rmio_vm_free - free it; all its masters, clients and vCPUs must be gone
 */
void rmio_vm_free(struct rmio_vm *vm);

/**
 * rmio_vm_fd - descriptor that is readable when rmio_vm_dispatch has work
 *
 * For RMIO_VM_MANUAL.  Owned by the VM object.
 */
int rmio_vm_fd(const struct rmio_vm *vm);

/**
 * rmio_vm_dispatch - serve slaves: opening, shadow size and control, death
 * @timeout_ms: as for poll(2)
 *
 * For RMIO_VM_MANUAL, from one thread at a time; never from a vCPU thread that
 * may have to wait.  Returns the number of messages served, -EINTR, -ENOMEM,
 * -EBUSY (the VM has its own control thread).
 */
int rmio_vm_dispatch(struct rmio_vm *vm, int timeout_ms);

/**
 * rmio_vm_quiesce - have all that vCPUs have stored done, and nothing more begin
 * @timeout_ns: at most, or RMIO_TIMEOUT_*
 * @late: the device that did not get through with it, on -ETIMEDOUT; may be NULL
 *
 * For a pause or a snapshot.  When it returns 0, no vCPU waits for a device, every device that
 * lives has handled all that vCPUs asked of it, and a vCPU whose thread calls rmio_vcpu_exit,
 * _intr, _enter, _load or _store stays there until rmio_vm_resume: rmio_vcpu_kick, a signal
 * while it sleeps, and run->immediate_exit end that with -EINTR as ever.  What a device
 * does of its own, DMA and interrupts, is not stopped.
 *
 * It does not make vCPUs leave KVM_RUN, in which a guest may go on to store on the bpf and kvm back
 * ends: kick their threads out of it first.  An access that was interrupted before is done, and is
 * answered when the vCPU's call is repeated; only then the vCPU is parked.  From any thread but one
 * in rmio_vm_opts.dead, or, with RMIO_VM_MANUAL, the one that has to dispatch while devices attach.
 * A thread that also runs a vCPU may call it between two accesses; an access of it gives
 * -EDEADLK until it has resumed the VM.
 *
 * Returns 0, -ETIMEDOUT (the VM goes on as before; rmio_errstr names the device), -EBUSY (it is
 * quiesced already).
 */
int rmio_vm_quiesce(struct rmio_vm *vm, uint64_t timeout_ns, struct rmio_master **late);

/**
 * rmio_vm_resume - let the vCPUs of a quiesced VM go on
 *
 * Any thread.  Returns 0, -EINVAL (it is not quiesced).
 */
int rmio_vm_resume(struct rmio_vm *vm);

/* -- back ends ------------------------------------------------------------ */

enum rmio_backend {
	RMIO_BACKEND_AUTO	= 0,	/* the best there is */
	RMIO_BACKEND_EXIT	= 1,	/* always there */
	RMIO_BACKEND_BPF	= 2,	/* after rmio_vm_kvm */
	RMIO_BACKEND_KVM	= 3,	/* after rmio_vm_kvm; the best */
};

struct rmio_kvm_opts {
	size_t sz;		/* sizeof(struct rmio_kvm_opts) */
	int vm_fd;		/* from KVM_CREATE_VM; duplicated */
	/*
	 * The signal that the VMM kicks its vCPU threads with: its handler makes KVM_RUN
	 * return, or KVM_SET_SIGNAL_MASK lets it in.  1..SIGRTMAX.
	 */
	int kick_signal;
	uint32_t first_slot;	/* KVM memory slots first_slot .. first_slot + nr_slots - 1 are */
	uint32_t nr_slots;	/* the library's; 0: none, then such loads exit */
	uint32_t bus_devs;	/* ioeventfds and zones the library may use; 0: 512 */
	uint32_t flags;		/* RMIO_KVM_* */
	/*
	 * Socket of `rmio bpfd`, for a VMM without privileges; NULL: load here.  Copied.
	 */
	const char *broker;
};

/*
 * The library may use coalesced MMIO, and empties its ring: the VMM has no zones of its
 * own, and maps kvm_run in the length that KVM_GET_VCPU_MMAP_SIZE says.
 */
#define RMIO_KVM_ZONES	0x1u
/*
 * Load the BPF program now even where the kernel device is there, for masters that ask for
 * RMIO_BACKEND_BPF, and fail if it cannot be.  Without this it is loaded when the first one asks.
 */
#define RMIO_KVM_BPF	0x2u

/**
 * rmio_vm_kvm - let KVM answer loads and take stores in the kernel: back end kvm or bpf
 *
 * Where this kernel's KVM has the device KVM_DEV_TYPE_USER, masters are that from now on, which
 * needs no privileges.  Elsewhere this
 * loads a BPF program and attaches it to KVM's tracepoint (CAP_BPF and CAP_PERFMON, or
 * root, which can be given up afterwards: masters made later use the exit back end
 * then).  Before the first master and vCPU of the VM.  The VMM then has to call
 * rmio_vcpu_exit or rmio_vcpu_intr after each return of KVM_RUN.  Returns 0, -EINVAL
 * (options, no VM; or the kernel lacks a kind of map or a type that the program uses),
 * -E2BIG, -EBUSY (too late, or a second time), -ENOTSUP (the library was built without,
 * or this kernel is not one for it), -EPERM (no privileges), -EACCES (the verifier
 * refuses the program; or the broker's socket may not be written), -ESRCH or -ENOENT (no
 * tracepoint kvm_mmio), -ENOMEM, -EMFILE, -ENFILE, what else bpf(2) returns.  With a broker
 * also -ENOENT or -ECONNREFUSED (nobody serves the socket), -ECONNRESET (it wants none of
 * us), -EDQUOT (this user has too many programs), -ETIMEDOUT, -EPROTO.  rmio_vm_backend
 * says what is missing; everything else works on, with the exit back end.
 */
int rmio_vm_kvm(struct rmio_vm *vm, const struct rmio_kvm_opts *opts);

/**
 * rmio_vm_backend - the best back end of this VM, and in *why what a better one lacks
 *
 * *why is "" or a line for people; it lasts as long as the VM.  why may be NULL.
 */
enum rmio_backend rmio_vm_backend(const struct rmio_vm *vm, const char **why);

/* -- vCPUs ---------------------------------------------------------------- */

/**
 * rmio_vcpu_new - make a vCPU
 * @index: below max_vcpus; the lane number of this vCPU in every device, and on the kvm back
 *	end the id that the VMM has given to KVM_CREATE_VCPU
 * @wait: how it waits for answers and room
 *
 * Returns 0, -EINVAL, -E2BIG, -ERANGE (index), -EBUSY (index in use), -ENOMEM.
 */
int rmio_vcpu_new(struct rmio_vm *vm, uint32_t index, const struct rmio_wait_opts *wait,
		  struct rmio_vcpu **vcpu);

/**
 * rmio_vcpu_free - free it; an interrupted access is abandoned
 *
 * Devices that have died and of which rmio_vm_opts.dead has not told yet are
 * told of here at the latest: their vCPUs may have seen it before anyone else.
 */
void rmio_vcpu_free(struct rmio_vcpu *vcpu);

/**
 * rmio_vcpu_exit - answer a KVM_EXIT_MMIO or KVM_EXIT_IO
 * @run: the vCPU's mapped kvm_run after KVM_RUN returned 0
 *
 * All that a VMM adds to its KVM_RUN loop.  Loads are answered into *run,
 * string I/O of any count included.  Returns
 *   0            answered; call KVM_RUN
 *   -EOPNOTSUPP  not an access to a range of this VM: the VMM answers it
 *   -EINTR       a signal, rmio_vcpu_kick or run->immediate_exit ended the wait;
 *                the access is still under way: clear immediate_exit and call this
 *                again with the same run, before KVM_RUN.  A kick is never missed; a
 *                signal only counts while the vCPU sleeps, not while it spins or
 *                just before, so a handler should kick
 *   -EDEADLK     this thread has quiesced the VM (rmio_vm_quiesce)
 * A dead device answers all ones and takes stores; the return value is 0.
 * Of an access partly inside and partly outside of a range, the part inside goes to the
 * device; of the rest a load reads ones and a store is lost.  It is counted.
 */
int rmio_vcpu_exit(struct rmio_vcpu *vcpu, struct kvm_run *run);

/**
 * rmio_vcpu_intr - after KVM_RUN has failed with EINTR or EAGAIN
 * @run: the vCPU's mapped kvm_run
 *
 * On the bpf back end a full lane ends KVM_RUN like this, and this call waits for room;
 * on the exit back end it does nothing.  From the thread that ran the vCPU; any thread
 * may run it, one at a time.  Returns 0 (call KVM_RUN) or -EINTR as rmio_vcpu_exit.
 */
int rmio_vcpu_intr(struct rmio_vcpu *vcpu, struct kvm_run *run);

/**
 * rmio_vcpu_enter - the calling thread is about to run this vCPU
 * @run: the vCPU's mapped kvm_run; what it says of an earlier exit is not looked at
 *
 * For a thread that runs several vCPUs in turn: before KVM_RUN of another one than
 * before, after rmio_vcpu_exit or _intr for that one has returned anything but -EINTR.
 * On the bpf back end its stores are else taken in the kernel for the vCPU that the
 * thread ran before, until the next exit: each of them arrives once, but out of order
 * with what the two vCPUs store otherwise.  A thread that runs one vCPU need not call it,
 * but saves the signal with which the first store that is taken ends KVM_RUN.  A thread
 * does not run vCPUs of several VMs on that back end, should these have devices at the
 * same addresses.  On the exit back end it does nothing.  Returns 0 (call KVM_RUN) or
 * -EINTR as rmio_vcpu_intr.
 */
int rmio_vcpu_enter(struct rmio_vcpu *vcpu, struct kvm_run *run);

/**
 * rmio_vcpu_load - the same for a VMM without KVM: one guest load
 * @len: 1 to 8
 *
 * Returns 0, -EOPNOTSUPP, -EINTR (call again), -EINVAL (len, bus), -EDEADLK (this thread has
 * quiesced the VM); on the kvm back end also
 * -ENOENT (KVM has no vCPU of that id) and -EBUSY (an access of KVM_RUN was interrupted).
 */
int rmio_vcpu_load(struct rmio_vcpu *vcpu, enum rmio_bus bus, uint64_t addr, uint32_t len,
		   uint64_t *data);

/**
 * rmio_vcpu_store - one guest store; returns as rmio_vcpu_load
 */
int rmio_vcpu_store(struct rmio_vcpu *vcpu, enum rmio_bus bus, uint64_t addr, uint32_t len,
		    uint64_t data);

/**
 * rmio_vcpu_cancel - forget an interrupted access (the vCPU was reset)
 *
 * From the vCPU's thread.  A store already posted stays posted.
 */
void rmio_vcpu_cancel(struct rmio_vcpu *vcpu);

/**
 * rmio_vcpu_kick - end the wait that is under way, or the next one, with -EINTR
 *
 * Any thread, also a signal handler.  A wait inside of KVM_RUN, on the kvm back end, ends as all
 * of KVM_RUN does: by a signal to the thread.
 */
void rmio_vcpu_kick(struct rmio_vcpu *vcpu);

/* -- masters -------------------------------------------------------------- */

struct rmio_master_opts {
	size_t sz;		/* sizeof(struct rmio_master_opts) */
	uint32_t backend;	/* enum rmio_backend */
	/*
	 * A lane's requests, power of two 2..65536; 0: 256, on the bpf back end 2048.  With
	 * fewer than 2048 that takes no stores in the kernel, they all exit: 1056 slots have
	 * to be free whenever the guest runs, for what a REP prefix can store before a signal
	 * is noticed.  Loads from memory slots do not depend on it.
	 */
	uint32_t ring_slots;
	uint64_t timeout_ns;	/* RMIO_TIMEOUT_* or ns */
	const char *name;	/* for log lines; copied; may be NULL */
	void *arg;		/* rmio_master_arg */
};

/**
 * rmio_master_new - create a device (KVM_CREATE_DEVICE, KVM_DEV_TYPE_USER)
 *
 * Returns 0, -EINVAL (ring_slots not a power of two in 2..65536), -E2BIG,
 * -ENOTSUP (back end not there), -ENOMEM, -EMFILE, -ENFILE, -EFBIG (RLIMIT_FSIZE
 * is below the size of the lanes).
 */
int rmio_master_new(struct rmio_vm *vm, const struct rmio_master_opts *opts,
		    struct rmio_master **m);

/**
 * rmio_master_free - destroy the device
 *
 * Its ranges go away, waiting vCPUs wake (loads all ones), the slave sees end
 * of file.  Blocks until no vCPU is inside; never call it from the dead()
 * callback or from a vCPU thread that was interrupted in an access to it
 * without rmio_vcpu_cancel.
 */
void rmio_master_free(struct rmio_master *m);

/**
 * rmio_master_slave_fd - the descriptor for the device process
 *
 * To be passed to rmio_slave_open, here or in another process (SCM_RIGHTS,
 * inheritance; it is close-on-exec).  The caller owns it.  Returns it,
 * -EBUSY (there has been one already), -EMFILE, -ENFILE, -ENOMEM, -ENOSPC (the
 * user's limit of epoll watches).
 */
int rmio_master_slave_fd(struct rmio_master *m);

/**
 * rmio_master_pa_range - place, move or (len 0) remove the range of an id
 *
 * May be called while the guest runs.  When it returns, no vCPU uses the old
 * place for a new access; accesses under way are completed.  Returns 0,
 * -EINVAL (bus, id above 65535), -EOVERFLOW (addr + len wraps, or passes the
 * end of I/O space), -EEXIST (overlaps another range of this VM; the old place
 * is kept), -ENOSPC (RMIO_RANGES_MAX), -ERANGE (the access map has areas of
 * this id beyond len), -ENXIO (the device of a client has no region of this id),
 * -EFBIG (len is more than that region has), -ENOENT (removing what is not there),
 * -ENOMEM.  A client's device is asked for the size of a region once, unless
 * rmio_client_region_info has been called for it; when it does not answer, and of a
 * master without a client, any id and length will do.
 */
int rmio_master_pa_range(struct rmio_master *m, const struct rmio_pa_range *range);

/**
 * rmio_master_timeout - how long a vCPU waits, in ns or RMIO_TIMEOUT_*
 *
 * Applies to waits that begin afterwards.
 */
void rmio_master_timeout(struct rmio_master *m, uint64_t ns);

/* Whether it answers, and if not, why. */
enum rmio_state rmio_master_state(const struct rmio_master *m);

/* The back end that it has. */
enum rmio_backend rmio_master_backend(const struct rmio_master *m);

/* rmio_master_opts.arg. */
void *rmio_master_arg(const struct rmio_master *m);

/* rmio_master_opts.name, or "device"; as long as @m. */
const char *rmio_master_name(const struct rmio_master *m);

/**
 * rmio_master_counters - sum over the vCPUs, or (vcpu >= 0) those of one
 *
 * Returns 0, -ERANGE.
 */
int rmio_master_counters(const struct rmio_master *m, int vcpu, struct rmio_counters *c);

/* Accesses that began inside one range and ended outside of it, whole VM. */
uint64_t rmio_vm_straddled(const struct rmio_vm *vm);

/* -- what goes on, for display -------------------------------------------- */

/* One thing that KVM takes in the kernel on the bpf back end, or why it does not. */
struct rmio_plan_entry {
	size_t sz;		/* of this struct as the library knows it: it may grow */
	uint64_t offset;	/* in the range */
	uint64_t length;	/* bytes */
	uint64_t addr;		/* guest-physical, 0 when the range is nowhere */
	/*
	 * Stores: taken in the kernel since this is in force; of "exit" an estimate of those
	 * that had come lately when the plan was made.  Loads: 0, nobody sees them.
	 */
	uint64_t count;
	const char *mechanism;	/* "memslot", "ioeventfd", "zone" or "exit"; lasts */
	const char *why;	/* a line for people; lasts as long as the library */
	uint32_t range_id;	/* rmio_pa_range.id */
	uint32_t len;		/* bytes of the stores that an ioeventfd takes; else 0 */
	bool store;		/* about stores, or about loads */
	bool through;		/* stores are written to the shadow image too */
};

/**
 * rmio_master_plan - the plan in force, in the order of ranges and offsets
 * @entry: called for each entry of a copy, with no lock held; non-zero ends it
 *
 * Returns 0, what @entry returned, -ENOTSUP (not the bpf back end), -ENOMEM.
 */
int rmio_master_plan(struct rmio_master *m,
		     int (*entry)(void *arg, const struct rmio_plan_entry *e), void *arg);

#define RMIO_LATENCY_BUCKETS	32

struct rmio_lane_stats {
	size_t sz;		/* set by the caller: the size that it knows */
	uint64_t slots;		/* requests that the lane holds */
	uint64_t depth;		/* of them, in use just now */
	/* What the BPF program did, all of it 0 on the exit back end. */
	uint64_t posted;	/* stores taken in the kernel; counted in rmio_counters too */
	uint64_t zone;		/* of them, by coalesced zones */
	uint64_t through;	/* of them, written to the shadow image */
	uint64_t full;		/* of them, after which too little of it was free */
	uint64_t bad;		/* times the device's index was impossible */
	uint64_t discarded;	/* stores for a dead device */
	uint64_t lost;		/* stores that came although the lane was full */
	uint64_t load_ns[RMIO_LATENCY_BUCKETS];	/* loads that left KVM until they were */
				/* answered: 2^i .. 2^(i+1) - 1 ns; the last: and more */
	uint64_t vcpu_stores;	/* stores to any MMIO that KVM emulated for the vCPU */
	uint64_t vcpu_kicks;	/* times the vCPU was made to leave KVM_RUN */
};

/**
 * rmio_master_lane_stats - of the lane of one vCPU, or (vcpu -1) the sum
 *
 * Loads that a memory slot answers are seen by nobody, and counted nowhere.
 * Returns 0, -ERANGE, -EINVAL (sz).
 */
int rmio_master_lane_stats(const struct rmio_master *m, int vcpu, struct rmio_lane_stats *s);

struct rmio_program_stats {
	size_t sz;		/* set by the caller */
	uint32_t id;		/* of the BPF program, as bpftool shows it */
	uint32_t reserved;	/* 0 */
	uint64_t runs;		/* both 0 unless sysctl kernel.bpf_stats_enabled is 1 and */
	uint64_t run_ns;	/* the program was loaded by this process, or it is privileged */
};

/**
 * rmio_vm_program - the BPF program of this VM
 *
 * Returns 0, -ENOTSUP (not the bpf back end), -EINVAL (sz), what bpf(2) returns.
 */
int rmio_vm_program(const struct rmio_vm *vm, struct rmio_program_stats *s);

/**
 * rmio_vm_maps - the maps of that program, by the ids that bpftool takes
 * @m: those of this device, "lanes", "down", "up" and perhaps "shadow"; NULL: those of the
 *     whole VM, "vcpus", "regs", "zones" and others
 * @map: called for each; non-zero ends it.  The name lasts.  It may not call into rmio.
 *
 * Returns 0, what @map returned, -ENOTSUP (not the bpf back end).
 */
int rmio_vm_maps(const struct rmio_vm *vm, const struct rmio_master *m,
		 int (*map)(void *arg, const char *name, uint32_t id), void *arg);

/* -- client: a device process on a vfio-user socket ----------------------- */

/* What the device process speaks on its socket. */
enum rmio_protocol {
	RMIO_PROTOCOL_VFIO_USER		= 0,	/* QEMU's docs/interop/vfio-user.rst */
	/*
	 * That of QEMU's machine x-remote, and of any device of rmio.  No rings.  The
	 * device decodes the addresses of its BARs: a region that is one is there
	 * once configuration space has been written to that effect, and -ENXIO before.
	 * The pin is the only interrupt, and its mask cannot be set.  Memory is for
	 * reading and writing, in at most seven pieces.  Region sizes were found by
	 * writing to the BARs.
	 */
	RMIO_PROTOCOL_MULTI_PROCESS	= 1,
};

struct rmio_client_opts {
	size_t sz;			/* sizeof(struct rmio_client_opts) */
	struct rmio_vm *vm;		/* NULL: socket only, no rings */
	struct rmio_master_opts master;	/* for the master made when the device offers rmio;
					 * all zero: defaults; name NULL: the device's own */
	uint32_t reply_timeout_ms;	/* milliseconds, for each socket reply; 0: 5000 */
	uint32_t protocol;		/* enum rmio_protocol */
	uint32_t flags;			/* RMIO_CLIENT_* */
	uint32_t reserved;		/* 0 */
};

/*
 * Keep what it takes for rmio_client_reconnect: duplicates of the descriptors that the device is
 * given, one of each file and one of each eventfd, and what is written to configuration space.
 */
#define RMIO_CLIENT_KEEP	0x1u

struct rmio_region_info {
	uint64_t size;		/* bytes; 0: no such region */
	uint32_t flags;		/* VFIO_REGION_INFO_FLAG_* */
	uint32_t reserved;	/* 0 */
};

/**
 * rmio_client_new - negotiate on a connected UNIX stream socket, taking it over
 *
 * In vfio-user: sends VERSION, and if the device offers the capability "rmio" and opts->vm is
 * set, makes a master and hands its slave over.  On failure the descriptor is
 * closed.  Returns 0, -EPROTO (not that protocol or wrong version), -ETIMEDOUT,
 * -ECONNRESET, -EINVAL (options, or not a UNIX stream socket), -E2BIG, -ENOMEM, -EMFILE,
 * what rmio_master_new returns, and what the device answers to being attached.
 */
int rmio_client_new(int fd, const struct rmio_client_opts *opts, struct rmio_client **c);

/**
 * rmio_client_connect - the same for a socket path; also what connect(2) returns
 */
int rmio_client_connect(const char *path, const struct rmio_client_opts *opts,
			struct rmio_client **c);

/* An orderly end, with its master; nobody is told of a death.  NULL: nothing. */
void rmio_client_free(struct rmio_client *c);

/* The master of the fast path, owned by the client; NULL without. */
struct rmio_master *rmio_client_master(struct rmio_client *c);

/* What a device of rmio's calls itself, printable ASCII; "": it does not say.  As long as @c. */
const char *rmio_client_name(const struct rmio_client *c);

/*
 * The calls below are one message and its reply each, one at a time; another
 * thread waits its turn.  They return 0 or -errno: what the device answered,
 * -ETIMEDOUT, -ECONNRESET (gone; all later calls too), -EPROTO (nonsense; the
 * connection is given up).  A late reply is dropped.  What is more than the device takes in a
 * message goes in several, one after the other.
 *
 * With RMIO_PROTOCOL_MULTI_PROCESS an access is as many messages as it takes, and
 * besides: -EIO, the device refused it; -ENXIO, no BAR is decoded there; -EINVAL,
 * beyond the region, or a write to the last three bytes of configuration space;
 * -EEXIST, -ENOSPC and -ENOENT of memory that overlaps, is an eighth piece, or was
 * not mapped; -ENOTSUP, what the protocol has no words for.
 */

/* VFIO_DEVICE_FLAGS_*, and how many regions and kinds of interrupts there are. */
int rmio_client_device_info(struct rmio_client *c, uint32_t *flags, uint32_t *regions,
			    uint32_t *irqs);

/* Region @index, VFIO_PCI_*_REGION_INDEX. */
int rmio_client_region_info(struct rmio_client *c, uint32_t index, struct rmio_region_info *info);

/* Interrupts @index, VFIO_PCI_*_IRQ_INDEX: VFIO_IRQ_INFO_*, and how many. */
int rmio_client_irq_info(struct rmio_client *c, uint32_t index, uint32_t *flags, uint32_t *count);

/* @count bytes of region @index, from @offset, by messages: the slow path. */
int rmio_client_region_read(struct rmio_client *c, uint32_t index, uint64_t offset, void *buf,
			    uint32_t count);

/* The same the other way round; it returns when the device has taken them. */
int rmio_client_region_write(struct rmio_client *c, uint32_t index, uint64_t offset,
			     const void *buf, uint32_t count);

/*
 * Offer @size bytes of the file @fd, which is duplicated, from @offset bytes on, as guest memory at
 * @iova.  @prot: PROT_READ | PROT_WRITE as the device may access it.
 */
int rmio_client_dma_map(struct rmio_client *c, uint64_t iova, uint64_t size, int fd,
			uint64_t offset, int prot);

/* Take memory away, as it was offered; the device uses it no more when this returns. */
int rmio_client_dma_unmap(struct rmio_client *c, uint64_t iova, uint64_t size);

/*
 * Interrupts @start to @start + @count - 1 of @index.  @action: VFIO_IRQ_SET_ACTION_TRIGGER or
 * _MASK or _UNMASK.  @fds: @count eventfds, -1 for none, in as many messages as it takes; NULL:
 * do it (mask, unmask, trigger) to them, with _TRIGGER and @count 0 disable the index.
 */
int rmio_client_set_irqs(struct rmio_client *c, uint32_t index, uint32_t action, uint32_t start,
			 uint32_t count, const int *fds);

/**
 * rmio_client_reset - reset the device, and bring one back to life that answers again
 *
 * Reset are: configuration space, all of it, and so the command register, BARs and MSI enable; a
 * pin that is up; and what the device resets of its own.  What vCPUs have stored before is handled
 * before.  Left as they are: ranges, guest memory that is mapped, eventfds and their masks, rings,
 * the access map, the shadow image, counters.
 *
 * A device whose master is dead, RMIO_STATE_TIMEOUT or _CLOSED, and that answers on this
 * connection, gets new rings and lives again, its master RMIO_STATE_NEW and then _LIVE, where it
 * was; its counters go on.  An access that was interrupted while it was dead reads all ones.  Not
 * from rmio_vm_opts.dead, and not from a vCPU's thread that has an access to it interrupted.
 *
 * Returns as above.  -ETIMEDOUT: it does not answer yet, try again.  What is over for good, so
 * that rmio_client_reconnect is the way on: -ECONNRESET, the device process has ended; -EPROTO, it
 * wrote nonsense.
 */
int rmio_client_reset(struct rmio_client *c);

/**
 * rmio_client_pa_range - place, move or (len 0) remove a range, with rings or without
 *
 * With rings it is rmio_master_pa_range; without, rmio_client_exit answers the range's accesses.
 * Returns what that does, and without rings 0, -EINVAL, -EOVERFLOW, -ENXIO, -EFBIG, -ENOSPC (more
 * than 64), or what rmio_client_region_info returns.
 */
int rmio_client_pa_range(struct rmio_client *c, const struct rmio_pa_range *range);

/**
 * rmio_client_exit - answer a KVM_EXIT_MMIO or KVM_EXIT_IO of a device without rings, by messages
 *
 * For an exit that rmio_vcpu_exit has said is nobody's.  An access that is only in part in a range
 * of this client is cut there: of the rest a load reads ones and a store is lost.  Any thread; it
 * waits for the replies.  Returns 0; -EOPNOTSUPP: not an access to a range of this client, or it
 * has rings; otherwise why a part was not answered, which then reads as all ones.
 */
int rmio_client_exit(struct rmio_client *c, struct kvm_run *run);

/**
 * rmio_client_reconnect - go on with a device process that was started anew
 * @fd: connected to it, taken over also on failure; -1: connect to the path of rmio_client_connect
 *
 * For clients with RMIO_CLIENT_KEEP, in vfio-user.  Tells the device all that its predecessor was
 * told: guest memory, eventfds and masks, configuration space with the command register last; then
 * its master gets rings that are new and lives again, where it was, with its counters.  Until then
 * it is dead: loads read ones.  The device's own registers are as after a reset, so the guest's
 * driver begins anew.  May be tried again after a failure.  Not from rmio_vm_opts.dead, and not
 * from a vCPU's thread that has an access to it interrupted.
 *
 * Returns 0, -ENOTSUP (no RMIO_CLIENT_KEEP), -EINVAL (no path, or not a UNIX stream socket),
 * -ENODEV (another kind of device; rmio_errstr says in what), -ENOMEM (it was not possible to keep
 * all), what rmio_client_connect and the calls that tell the device return.
 */
int rmio_client_reconnect(struct rmio_client *c, int fd);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
