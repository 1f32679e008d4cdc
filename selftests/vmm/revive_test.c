// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * A device that did not answer in time and answers again is brought back to life by a reset, on
 * rings that are new; one that has ended is not.  Beside the data path.
 */
#include "need_bpf.h"
#include "null.h"
#include "served.h"

#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>

#define BAR		0xe0000000ull
#define VCPUS		2
#define TIMEOUT_MS	200
#define REPLY_MS	1500	/* a busy machine answers later than a vCPU gives up */

struct rig {
	struct devproc d;
	struct rmio_vm *vm;
	struct rmio_vcpu *vcpu[VCPUS];
	struct rmio_client *client;
	struct rmio_master *m;
	atomic_uint deaths;
	atomic_bool stop;
	int kvm, fd;
};

static void dead(void *arg, struct rmio_master *m, enum rmio_state why, const char *reason)
{
	struct rig *r = arg;

	(void)m;
	(void)why;
	(void)reason;
	atomic_fetch_add(&r->deaths, 1);
}

static bool rig_kvm(struct rig *r)
{
	struct rmio_kvm_opts k = {
		.sz = sizeof(k), .kick_signal = SIGRTMIN, .flags = RMIO_KVM_BPF,
	};

	r->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	r->fd = k.vm_fd = ioctl(r->kvm, KVM_CREATE_VM, 0);
	return T_EQ(rmio_vm_kvm(r->vm, &k), 0);
}

static bool rig_init(struct rig *r, bool bpf)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = REPLY_MS };
	struct rmio_pa_range bar = { .addr = BAR, .len = NULL_BAR_SIZE };
	struct rmio_vm_opts vo = {
		.sz = sizeof(vo), .max_vcpus = VCPUS, .dead = dead, .arg = r,
	};
	uint32_t i;
	int fd;

	memset(r, 0, sizeof(*r));
	r->kvm = r->fd = -1;
	/* The process first, while there is one thread only. */
	if (!devproc_start(&r->d, served_main, "null") || !T_EQ(rmio_vm_new(&vo, &r->vm), 0) ||
	    (bpf && !rig_kvm(r)))
		return false;
	for (i = 0; i < VCPUS; i++)
		if (!T_EQ(rmio_vcpu_new(r->vm, i, NULL, &r->vcpu[i]), 0))
			return false;
	o.vm = r->vm;
	o.master = (struct rmio_master_opts){
		.sz = sizeof(o.master),
		.timeout_ns = TIMEOUT_MS * 1000000ull,
		.backend = bpf ? RMIO_BACKEND_BPF : RMIO_BACKEND_AUTO,
	};
	fd = served_connect(&r->d);
	if (!T_OK(fd >= 0) || !T_EQ(rmio_client_new(fd, &o, &r->client), 0))
		return false;
	r->m = rmio_client_master(r->client);
	return T_OK(r->m) && T_EQ(rmio_master_pa_range(r->m, &bar), 0);
}

static void rig_exit(struct rig *r, bool killed)
{
	uint32_t i;
	int status;

	rmio_client_free(r->client);
	for (i = 0; i < VCPUS; i++)
		rmio_vcpu_free(r->vcpu[i]);
	rmio_vm_free(r->vm);
	status = devproc_wait(&r->d);
	T_OK(killed ? WIFSIGNALED(status) : status == 0);
	if (r->fd >= 0)
		close(r->fd);
	if (r->kvm >= 0)
		close(r->kvm);
}

static uint64_t load(struct rig *r, uint32_t vcpu, uint64_t offset)
{
	uint64_t v = 0x5555;

	T_EQ(rmio_vcpu_load(r->vcpu[vcpu], RMIO_BUS_MEM, BAR + offset, 4, &v), 0);
	return v;
}

static void store(struct rig *r, uint64_t offset, uint64_t v)
{
	T_EQ(rmio_vcpu_store(r->vcpu[0], RMIO_BUS_MEM, BAR + offset, 4, v), 0);
}

static struct rmio_counters counters(const struct rig *r)
{
	struct rmio_counters c;

	T_EQ(rmio_master_counters(r->m, -1, &c), 0);
	return c;
}

static void wait_live(struct rig *r)
{
	int i;

	for (i = 0; i < 5000 && rmio_master_state(r->m) == RMIO_STATE_NEW; i++)
		usleep(1000);
	T_EQ(rmio_master_state(r->m), RMIO_STATE_LIVE);
}

/* Dead because it was stopped for longer than the timeout; it is stopped still. */
static void die(struct rig *r)
{
	served_stop(&r->d);
	T_EQ(load(r, 0, NULL_MAGIC), 0xffffffff);
	T_EQ(rmio_master_state(r->m), RMIO_STATE_TIMEOUT);
}

