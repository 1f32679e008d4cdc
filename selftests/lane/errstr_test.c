// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * The reasons of refusals: structs of options whose sz was not set, is nonsense or a newer
 * version's, and whose reason it is that rmio_errstr gives.
 */
#include "ktap.h"
#include "opts.h"

#include <pthread.h>
#include <rmio/device.h>
#include <rmio/slave.h>
#include <rmio/vmm.h>

/* As a later version of the library might have it. */
struct later {
	struct rmio_loop_opts opts;
	uint64_t more[8];
};

static void says(int err, const char *part)
{
	if (!T_OK(strstr(rmio_errstr(err), part)))
		ktap_diag("actual '%s', expected '%s' in it", rmio_errstr(err), part);
}

static void codes(void)
{
	T_STREQ(rmio_errstr(0), "Success");
	T_STREQ(rmio_errstr(-ENOMEM), "Cannot allocate memory");
	T_STREQ(rmio_errstr(-4000), "unknown error");
	T_STREQ(rmio_errstr(7), "Success");
	T_EQ(rmio_refuse(-EPERM, "%s %d", "not", 1), -EPERM);
	T_STREQ(rmio_errstr(-EPERM), "not 1");
	T_STREQ(rmio_errstr(-EINVAL), "Invalid argument");
	rmio_refuse_none();
	T_STREQ(rmio_errstr(-EPERM), "Operation not permitted");
}

static void sizes(void)
{
	static const size_t huge[] = { 4097, (size_t)1 << 40, SIZE_MAX };
	struct rmio_loop_opts o = { .entries = 8 };
	struct rmio_loop *l = NULL;
	struct later later = { .opts = { .sz = sizeof(later) } };
	size_t i;

	T_EQ(rmio_loop_new(&o, &l), -EINVAL);
	says(-EINVAL, "rmio_loop_opts: sz is 0: it has to be sizeof(struct rmio_loop_opts)");
	o.sz = sizeof(size_t) - 1;
	T_EQ(rmio_loop_new(&o, &l), -EINVAL);
	says(-EINVAL, "sz is 7");
	for (i = 0; i < KTAP_COUNT(huge); i++) {
		o.sz = huge[i];
		T_EQ(rmio_loop_new(&o, &l), -E2BIG);
		says(-E2BIG, "it has to be sizeof");
	}

	later.more[1] = 1;
	T_EQ(rmio_loop_new(&later.opts, &l), -E2BIG);
	says(-E2BIG, "does not know");
	T_EQ((uintptr_t)l, 0);
	later.more[1] = 0;
	T_EQ(rmio_loop_new(&later.opts, &l), 0);
	rmio_loop_free(l);
	/* the program was compiled when there was sz only */
	o = (struct rmio_loop_opts){ .sz = sizeof(size_t) };
	T_EQ(rmio_loop_new(&o, &l), 0);
	rmio_loop_free(l);
}

static void every_struct(void)
{
	struct rmio_loop_opts lo = { .sz = sizeof(lo) };
	struct rmio_client_opts co = { 0 };
	struct rmio_master_opts mo = { 0 };
	struct rmio_dev_desc desc = { 0 };
	struct rmio_slave_opts so = { 0 };
	struct rmio_kvm_opts ko = { 0 };
	struct rmio_vm_opts vo = { 0 };
	struct rmio_client *c;
	struct rmio_master *m;
	struct rmio_slave *s;
	struct rmio_loop *l;
	struct rmio_dev *d;
	struct rmio_vm *vm;

	T_EQ(rmio_vm_new(&vo, &vm), -EINVAL);
	says(-EINVAL, "struct rmio_vm_opts");
	T_EQ(rmio_client_connect("/nowhere", &co, &c), -EINVAL);
	says(-EINVAL, "struct rmio_client_opts");
	T_EQ(rmio_slave_open(-1, &so, &s), -EINVAL);
	says(-EINVAL, "struct rmio_slave_opts");
	T_REQUIRE(T_EQ(rmio_vm_new(NULL, &vm), 0));
	T_EQ(rmio_vm_kvm(vm, &ko), -EINVAL);
	says(-EINVAL, "struct rmio_kvm_opts");
	T_EQ(rmio_master_new(vm, &mo, &m), -EINVAL);
	says(-EINVAL, "struct rmio_master_opts");
	rmio_vm_free(vm);
	T_REQUIRE(T_EQ(rmio_loop_new(&lo, &l), 0));
	T_EQ(rmio_dev_new(l, &desc, NULL, &d), -EINVAL);
	says(-EINVAL, "struct rmio_dev_desc");
	rmio_loop_free(l);
}

/* Within another: nothing set is the defaults, but what is set is not ignored. */
static void inner(void)
{
	struct rmio_loop_opts o = { .sz = sizeof(o) };
	struct rmio_loop *l;

	o.wait.policy = RMIO_WAIT_SLEEP;
	T_EQ(rmio_loop_new(&o, &l), -EINVAL);
	says(-EINVAL, "rmio_wait_opts: sz is 0");
	o.wait.sz = sizeof(o.wait);
	o.wait.policy = 9;
	T_EQ(rmio_loop_new(&o, &l), -EINVAL);
	says(-EINVAL, "policy is 9");
	o.wait.policy = 0;
	o.wait.placement = 7;
	T_EQ(rmio_loop_new(&o, &l), -EINVAL);
	says(-EINVAL, "placement is 7");
	o.wait.placement = 0;
	o.wait.cpu_share = 101;
	T_EQ(rmio_loop_new(&o, &l), -EINVAL);
	says(-EINVAL, "cpu_share is 101");
}

static void *other(void *arg)
{
	T_STREQ(rmio_errstr(-EINVAL), "Invalid argument");
	rmio_refuse(-EINVAL, "theirs");
	return NULL;
}

static void threads(void)
{
	pthread_t t;

	rmio_refuse(-EINVAL, "ours");
	T_REQUIRE(T_EQ(pthread_create(&t, NULL, other, NULL), 0));
	pthread_join(t, NULL);
	T_STREQ(rmio_errstr(-EINVAL), "ours");
}

static const struct ktap_test tests[] = {
	{ "codes", codes },
	{ "sizes", sizes },
	{ "every struct", every_struct },
	{ "inner structs", inner },
	{ "threads", threads },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
