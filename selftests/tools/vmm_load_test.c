// SPDX-License-Identifier: LGPL-2.1-or-later OR BSD-2-Clause
/*
 * Commands whose BPF object the kernel does not take: which words the user gets, and that
 * the guest runs all the same unless he asked for bpf and nothing else.
 */
#include "need_bpf.h"
#include "run_rmio.h"

static struct rmio_run r;

#define RUN(...)	rmio_run(&r, (const char *const[]){ __VA_ARGS__, NULL })

static const struct {
	const char *spoil, *text, *last;
} cases[] = {
	{ "verifier", "the kernel's verifier refuses the BPF program: ", "invalid access to map" },
	{ "map", "cannot load the BPF program: Invalid argument: ", "zones" },
};

static bool spoil(const char *how)
{
	const char *lib = getenv("RMIO_SPOIL_LIB");

	/* A sanitizer wants to be first, for what does not matter here. */
	return T_OK(lib) && T_EQ(setenv("LD_PRELOAD", lib, 1), 0) &&
	       T_EQ(setenv("RMIO_SPOIL", how, 1), 0) &&
	       T_EQ(setenv("ASAN_OPTIONS", "verify_asan_link_order=0:detect_leaks=0", 1), 0);
}

/* One line, from the beginning to its end. */
static void says(const char *before, int i)
{
	T_SAYS(r.err, before);
	T_SAYS(r.err, cases[i].text);
	T_SAYS(r.err, cases[i].last);
	T_EQ(strchr(r.err, '\n') - r.err, (long)r.err_len - 1);
}

static void falls_back(void)
{
	NEED_KVM();
	NEED_BPF();
	for (int i = 0; i < KTAP_COUNT(cases); i++) {
		T_REQUIRE(spoil(cases[i].spoil));
		T_EQ(RUN("vmm", "--guest", guest_file("edu"), "--spawn", "edu", "--deadline",
			 "60000", "--json", "-"), 0);
		says("rmio vmm: back end exit, since there is no bpf: ", i);
		T_SAYS(r.out, "edu: done on 1 vCPUs");
		T_SAYS(r.out, "\"backend\":\"exit\"");
	}
}

static void fails(void)
{
	NEED_KVM();
	NEED_BPF();
	for (int i = 0; i < KTAP_COUNT(cases); i++) {
		T_REQUIRE(spoil(cases[i].spoil));
		T_EQ(RUN("vmm", "--guest", guest_file("edu"), "--spawn", "edu", "--backend",
			 "bpf"), 125);
		says("rmio vmm: --backend bpf: ", i);
		T_STREQ(r.out, "");
	}
}

static void broker(void)
{
	char path[64];

	NEED_KVM();
	NEED_BPF();
	snprintf(path, sizeof(path), "/tmp/rmio-bpfdl-%d", getpid());
	for (int i = 0; i < KTAP_COUNT(cases); i++) {
		T_REQUIRE(spoil(cases[i].spoil));
		T_EQ(RUN("bpfd", "--socket", path), 1);
		says("rmio bpfd: ", i);
		T_NE(access(path, F_OK), 0);
	}
}

static const struct ktap_test tests[] = {
	{ "--backend auto runs on exit", falls_back, 60 },
	{ "--backend bpf fails", fails, 60 },
	{ "a broker does not start", broker, 60 },
};

int main(int argc, char **argv)
{
	return ktap_main(tests, KTAP_COUNT(tests), argc, argv);
}