/* A late answer to something else may be before it in the socket: that is dropped. */
static void revive(struct rig *r)
{
	int err, i;

	served_continue(&r->d);
	/* A machine under load may let it go late. */
	for (i = 0; i < 50; i++) {
		err = rmio_client_reset(r->client);
		if (err != -ETIMEDOUT)
			break;
	}
	T_EQ(err, 0);
	wait_live(r);
}

static void once(bool bpf)
{
	struct rmio_counters was, is;
	struct rig r;
	int i;

	T_REQUIRE(rig_init(&r, bpf));
	T_EQ(load(&r, 0, NULL_MAGIC), NULL_MAGIC_VALUE);
	for (i = 0; i < 10; i++)
		store(&r, NULL_SCRATCH, 100 + i);
	T_EQ(load(&r, 0, NULL_SCRATCH), 109);
	was = counters(&r);
	T_EQ(was.posted, 10);

	die(&r);
	T_EQ(atomic_load(&r.deaths), 1);
	T_EQ(rmio_client_reset(r.client), -ETIMEDOUT);
	T_EQ(rmio_master_state(r.m), RMIO_STATE_TIMEOUT);
	T_EQ(load(&r, 1, NULL_MAGIC), 0xffffffff);
	store(&r, NULL_SCRATCH, 1);
	is = counters(&r);
	T_EQ(is.timeouts, 1);
	T_EQ(is.ones, was.ones + 2);
	T_EQ(is.discarded, was.discarded + 1);

	revive(&r);
	T_EQ(load(&r, 0, NULL_MAGIC), NULL_MAGIC_VALUE);
	T_EQ(load(&r, 1, 0x4010), 0x4010);
	/* It was reset, and what was stored while it was dead is lost. */
	T_EQ(load(&r, 0, NULL_SCRATCH), 0);
	for (i = 0; i < 10; i++)
		store(&r, NULL_SCRATCH, 200 + i);
	T_EQ(load(&r, 0, NULL_SCRATCH), 209);
	/* Counters go on. */
	is = counters(&r);
	T_EQ(is.timeouts, 1);
	T_EQ(is.posted, 20);
	T_EQ(atomic_load(&r.deaths), 1);
	/* As does its access map, once it has been handed over anew. */
	for (i = 0; i < 5000 && counters(&r).shadow == was.shadow; i++)
		T_EQ(load(&r, 0, NULL_SHADOW), 0);
	T_GT(counters(&r).shadow, was.shadow);

	/* A reset of one that lives changes none of this. */
	T_EQ(rmio_client_reset(r.client), 0);
	T_EQ(rmio_master_state(r.m), RMIO_STATE_LIVE);
	T_EQ(load(&r, 0, NULL_SCRATCH), 0);

	/* It can die again, and is told of again. */
	die(&r);
	T_EQ(atomic_load(&r.deaths), 2);
	revive(&r);
	T_EQ(load(&r, 0, NULL_MAGIC), NULL_MAGIC_VALUE);
	T_EQ(counters(&r).timeouts, 2);
	rig_exit(&r, false);
}

static void revived(void)
{
	once(false);
}

static void revived_bpf(void)
{
	NEED_BPF();
	once(true);
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static void nothing_leaks(void)
{
	int i, fds = 0, n = ktap_pick(6, 20, 60);
	struct rig r;

	T_REQUIRE(rig_init(&r, false));
	for (i = 0; i < n && !ktap_failed(); i++) {
		die(&r);
		revive(&r);
		if (!i)
			fds = count_fds();
	}
	/* The control thread may have been about to close one, then or now. */
	for (i = 0; i < 500 && count_fds() > fds; i++)
		usleep(10000);
	T_LE(count_fds(), fds);
	T_EQ(atomic_load(&r.deaths), (unsigned int)n);
	T_EQ(counters(&r).timeouts, (uint64_t)n);
	rig_exit(&r, false);
}

/* An access that was interrupted in the life before is over: no answer of this one is its. */
static void interrupted(void)
{
	uint64_t v = 0;
	struct rig r;

	T_REQUIRE(rig_init(&r, false));
	T_EQ(load(&r, 1, 0x4020), 0x4020);
	served_stop(&r.d);
	rmio_vcpu_kick(r.vcpu[1]);
	T_EQ(rmio_vcpu_load(r.vcpu[1], RMIO_BUS_MEM, BAR + 0x4024, 4, &v), -EINTR);
	T_EQ(load(&r, 0, NULL_MAGIC), 0xffffffff);
	revive(&r);
	T_EQ(load(&r, 0, 0x4028), 0x4028);
	T_EQ(rmio_vcpu_load(r.vcpu[1], RMIO_BUS_MEM, BAR + 0x4024, 4, &v), 0);
	T_EQ(v, 0xffffffff);
	T_EQ(rmio_vcpu_load(r.vcpu[1], RMIO_BUS_MEM, BAR + 0x402c, 4, &v), 0);
	T_EQ(v, 0x402c);
	rig_exit(&r, false);
}

static void *hammer(void *arg)
{
	struct rmio_counters c;
	struct rig *r = arg;
	uint64_t offset = 0x4000, v;

	while (!atomic_load(&r->stop)) {
		offset = offset == 0x7ffc ? 0x4000 : offset + 4;
		v = 0;
		T_EQ(rmio_vcpu_load(r->vcpu[1], RMIO_BUS_MEM, BAR + offset, 4, &v), 0);
		if (v != offset && v != 0xffffffff)
			T_EQ(v, offset);
		/* And whoever displays is not in the way. */
		T_EQ(rmio_master_counters(r->m, -1, &c), 0);
	}
	return NULL;
}

/* Each answer is that of its own request, whichever life it falls into. */
static void while_vcpus_load(void)
{
	int i, n = ktap_pick(6, 20, 60);
	pthread_t t;
	struct rig r;

	T_REQUIRE(rig_init(&r, false));
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, hammer, &r), 0));
	for (i = 0; i < n && !ktap_failed(); i++) {
		usleep(2000);
		served_stop(&r.d);
		while (rmio_master_state(r.m) != RMIO_STATE_TIMEOUT)
			usleep(1000);
		revive(&r);
		T_EQ(load(&r, 0, 0x4000 + 4 * (uint64_t)i), 0x4000 + 4 * (uint64_t)i);
	}
	atomic_store(&r.stop, true);
	pthread_join(t, NULL);
	rig_exit(&r, false);
}

static void ended(void)
{
	struct rig r;
	int i;

	T_REQUIRE(rig_init(&r, false));
	devproc_kill(&r.d);
	for (i = 0; i < 5000 && rmio_master_state(r.m) != RMIO_STATE_CLOSED; i++)
		usleep(1000);
	T_EQ(rmio_client_reset(r.client), -ECONNRESET);
	T_EQ(rmio_client_reset(r.client), -ECONNRESET);
	T_EQ(rmio_master_state(r.m), RMIO_STATE_CLOSED);
	T_EQ(load(&r, 0, NULL_MAGIC), 0xffffffff);
	rig_exit(&r, true);
}

/* Stopped, and then it ends: no reset brings it back. */
static void ended_later(void)
{
	struct rig r;
	int err;

	T_REQUIRE(rig_init(&r, false));
	die(&r);
	devproc_kill(&r.d);
	err = rmio_client_reset(r.client);
	T_OK(err == -ECONNRESET || err == -ETIMEDOUT);
	T_EQ(rmio_client_reset(r.client), -ECONNRESET);
	T_EQ(rmio_master_state(r.m), RMIO_STATE_TIMEOUT);
	T_EQ(load(&r, 0, NULL_MAGIC), 0xffffffff);
	rig_exit(&r, true);
}

/* Without rings nothing dies of a late answer. */
static void socket_only(void)
{
	struct rmio_client_opts o = { .sz = sizeof(o), .reply_timeout_ms = TIMEOUT_MS };
	struct rmio_client *c;
	struct devproc d;
	uint32_t v = 0;
	int i, err;

	T_REQUIRE(devproc_start(&d, served_main, "null"));
	T_REQUIRE(T_EQ(rmio_client_new(served_connect(&d), &o, &c), 0));
	T_EQ(rmio_client_region_read(c, 0, NULL_MAGIC, &v, 4), 0);
	served_stop(&d);
	T_EQ(rmio_client_region_read(c, 0, NULL_MAGIC, &v, 4), -ETIMEDOUT);
	T_EQ(rmio_client_reset(c), -ETIMEDOUT);
	served_continue(&d);
	for (i = 0; i < 10; i++) {
		err = rmio_client_reset(c);
		if (err != -ETIMEDOUT)
			break;
	}
	T_EQ(err, 0);
	v = 0;
	T_EQ(rmio_client_region_read(c, 0, NULL_MAGIC, &v, 4), 0);
	T_EQ(v, NULL_MAGIC_VALUE);
	rmio_client_free(c);
	T_EQ(devproc_wait(&d), 0);
}

static const struct ktap_test tests[] = {
	{ "revived by a reset", revived },
	{ "revived on bpf", revived_bpf },
	{ "again and again", nothing_leaks },
	{ "an interrupted access", interrupted },
	{ "while vCPUs load", while_vcpus_load },
	{ "a process that has ended", ended },
	{ "a process that ends while dead", ended_later },
	{ "socket only", socket_only },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
